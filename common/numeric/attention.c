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

/* What is added to the products of a query with keys begin .. end - 1, LANES at a time, or done to them. */
static inline void change_scores(const struct attention *rule, const float *bias, size_t begin, size_t end,
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

KERNEL static void transpose_kernel(const float *restrict key, size_t key_step, size_t width, size_t count,
                                    float *restrict keys, size_t keys_step)
{
    for (size_t c = 0; c < width; c++)
        for (size_t j = 0; j < count; j++)
            keys[c * keys_step + j] = key[j * key_step + c];
}

KERNEL static void attend_kernel(const struct attention *rule, const float *bias, const float *query,
                                 size_t query_step, const float *restrict keys, size_t padded,
                                 const float *value, size_t key_step, size_t from, size_t length,
                                 float *restrict scores, float *restrict out)
{
    const size_t width = rule->width, window = rule->window;
    const float scale = rule->scale, *sink = rule->sink;
    for (size_t i = from; i < length; i++, out += query_step, query += query_step) {
        const size_t first = window && i >= window ? i - window + 1 : 0, begin = first / LANES * LANES;
        const size_t seen = (i + LANES) / LANES * LANES; /* i + 1 rounded up */
        for (size_t j = begin; j < seen; j += LANES) {
            float sum[LANES] = {0};
            for (size_t c = 0; c < width; c++)
                for (size_t k = 0; k < LANES; k++)
                    sum[k] += query[c] * keys[c * padded + j + k];
            for (size_t k = 0; k < LANES; k++)
                scores[j + k] = sum[k] * scale;
        }
        change_scores(rule, bias, begin, seen, scores);
        float most = scores[first];
        for (size_t j = first + 1; j <= i; j++)
            most = scores[j] > most ? scores[j] : most;
        most = sink && *sink > most ? *sink : most;
        for (size_t j = begin; j < first; j++)
            scores[j] = -INFINITY; /* before the window */
        for (size_t j = i + 1; j < seen; j++)
            scores[j] = -INFINITY; /* the future */
        float partial[LANES] = {0};
        for (size_t j = begin; j < seen; j += LANES)
            for (size_t k = 0; k < LANES; k++) {
                scores[j + k] = exponential(scores[j + k] - most);
                partial[k] += scores[j + k];
            }
        const float share = 1.0f / (add_lanes(partial) + (sink ? exponential(*sink - most) : 0));
        for (size_t c = 0; c < width; c++)
            out[c] = 0;
        for (size_t j = first; j <= i; j++)
            for (size_t c = 0; c < width; c++)
                out[c] += scores[j] * value[j * key_step + c];
        for (size_t c = 0; c < width; c++)
            out[c] *= share;
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
