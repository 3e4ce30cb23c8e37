#include "forward.h"

#include "blas.h"
#include "floats.h"
#include "messages.h"
#include "vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct forward *forward_new(const struct model *model, size_t product_rows)
{
    struct forward *forward = new_array(1, sizeof *forward);
    forward->model = model;
    forward->product_rows = product_rows;
    return forward;
}

static void free_matrices(struct forward *forward)
{
    free(forward->residual);
    free(forward->coefficient);
    free(forward->ffn);
    free(forward->normed);
    free(forward->query);
    free(forward->key);
    free(forward->value);
    free(forward->attended);
    free(forward->gate);
}

void forward_free(struct forward *forward)
{
    free_matrices(forward);
    free(forward->keys_transposed);
    free(forward->scores);
    free(forward->position_vectors);
    free(forward->cosines);
    free(forward->sines);
    free(forward);
}

static size_t round_up(size_t number, size_t multiple)
{
    return (number + multiple - 1) / multiple * multiple;
}

/* Rows of a product that begins at row: product_rows, or what is left of the batch, rounded up. */
static size_t rows_from(const struct forward *forward, size_t row)
{
    enum { STEP = 64 }; /* a multiple of every kernel's tile */
    size_t left = round_up(forward->positions - row, STEP);
    return left < forward->product_rows ? left : forward->product_rows;
}

/* Rows of the batch's matrices, with the padding of the last product. */
static size_t padded_rows(const struct forward *forward)
{
    if (forward->positions == 0)
        return 0;
    size_t last = (forward->positions - 1) / forward->product_rows * forward->product_rows;
    return last + rows_from(forward, last);
}

static void reserve(struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions ? padded_rows(forward) : 1; /* a batch may have nothing to compute */
    if (rows <= forward->capacity)
        return;
    free_matrices(forward);
    forward->capacity = rows;
    forward->residual = new_floats(matrix_count(rows, config->d_model));
    forward->coefficient = new_floats(matrix_count(rows, config->d_ff));
    forward->ffn = new_floats(matrix_count(rows, config->d_model));
    forward->normed = new_floats(matrix_count(rows, config->d_model));
    forward->query = new_floats(matrix_count(rows, matrix_count(config->heads, config->head_width)));
    forward->key = new_floats(matrix_count(rows, matrix_count(config->key_value_heads, config->head_width)));
    forward->value = new_floats(matrix_count(rows, matrix_count(config->key_value_heads, config->head_width)));
    forward->attended = new_floats(matrix_count(rows, matrix_count(config->heads, config->head_width)));
    forward->gate = config->gated ? new_floats(matrix_count(rows, config->d_ff)) : NULL;
}

/*
 * Sinusoidal positions as fairseq lays them out: sines in the first half,
 * cosines in the second, frequencies 10000^(-k / (half - 1)); an odd last
 * dimension is 0.
 */
static void fill_sinusoidal(struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    size_t d_model = config->d_model, half = d_model / 2;
    forward->position_vectors = new_floats(matrix_count(forward->known_positions, d_model));
    for (size_t j = 0; j < forward->known_positions; j++) {
        float *vector = forward->position_vectors + j * d_model;
        for (size_t k = 0; k < half; k++) {
            double frequency = exp(-log(10000.0) * (double)k / (double)(half > 1 ? half - 1 : 1));
            double angle = (double)(j + config->position_offset) * frequency;
            vector[k] = (float)sin(angle);
            vector[half + k] = (float)cos(angle);
        }
    }
}

static void fill_rotary(struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    size_t half = config->rotary_width / 2;
    forward->cosines = new_floats(matrix_count(forward->known_positions, half));
    forward->sines = new_floats(matrix_count(forward->known_positions, half));
    for (size_t j = 0; j < forward->known_positions; j++)
        for (size_t k = 0; k < half; k++) {
            double angle = (double)j * config->rotary_frequency[k];
            forward->cosines[j * half + k] = (float)cos(angle);
            forward->sines[j * half + k] = (float)sin(angle);
        }
}

