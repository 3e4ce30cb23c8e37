#include "numeric/attention.h"

#include "numeric/vector.h"

#include <math.h>

KERNEL static void rotate_kernel(float *x, size_t heads, size_t width, size_t half, const float *cosines,
                                 const float *sines)
{
    for (size_t h = 0; h < heads; h++, x += width)
        for (size_t k = 0; k < half; k++) {
            float a = x[k], b = x[k + half];
            x[k] = a * cosines[k] - b * sines[k];
            x[k + half] = b * cosines[k] + a * sines[k];
        }
}

void rotate_heads(float *x, size_t heads, size_t width, size_t half, const float *cosines, const float *sines)
{
    rotate_kernel(x, heads, width, half, cosines, sines);
}

/* Queries at once: a key or a value is read once for all, and each one's sums wait for themselves only. */
enum { QUERIES = 4 };

size_t attention_padded(size_t length)
{
    return (length + LANES - 1) / LANES * LANES;
}

size_t attention_scores(size_t length)
{
    return QUERIES * attention_padded(length);
}

KERNEL static void transpose_kernel(const float *restrict key, size_t key_step, size_t width, size_t count,
                                    float *restrict keys, size_t keys_step)
{
    for (size_t c = 0; c < width; c++)
        for (size_t j = 0; j < count; j++)
            keys[c * keys_step + j] = key[j * key_step + c];
}

/* What is computed at once: the queries of some positions, with the keys that the last one sees. */
struct tile {
    const float *query[QUERIES]; /* those behind the last one are that one again */
    size_t first, end;           /* of the keys that any of them sees */
    size_t begin, padded_end;    /* the same, in whole LANES */
};

/* The products of a tile's queries with its keys, scaled: rows of scores, scores_step floats apart. */
KERNEL_PART void score_tile(const struct attention *rule, const struct tile *tile, const float *restrict keys,
                            size_t keys_step, float *restrict scores, size_t scores_step)
{
    const float *p = tile->query[0], *q = tile->query[1], *r = tile->query[2], *s = tile->query[3];
    const float scale = rule->scale;
    for (size_t j = tile->begin; j < tile->padded_end; j += LANES) {
        float of_p[LANES] = {0}, of_q[LANES] = {0}, of_r[LANES] = {0}, of_s[LANES] = {0};
        for (size_t c = 0; c < rule->width; c++)
            for (size_t k = 0; k < LANES; k++) {
                float key = keys[c * keys_step + j + k];
                of_p[k] += p[c] * key;
                of_q[k] += q[c] * key;
                of_r[k] += r[c] * key;
                of_s[k] += s[c] * key;
            }
        for (size_t k = 0; k < LANES; k++) {
            scores[j + k] = of_p[k] * scale;
            scores[scores_step + j + k] = of_q[k] * scale;
            scores[2 * scores_step + j + k] = of_r[k] * scale;
            scores[3 * scores_step + j + k] = of_s[k] * scale;
        }
    }
}

/* What is added to scores begin .. end - 1, or done to them. */
KERNEL_PART void change_scores(const struct attention *rule, const float *bias, size_t begin, size_t end,
                               float *scores)
{
    const float cap = rule->cap;
    if (cap > 0)
        for (size_t j = begin; j < end; j++)
            scores[j] = cap * hyperbolic_tangent(scores[j] / cap);
    if (bias)
        for (size_t j = begin; j < end; j++)
            scores[j] += bias[j];
}

KERNEL_PART float largest(float a, float b)
{
    return a > b ? a : b;
}

KERNEL_PART void fold_largest(float *lanes, size_t half)
{
    for (size_t k = 0; k < half; k++)
        lanes[k] = largest(lanes[k + half], lanes[k]);
}

/*
 * The scores of one query of a tile become exponentials, 0 where it does not see: it sees keys first .. last.
 * Returns what makes shares of them: 1 / their sum, the sink's among them, where there is one.
 */
KERNEL_PART float weigh(const struct tile *tile, const float *sink, size_t first, size_t last, float *scores)
{
    const uint32_t seen = (uint32_t)(last - first);
    float lanes[LANES];
    for (size_t k = 0; k < LANES; k++)
        lanes[k] = -INFINITY;
    for (size_t j = tile->begin; j < tile->padded_end; j += LANES)
        for (size_t k = 0; k < LANES; k++) {
            float score = (uint32_t)(j + k - first) <= seen ? scores[j + k] : -INFINITY;
            scores[j + k] = score;
            lanes[k] = largest(score, lanes[k]);
        }
    fold_largest(lanes, LANES / 2);
    fold_largest(lanes, LANES / 4);
    float most = largest(largest(lanes[0], lanes[1]), largest(lanes[2], lanes[3]));
    most = sink && *sink > most ? *sink : most;
    memset(lanes, 0, sizeof lanes);
    for (size_t j = tile->begin; j < tile->padded_end; j += LANES)
        for (size_t k = 0; k < LANES; k++) {
            scores[j + k] = exponential(scores[j + k] - most);
            lanes[k] += scores[j + k];
        }
    return 1.0f / (add_lanes(lanes) + (sink ? exponential(*sink - most) : 0));
}

