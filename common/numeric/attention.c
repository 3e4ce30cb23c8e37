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

size_t attention_padded(size_t length)
{
    return (length + LANES - 1) / LANES * LANES;
}

size_t attention_workspace(size_t width, size_t length)
{
    return LANES * (width + attention_padded(length));
}

KERNEL static void transpose_kernel(const float *restrict key, size_t key_step, size_t width, size_t count,
                                    float *restrict keys, size_t keys_step)
{
    for (size_t c = 0; c < width; c++)
        for (size_t j = 0; j < count; j++)
            keys[c * keys_step + j] = key[j * key_step + c];
}

/* The keys of a head: dimension c of key j is number[j * key_step + c * dimension_step]. */
struct keys {
    const float *number;
    size_t key_step, dimension_step;
};

/* The first key that a position sees. */
static inline size_t first_seen(const struct attention *rule, size_t position)
{
    return rule->window && position >= rule->window ? position - rule->window + 1 : 0;
}

KERNEL_PART float largest(float a, float b)
{
    return a > b ? a : b;
}

KERNEL_PART void cap_scores(float cap, size_t count, float *scores)
{
    if (cap > 0)
        for (size_t i = 0; i < count; i++)
            scores[i] = cap * hyperbolic_tangent(scores[i] / cap);
}

/* ---- many queries: LANES of them side by side ---- */

/* Keys, or queries, that are multiplied at once: each one's sums wait for themselves only. */
enum { AT_ONCE = 4 };

/*
 * What is computed together: the queries of count positions, at most LANES, with the keys that any of them
 * sees. Lanes behind the last query have zeros.
 */
struct tile {
    size_t from, count; /* positions from .. from + count - 1 */
    size_t first, end;  /* keys first .. end - 1, from a multiple of AT_ONCE on */
    size_t rows;        /* of scores: these keys in whole AT_ONCE */
};

KERNEL_PART struct tile make_tile(const struct attention *rule, size_t from, size_t length)
{
    struct tile tile = {.from = from, .count = length - from < LANES ? length - from : LANES};
    tile.first = first_seen(rule, from) / AT_ONCE * AT_ONCE;
    tile.end = from + tile.count;
    tile.rows = (tile.end - tile.first + AT_ONCE - 1) / AT_ONCE * AT_ONCE;
    return tile;
}

/* queries (width x LANES): COLUMN k is query k of the tile, whose rows are query_step floats apart. */
KERNEL_PART void take_queries(const struct tile *tile, size_t width, const float *restrict query,
                              size_t query_step, float *restrict queries)
{
    for (size_t i = 0; i < width * LANES; i++)
        queries[i] = 0;
    for (size_t k = 0; k < tile->count; k++)
        for (size_t c = 0; c < width; c++)
            queries[c * LANES + k] = query[k * query_step + c];
}

/* The products of a tile's queries with its keys, scaled: a row of LANES for each key from the first on. */
KERNEL_PART void score_tile(const struct attention *rule, const struct tile *tile,
                            const float *restrict queries, const struct keys *keys, float *restrict scores)
{
    const size_t last = tile->end - 1, step = keys->dimension_step;
    const float scale = rule->scale;
    for (size_t j = tile->first; j <= last; j += AT_ONCE, scores += AT_ONCE * LANES) {
        float of_p[LANES] = {0}, of_q[LANES] = {0}, of_r[LANES] = {0}, of_s[LANES] = {0};
        const float *p = keys->number + j * keys->key_step; /* those behind the last key are that one again */
        const float *q = keys->number + (j + 1 < last ? j + 1 : last) * keys->key_step;
        const float *r = keys->number + (j + 2 < last ? j + 2 : last) * keys->key_step;
        const float *s = keys->number + (j + 3 < last ? j + 3 : last) * keys->key_step;
        for (size_t c = 0; c < rule->width; c++)
            for (size_t k = 0; k < LANES; k++) {
                float query = queries[c * LANES + k];
                of_p[k] += query * p[c * step];
                of_q[k] += query * q[c * step];
                of_r[k] += query * r[c * step];
                of_s[k] += query * s[c * step];
            }
        for (size_t k = 0; k < LANES; k++) {
            scores[k] = of_p[k] * scale;
            scores[LANES + k] = of_q[k] * scale;
            scores[2 * LANES + k] = of_r[k] * scale;
            scores[3 * LANES + k] = of_s[k] * scale;
        }
    }
}

KERNEL_PART void add_bias_of_keys(const struct tile *tile, const float *bias, float *restrict scores)
{
    for (size_t j = tile->first; j < tile->end; j++, scores += LANES)
        for (size_t k = 0; k < LANES; k++)
            scores[k] += bias[j];
}