static void reserve_sentence(struct forward *forward, size_t length)
{
    const struct model_config *config = &forward->model->config;
    if (config->context && length > config->context)
        die("sentences from %llu on: one has %zu tokens, but %s can attend to %zu: tokenize --max-length %zu",
            (unsigned long long)forward->batch->id, length, config->path, config->context, config->context);
    if (length <= forward->known_positions)
        return;
    free(forward->position_vectors);
    free(forward->cosines);
    free(forward->sines);
    free(forward->keys_transposed);
    free(forward->scores);
    forward->known_positions = round_up(length, LANES);
    forward->keys_transposed = new_floats(matrix_count(forward->known_positions, config->head_width));
    forward->scores = new_floats(forward->known_positions);
    if (config->position == POSITION_SINUSOIDAL)
        fill_sinusoidal(forward);
    if (config->position == POSITION_ROTARY)
        fill_rotary(forward);
}

/* c = a . b^T + keep * c for all rows of the batch. */
static void batch_product(const struct forward *forward, size_t columns, size_t inner, const float *a,
                          const float *b, float keep, float *c)
{
    for (size_t row = 0; row < forward->positions; row += forward->product_rows)
        product_transposed(rows_from(forward, row), columns, inner, a + row * inner, b, keep, c + row * columns,
                           columns);
}

/* The token that is read at each position: BOS, then the sentence but its last token. */
static uint32_t input_token(const struct forward *forward, size_t start, size_t j)
{
    return j == 0 ? forward->model->config.bos : forward->batch->token[start + j - 1];
}

/* Copies the words of one cluster to the rows where they stand; zero rows elsewhere are left. */
static void gather_words(const struct forward *forward, const struct model_cluster *cluster, float *rows)
{
    const struct batch *batch = forward->batch;
    for (size_t s = 0, start = 0; s < batch->sentences; start += batch->length[s], s++)
        for (size_t j = 0; j < batch->length[s]; j++, rows += cluster->width) {
            size_t word = input_token(forward, start, j) - cluster->first;
            if (word < cluster->size) /* wraps below cluster->first */
                memcpy(rows, cluster->input + word * cluster->width, cluster->width * sizeof *rows);
        }
}

/*
 * Adaptive input: each cluster's words in their own width, projected to d_model.
 * A cluster is one product, in which the words of other clusters are zero rows.
 */
static void embed_words(struct forward *forward)
{
    const struct model *model = forward->model;
    size_t d_model = model->config.d_model;
    size_t rows = padded_rows(forward);
    float *words = forward->normed; /* free until the first layer */
    memset(forward->residual, 0, rows * d_model * sizeof *forward->residual);
    for (size_t i = 0; i < model->config.clusters; i++) {
        const struct model_cluster *cluster = &model->cluster[i];
        if (!cluster->input_projection) {
            gather_words(forward, cluster, forward->residual);
            continue;
        }
        memset(words, 0, rows * cluster->width * sizeof *words);
        gather_words(forward, cluster, words);
        batch_product(forward, d_model, cluster->width, words, cluster->input_projection, 1, forward->residual);
    }
}

/* Scales the words and adds the positions, where these are vectors. */
static void embed_positions(struct forward *forward)
{
    const struct model *model = forward->model;
    const struct batch *batch = forward->batch;
    size_t d_model = model->config.d_model;
    const float *table = model->positions ? model->positions + model->config.position_offset * d_model
                                          : forward->position_vectors;
    float *row = forward->residual;
    for (size_t s = 0; s < batch->sentences; s++)
        for (size_t j = 0; j < batch->length[s]; j++, row += d_model)
            for (size_t k = 0; k < d_model; k++)
                row[k] = row[k] * model->config.embed_scale + (table ? table[j * d_model + k] : 0.0f);
}