/*
 * The sums of values with a tile's weights, times its shares, of count columns, at most LANES: the rows of
 * out (QUERIES x LANES).
 */
KERNEL_PART void sum_values(const struct tile *tile, const float *restrict weights, size_t weights_step,
                            const float *restrict share, const float *restrict value, size_t value_step,
                            size_t count, float *restrict out)
{
    float of_p[LANES] = {0}, of_q[LANES] = {0}, of_r[LANES] = {0}, of_s[LANES] = {0};
    for (size_t j = tile->first; j < tile->end; j++)
        for (size_t k = 0; k < count; k++) {
            float element = value[j * value_step + k];
            of_p[k] += weights[j] * element;
            of_q[k] += weights[weights_step + j] * element;
            of_r[k] += weights[2 * weights_step + j] * element;
            of_s[k] += weights[3 * weights_step + j] * element;
        }
    for (size_t k = 0; k < LANES; k++) {
        out[k] = of_p[k] * share[0];
        out[LANES + k] = of_q[k] * share[1];
        out[2 * LANES + k] = of_r[k] * share[2];
        out[3 * LANES + k] = of_s[k] * share[3];
    }
}

/* The first key that a position sees. */
static inline size_t first_seen(const struct attention *rule, size_t position)
{
    return rule->window && position >= rule->window ? position - rule->window + 1 : 0;
}

/* The tile of count queries from position i on. */
static inline struct tile make_tile(const struct attention *rule, const float *query, size_t query_step,
                                    size_t i, size_t count)
{
    struct tile tile = {.first = first_seen(rule, i), .end = i + count};
    tile.begin = tile.first / LANES * LANES;
    tile.padded_end = (tile.end + LANES - 1) / LANES * LANES;
    for (size_t r = 0; r < QUERIES; r++)
        tile.query[r] = query + (r < count ? r : count - 1) * query_step;
    return tile;
}

/*
 * Each number is what it would be query by query: all sums are taken in the order of dimensions and of keys,
 * and what a query does not see adds 0 to them. scores: QUERIES x padded.
 */
KERNEL static void attend_kernel(const struct attention *rule, const float *bias, const float *query,
                                 size_t query_step, const float *restrict keys, size_t padded,
                                 const float *value, size_t key_step, size_t from, size_t length,
                                 float *restrict scores, float *restrict out)
{
    const size_t width = rule->width;
    for (size_t i = from, count; i < length;
         i += count, query += count * query_step, out += count * query_step) {
        float share[QUERIES], sums[QUERIES * LANES];
        count = length - i < QUERIES ? length - i : QUERIES;
        const struct tile tile = make_tile(rule, query, query_step, i, count);
        score_tile(rule, &tile, keys, padded, scores, padded);
        for (size_t r = 0; r < QUERIES; r++) {
            size_t last = i + (r < count ? r : count - 1);
            change_scores(rule, bias, tile.begin, tile.padded_end, scores + r * padded);
            share[r] = weigh(&tile, rule->sink, first_seen(rule, last), last, scores + r * padded);
        }
        for (size_t c = 0; c < width; c += LANES) {
            size_t columns = width - c < LANES ? width - c : LANES;
            if (columns == LANES)
                sum_values(&tile, scores, padded, share, value + c, key_step, LANES, sums);
            else
                sum_values(&tile, scores, padded, share, value + c, key_step, columns, sums);
            for (size_t r = 0; r < count; r++)
                memcpy(out + r * query_step + c, sums + r * LANES, columns * sizeof *out);
        }
    }
}

void attend_sentence(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                     const float *key, const float *value, size_t key_step, size_t length, float *keys,
                     float *scores, float *out)
{
    const size_t padded = attention_padded(length);
    transpose_kernel(key, key_step, rule->width, length, keys, padded);
    for (size_t c = 0; c < rule->width; c++)
        for (size_t j = length; j < padded; j++)
            keys[c * padded + j] = 0;
    attend_kernel(rule, bias, query, query_step, keys, padded, value, key_step, 0, length, scores, out);
}

void keep_keys(const float *key, size_t key_step, size_t width, size_t count, float *keys, size_t keys_step)
{
    transpose_kernel(key, key_step, width, count, keys, keys_step);
}

void attend_last(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                 const struct kept *kept, size_t from, size_t length, float *scores, float *out)
{
    attend_kernel(rule, bias, query, query_step, kept->keys, kept->keys_step, kept->values, kept->values_step,
                  from, length, scores, out);
}