/* Scores of keys that a query does not see become those of an exponential of 0. */
KERNEL_PART void hide_unseen(const struct attention *rule, const struct tile *tile, float *restrict scores)
{
    const uint32_t ahead = (uint32_t)(tile->from - tile->first), count = (uint32_t)(tile->rows * LANES);
    const uint32_t seen = rule->window ? (uint32_t)rule->window : INT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t back = ahead + i % LANES - i / LANES; /* a large number of a key ahead of the query */
        scores[i] = back < seen ? scores[i] : -INFINITY;
    }
}

/* The largest score of each query, or lowest. */
KERNEL_PART void find_most(const struct tile *tile, float lowest, const float *restrict scores,
                           float *restrict most)
{
    enum { PAIR = 2 * LANES }; /* two keys: gcc 12 unrolls 16 steps to single numbers */
    float lanes[PAIR];
    for (size_t k = 0; k < PAIR; k++)
        lanes[k] = lowest;
    for (size_t i = 0; i < tile->rows * LANES; i += PAIR)
        for (size_t k = 0; k < PAIR; k++)
            lanes[k] = largest(scores[i + k], lanes[k]);
    for (size_t k = 0; k < LANES; k++)
        most[k] = largest(lanes[k], lanes[k + LANES]);
}

/*
 * The scores of a tile become exponentials, 0 where a query does not see the key. share (LANES) is what makes
 * shares of them: 1 / their sum, the sink's among them, where there is one. A sum is one of LANES sums, of
 * every LANESth key, as that of weigh_one is.
 */
KERNEL_PART void weigh_tile(const struct attention *rule, const struct tile *tile, float *restrict scores,
                            float *restrict share)
{
    float most[LANES], partial[LANES * LANES], sum[LANES] = {0};
    hide_unseen(rule, tile, scores);
    find_most(tile, rule->sink ? *rule->sink : -INFINITY, scores, most);
    memset(partial, 0, sizeof partial);
    for (size_t j = tile->first; j < tile->end; j++, scores += LANES) {
        float *sums = partial + j % LANES * LANES;
        for (size_t k = 0; k < LANES; k++) {
            scores[k] = exponential(scores[k] - most[k]);
            sums[k] += scores[k];
        }
    }
    for (size_t i = 0; i < LANES; i++)
        for (size_t k = 0; k < LANES; k++)
            sum[k] += partial[i * LANES + k];
    for (size_t k = 0; k < LANES; k++)
        share[k] = 1.0f / (sum[k] + (rule->sink ? exponential(*rule->sink - most[k]) : 0));
}

/*
 * Of count queries of a tile, at most AT_ONCE: the sums of values first .. end - 1 with their weights, times
 * their shares, of so many columns, at most LANES, to the rows of out, which are out_step floats apart.
 */
KERNEL_PART void sum_values(size_t first, size_t end, const float *restrict weights,
                            const float *restrict share, const float *restrict value, size_t value_step,
                            size_t count, size_t columns, float *restrict out, size_t out_step)
{
    float of_p[LANES] = {0}, of_q[LANES] = {0}, of_r[LANES] = {0}, of_s[LANES] = {0};
    for (size_t j = first; j < end; j++, weights += LANES)
        for (size_t k = 0; k < columns; k++) {
            float element = value[j * value_step + k];
            of_p[k] += weights[0] * element;
            of_q[k] += weights[1] * element;
            of_r[k] += weights[2] * element;
            of_s[k] += weights[3] * element;
        }
    const float *sums[AT_ONCE] = {of_p, of_q, of_r, of_s};
    for (size_t r = 0; r < count; r++)
        for (size_t k = 0; k < columns; k++)
            out[r * out_step + k] = sums[r][k] * share[r];
}

/* Rows of out from a tile's weights. */
KERNEL_PART void sum_tile(const struct attention *rule, const struct tile *tile, const float *weights,
                          const float *share, const float *value, size_t value_step, float *out,
                          size_t out_step)
{
    const size_t width = rule->width;
    for (size_t k = 0; k < tile->count; k += AT_ONCE, out += AT_ONCE * out_step) {
        const size_t count = tile->count - k < AT_ONCE ? tile->count - k : AT_ONCE;
        const size_t first = first_seen(rule, tile->from + k), end = tile->from + k + count;
        const float *of_first = weights + (first - tile->first) * LANES + k;
        size_t c = 0;
        for (; c + LANES <= width; c += LANES)
            sum_values(first, end, of_first, share + k, value + c, value_step, count, LANES, out + c,
                       out_step);
        if (c < width)
            sum_values(first, end, of_first, share + k, value + c, value_step, count, width - c, out + c,
                       out_step);
    }
}