void forward_begin(struct forward *forward, const struct batch *batch)
{
    forward->batch = batch;
    forward->positions = batch->tokens;
    reserve(forward);
    for (size_t s = 0; s < batch->sentences; s++)
        reserve_sentence(forward, batch->length[s]);
    embed_words(forward);
    embed_positions(forward);
}

/*
 * LayerNorm or RMSNorm of each row, with the row's own statistics. Rows are
 * step floats apart in x and out; bias may be NULL.
 */
KERNEL static void norm_rows(enum norm_kind kind, const float *x, const float *gain, const float *bias,
                             float epsilon, size_t rows, size_t width, size_t step, float *out)
{
    size_t whole = width / LANES * LANES;
    for (size_t r = 0; r < rows; r++, x += step, out += step) {
        float partial[LANES] = {0};
        float mean = 0;
        if (kind == NORM_LAYER) {
            for (size_t i = 0; i < whole; i += LANES)
                for (size_t k = 0; k < LANES; k++)
                    partial[k] += x[i + k];
            for (size_t i = whole; i < width; i++)
                partial[i - whole] += x[i];
            mean = add_lanes(partial) / (float)width;
            memset(partial, 0, sizeof partial);
        }
        for (size_t i = 0; i < whole; i += LANES)
            for (size_t k = 0; k < LANES; k++)
                partial[k] += (x[i + k] - mean) * (x[i + k] - mean);
        for (size_t i = whole; i < width; i++)
            partial[i - whole] += (x[i] - mean) * (x[i] - mean);
        float variance = add_lanes(partial) / (float)width;
        /* One that overflows would pass as a scale of 0: NaN goes on, to be found. */
        float scale = variance < INFINITY ? 1.0f / sqrtf(variance + epsilon) : NAN;
        if (bias)
            for (size_t i = 0; i < width; i++)
                out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
        else
            for (size_t i = 0; i < width; i++)
                out[i] = (x[i] - mean) * scale * gain[i];
    }
}

static void norm(const struct model_config *config, const float *x, const float *gain, const float *bias,
                 size_t rows, float *out)
{
    norm_rows(config->norm, x, gain, bias, config->norm_epsilon, rows, config->d_model, config->d_model, out);
}

void final_norm(const struct model *model, const float *x, size_t rows, float *out)
{
    if (model->final_norm_gain)
        norm(&model->config, x, model->final_norm_gain, model->final_norm_bias, rows, out);
    else if (out != x)
        memcpy(out, x, rows * model->config.d_model * sizeof *out);
}

/* bias may be NULL. */
KERNEL static void add_bias(float *x, const float *bias, size_t rows, size_t width)
{
    if (!bias)
        return;
    for (size_t r = 0; r < rows; r++, x += width)
        for (size_t i = 0; i < width; i++)
            x[i] += bias[i];
}

/* ---- activations; NaN stays, to be found ---- */

KERNEL static void relu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
}

/* x Phi(x); erf by Abramowitz and Stegun 7.1.26, to 1.5e-7. */
KERNEL static void gelu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float z = fabsf(x[i]) * 0.70710678f;
        float t = 1.0f / (1.0f + 0.3275911f * z);
        float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        float tail = 0.5f * p * t * exponential(-z * z); /* 1 - Phi(|x|) */
        x[i] *= x[i] < 0 ? tail : 1.0f - tail;
    }
}

/* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 = x sigmoid(2 sqrt(2 / pi) ...) */
KERNEL static void gelu_tanh(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1.0f + exponential(-1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
}

KERNEL static void silu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1.0f + exponential(-x[i]);
}

static void activate(enum activation activation, float *x, size_t count)
{
    switch (activation) {
    case ACTIVATION_RELU:
        relu(x, count);
        break;
    case ACTIVATION_GELU:
        gelu(x, count);
        break;
    case ACTIVATION_GELU_TANH:
        gelu_tanh(x, count);
        break;
    case ACTIVATION_SILU:
        silu(x, count);
        break;
    }
}

KERNEL static void multiply(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= y[i];
}

KERNEL static void add(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

/*
 * Turns the first rotary_width dimensions of each head of a row: dimension k and
 * k + half of it form a pair (the arrangement of GPT-NeoX and Llama).
 */
KERNEL static void rotate(float *x, size_t heads, size_t width, size_t half, const float *cosines,
                          const float *sines)
{
    for (size_t h = 0; h < heads; h++, x += width)
        for (size_t k = 0; k < half; k++) {
            float a = x[k], b = x[k + half];
            x[k] = a * cosines[k] - b * sines[k];
            x[k + half] = b * cosines[k] + a * sines[k];
        }
}

static void rotate_all(const struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    const struct batch *batch = forward->batch;
    size_t width = config->head_width, half = config->rotary_width / 2, row = 0;
    for (size_t s = 0; s < batch->sentences; s++)
        for (size_t j = 0; j < batch->length[s]; j++, row++) {
            const float *cosines = forward->cosines + j * half, *sines = forward->sines + j * half;
            rotate(forward->query + row * config->heads * width, config->heads, width, half, cosines, sines);
            rotate(forward->key + row * config->key_value_heads * width, config->key_value_heads, width, half,
                   cosines, sines);
        }
}

/*
 * Causal attention of one head over one sentence. query, key, value and out
 * point at the head's part of the first row; rows of query and out are
 * query_step floats apart, those of key and value key_step.
 * keys: width x padded, scores: padded, where padded is length rounded up to LANES.
 */
KERNEL static void attend(const float *query, size_t query_step, const float *key, const float *value,
                          size_t key_step, size_t length, size_t width, float *restrict keys,
                          float *restrict scores, float *restrict out)
{
    const size_t padded = (length + LANES - 1) / LANES * LANES;
    const float scale = 1.0f / sqrtf((float)width);
    for (size_t c = 0; c < width; c++) {
        for (size_t j = 0; j < length; j++)
            keys[c * padded + j] = key[j * key_step + c];
        for (size_t j = length; j < padded; j++)
            keys[c * padded + j] = 0;
    }
    for (size_t i = 0; i < length; i++, out += query_step, query += query_step) {
        const size_t seen = (i + LANES) / LANES * LANES; /* i + 1 rounded up */
        for (size_t j = 0; j < seen; j += LANES) {
            float sum[LANES] = {0};
            for (size_t c = 0; c < width; c++)
                for (size_t k = 0; k < LANES; k++)
                    sum[k] += query[c] * keys[c * padded + j + k];
            for (size_t k = 0; k < LANES; k++)
                scores[j + k] = sum[k] * scale;
        }
        float most = scores[0];
        for (size_t j = 1; j <= i; j++)
            most = scores[j] > most ? scores[j] : most;
        for (size_t j = i + 1; j < seen; j++)
            scores[j] = -INFINITY; /* the future */
        float partial[LANES] = {0};
        for (size_t j = 0; j < seen; j += LANES)
            for (size_t k = 0; k < LANES; k++) {
                scores[j + k] = exponential(scores[j + k] - most);
                partial[k] += scores[j + k];
            }
        const float share = 1.0f / add_lanes(partial);
        for (size_t c = 0; c < width; c++)
            out[c] = 0;
        for (size_t j = 0; j <= i; j++)
            for (size_t c = 0; c < width; c++)
                out[c] += scores[j] * value[j * key_step + c];
        for (size_t c = 0; c < width; c++)
            out[c] *= share;
    }
}

/* Each group of query heads shares one head of keys and values (Ainslie et al. 2023). */
static void attend_all(const struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    const struct batch *batch = forward->batch;
    size_t width = config->head_width, group = config->heads / config->key_value_heads;
    size_t query_step = config->heads * width, key_step = config->key_value_heads * width;
    size_t row = 0;
    for (size_t s = 0; s < batch->sentences; row += batch->length[s], s++)
        for (size_t head = 0; head < config->heads; head++) {
            size_t query = row * query_step + head * width, key = row * key_step + head / group * width;
            attend(forward->query + query, query_step, forward->key + key, forward->value + key, key_step,
                   batch->length[s], width, forward->keys_transposed, forward->scores,
                   forward->attended + query);
        }
}

/* From normed: attended. */
static void attention(const struct forward *forward, const struct model_layer *layer)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions, d_model = config->d_model, width = config->head_width;
    size_t queries = config->heads * width, keys = config->key_value_heads * width;
    batch_product(forward, queries, d_model, forward->normed, layer->query, 0, forward->query);
    batch_product(forward, keys, d_model, forward->normed, layer->key, 0, forward->key);
    batch_product(forward, keys, d_model, forward->normed, layer->value, 0, forward->value);
    add_bias(forward->query, layer->query_bias, rows, queries);
    add_bias(forward->key, layer->key_bias, rows, keys);
    add_bias(forward->value, layer->value_bias, rows, keys);
    if (layer->query_norm_gain)
        norm_rows(config->norm, forward->query, layer->query_norm_gain, NULL, config->norm_epsilon,
                  rows * config->heads, width, width, forward->query);
    if (layer->key_norm_gain)
        norm_rows(config->norm, forward->key, layer->key_norm_gain, NULL, config->norm_epsilon,
                  rows * config->key_value_heads, width, width, forward->key);
    if (config->position == POSITION_ROTARY)
        rotate_all(forward);
    attend_all(forward);
}