/*
 * Positions from .. length - 1. Each number is what it would be query by query: all sums are taken in the
 * order of dimensions and of keys, and what a query does not see adds 0 to them.
 */
KERNEL static void attend_tiles(const struct attention *rule, const float *bias, const float *query,
                                size_t query_step, const struct keys *keys, const float *value,
                                size_t value_step, size_t from, size_t length, float *restrict workspace,
                                float *restrict out)
{
    float *queries = workspace, *scores = workspace + rule->width * LANES, share[LANES];
    for (size_t i = from; i < length; i += LANES, query += LANES * query_step, out += LANES * query_step) {
        const struct tile tile = make_tile(rule, i, length);
        take_queries(&tile, rule->width, query, query_step, queries);
        score_tile(rule, &tile, queries, keys, scores);
        cap_scores(rule->cap, tile.rows * LANES, scores);
        if (bias)
            add_bias_of_keys(&tile, bias, scores);
        weigh_tile(rule, &tile, scores, share);
        sum_tile(rule, &tile, scores, share, value, value_step, out, query_step);
    }
}

void attend_sentence(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                     const float *key, const float *value, size_t key_step, size_t length, float *workspace,
                     float *out)
{
    const struct keys keys = {key, key_step, 1};
    attend_tiles(rule, bias, query, query_step, &keys, value, key_step, 0, length, workspace, out);
}

/* ---- one query: LANES keys side by side ---- */

KERNEL_PART void fold_largest(float *lanes, size_t half)
{
    for (size_t k = 0; k < half; k++)
        lanes[k] = largest(lanes[k + half], lanes[k]);
}

/*
 * The scores of a query become exponentials, 0 where it does not see: it sees keys first .. last. begin and
 * end: the same in whole LANES. Returns what makes shares of them, as weigh_tile does.
 */
KERNEL_PART float weigh_one(const float *sink, size_t first, size_t last, size_t begin, size_t end,
                            float *scores)
{
    const uint32_t seen = (uint32_t)(last - first);
    float lanes[LANES];
    for (size_t k = 0; k < LANES; k++)
        lanes[k] = -INFINITY;
    for (size_t j = begin; j < end; j += LANES)
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
    for (size_t j = begin; j < end; j += LANES)
        for (size_t k = 0; k < LANES; k++) {
            scores[j + k] = exponential(scores[j + k] - most);
            lanes[k] += scores[j + k];
        }
    return 1.0f / (add_lanes(lanes) + (sink ? exponential(*sink - most) : 0));
}

/* The same numbers as of a tile. scores: as many as padded keys. */
KERNEL static void attend_one(const struct attention *rule, const float *bias, const float *restrict query,
                              const struct kept *kept, size_t position, float *restrict scores,
                              float *restrict out)
{
    const size_t first = first_seen(rule, position), begin = first / LANES * LANES;
    const size_t end = position / LANES * LANES + LANES;
    for (size_t j = begin; j < end; j += LANES) {
        float sums[LANES] = {0};
        for (size_t c = 0; c < rule->width; c++)
            for (size_t k = 0; k < LANES; k++)
                sums[k] += query[c] * kept->keys[c * kept->keys_step + j + k];
        for (size_t k = 0; k < LANES; k++)
            scores[j + k] = sums[k] * rule->scale;
    }
    cap_scores(rule->cap, end - begin, scores + begin);
    if (bias)
        for (size_t j = begin; j < end; j++)
            scores[j] += bias[j];
    const float share = weigh_one(rule->sink, first, position, begin, end, scores);
    for (size_t c = 0; c < rule->width; c++)
        out[c] = 0;
    for (size_t j = first; j <= position; j++)
        for (size_t c = 0; c < rule->width; c++)
            out[c] += scores[j] * kept->values[j * kept->values_step + c];
    for (size_t c = 0; c < rule->width; c++)
        out[c] *= share;
}

void keep_keys(const float *key, size_t key_step, size_t width, size_t count, float *keys, size_t keys_step)
{
    transpose_kernel(key, key_step, width, count, keys, keys_step);
}

void attend_last(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                 const struct kept *kept, size_t from, size_t length, float *workspace, float *out)
{
    const size_t tiled = length - (length - from) % LANES;
    const struct keys keys = {kept->keys, 1, kept->keys_step};
    attend_tiles(rule, bias, query, query_step, &keys, kept->values, kept->values_step, from, tiled,
                 workspace, out);
    for (size_t i = tiled; i < length; i++)
        attend_one(rule, bias, query + (i - from) * query_step, kept, i, workspace,
                   out + (i - from) * query_step);
}