static void check_finite(const struct forward *forward, size_t index, const float *x, size_t width)
{
    size_t count = forward->positions * width;
    if (floats_first_not_finite(x, count) < count)
        die("layer %zu, sentences from %llu on: activations are not finite; the weights overflow 32-bit floats",
            index, (unsigned long long)forward->batch->id);
}

void forward_layer(struct forward *forward, size_t index, bool with_ffn)
{
    const struct model_config *config = &forward->model->config;
    const struct model_layer *layer = &forward->model->layer[index];
    size_t rows = forward->positions, d_model = config->d_model, d_ff = config->d_ff;

    if (index > 0)
        add(forward->residual, forward->ffn, rows * d_model);
    norm(config, forward->residual, layer->attention_norm_gain, layer->attention_norm_bias, rows, forward->normed);
    attention(forward, layer);
    if (config->parallel)
        norm(config, forward->residual, layer->ffn_norm_gain, layer->ffn_norm_bias, rows, forward->normed);
    batch_product(forward, d_model, config->heads * config->head_width, forward->attended,
                  layer->attention_output, 1, forward->residual);
    add_bias(forward->residual, layer->attention_output_bias, rows, d_model);
    if (!config->parallel)
        norm(config, forward->residual, layer->ffn_norm_gain, layer->ffn_norm_bias, rows, forward->normed);

    /* FF(x) = f(x K^T + b1) V + b2, paper section 2; gated: m_i = f(g_i . x)(u_i . x) */
    batch_product(forward, d_ff, d_model, forward->normed, layer->keys, 0, forward->coefficient);
    add_bias(forward->coefficient, layer->keys_bias, rows, d_ff);
    if (layer->gates) {
        batch_product(forward, d_ff, d_model, forward->normed, layer->gates, 0, forward->gate);
        add_bias(forward->gate, layer->gates_bias, rows, d_ff);
        activate(config->activation, forward->gate, rows * d_ff);
        multiply(forward->coefficient, forward->gate, rows * d_ff);
    } else {
        activate(config->activation, forward->coefficient, rows * d_ff);
    }
    check_finite(forward, index, forward->coefficient, d_ff);
    if (!with_ffn)
        return;
    batch_product(forward, d_model, d_ff, forward->coefficient, layer->values, 0, forward->ffn);
    add_bias(forward->ffn, layer->values_bias, rows, d_model);
    check_finite(forward, index, forward->ffn, d_model);
}

void forward_output(struct forward *forward)
{
    add(forward->residual, forward->ffn, forward->positions * forward->model->config.d_model);
}
