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
    free(forward->query_key_value);
    free(forward->attended);
}

void forward_free(struct forward *forward)
{
    free_matrices(forward);
    free(forward->keys_transposed);
    free(forward->scores);
    free(forward->position_vectors);
    free(forward);
}

static size_t round_up(size_t number, size_t multiple)
{
    return (number + multiple - 1) / multiple * multiple;
}

static void reserve(struct forward *forward, size_t positions)
{
    const struct model_config *config = &forward->model->config;
    if (positions <= forward->capacity)
        return;
    size_t rows = round_up(positions, forward->product_rows);
    free_matrices(forward);
    forward->capacity = rows;
    forward->residual = new_floats(rows * config->d_model);
    forward->coefficient = new_floats(rows * config->d_ff);
    forward->ffn = new_floats(rows * config->d_model);
    forward->normed = new_floats(rows * config->d_model);
    forward->query_key_value = new_floats(rows * 3 * config->d_model);
    forward->attended = new_floats(rows * config->d_model);
}

/*
 * Sinusoidal positions as fairseq lays them out: sines in the first half,
 * cosines in the second, frequencies 10000^(-k / (half - 1)); an odd last
 * dimension is 0.
 */
static void reserve_sentence(struct forward *forward, size_t length)
{
    const struct model_config *config = &forward->model->config;
    size_t d_model = config->d_model, half = d_model / 2;
    if (length <= forward->known_positions)
        return;
    free(forward->position_vectors);
    free(forward->keys_transposed);
    free(forward->scores);
    forward->known_positions = round_up(length, LANES);
    forward->position_vectors = new_floats(forward->known_positions * d_model);
    forward->keys_transposed = new_floats(forward->known_positions * (d_model / config->heads));
    forward->scores = new_floats(forward->known_positions);
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

/* c = a . b^T + keep * c for all rows of the batch, in products of the fixed shape. */
static void batch_product(const struct forward *forward, size_t columns, size_t inner, const float *a,
                          const float *b, float keep, float *c)
{
    for (size_t row = 0; row < forward->positions; row += forward->product_rows)
        product_transposed(forward->product_rows, columns, inner, a + row * inner, b, keep,
                           c + row * columns, columns);
}

/* The token that is read at each position: BOS, then the sentence but its last token. */
static uint32_t input_token(const struct forward *forward, size_t start, size_t j)
{
    return j == 0 ? forward->model->config.bos : forward->batch->token[start + j - 1];
}

/*
 * Adaptive input: each cluster's words in their own width, projected to d_model.
 * A cluster is one product, in which the words of other clusters are zero rows.
 */
static void embed(struct forward *forward)
{
    const struct model *model = forward->model;
    const struct batch *batch = forward->batch;
    size_t d_model = model->config.d_model;
    size_t rows = round_up(forward->positions, forward->product_rows);
    float *words = forward->normed; /* free until the first layer */
    memset(forward->residual, 0, rows * d_model * sizeof *forward->residual);
    for (size_t i = 0; i < model->config.clusters; i++) {
        const struct model_cluster *cluster = &model->cluster[i];
        memset(words, 0, rows * cluster->width * sizeof *words);
        size_t row = 0;
        for (size_t s = 0, start = 0; s < batch->sentences; start += batch->length[s], s++)
            for (size_t j = 0; j < batch->length[s]; j++, row++) {
                size_t word = input_token(forward, start, j) - cluster->first;
                if (word < cluster->size) /* wraps below cluster->first */
                    memcpy(words + row * cluster->width, cluster->words + word * cluster->width,
                           cluster->width * sizeof *words);
            }
        batch_product(forward, d_model, cluster->width, words, cluster->projection, 1, forward->residual);
    }
    float *row = forward->residual;
    for (size_t s = 0; s < batch->sentences; s++)
        for (size_t j = 0; j < batch->length[s]; j++, row += d_model) {
            const float *position = forward->position_vectors + j * d_model;
            for (size_t k = 0; k < d_model; k++)
                row[k] = row[k] * model->config.embed_scale + position[k];
        }
}

void forward_begin(struct forward *forward, const struct batch *batch)
{
    forward->batch = batch;
    forward->positions = batch->tokens;
    reserve(forward, batch->tokens);
    for (size_t s = 0; s < batch->sentences; s++)
        reserve_sentence(forward, batch->length[s]);
    embed(forward);
}

/* LayerNorm of each row (Ba et al. 2016) with the row's own statistics. */
KERNEL static void layer_norm(const float *x, const float *gain, const float *bias, float epsilon,
                              size_t rows, size_t width, float *out)
{
    size_t whole = width / LANES * LANES;
    for (size_t r = 0; r < rows; r++, x += width, out += width) {
        float partial[LANES] = {0};
        for (size_t i = 0; i < whole; i += LANES)
            for (size_t k = 0; k < LANES; k++)
                partial[k] += x[i + k];
        for (size_t i = whole; i < width; i++)
            partial[i - whole] += x[i];
        float mean = add_lanes(partial) / (float)width;

        memset(partial, 0, sizeof partial);
        for (size_t i = 0; i < whole; i += LANES)
            for (size_t k = 0; k < LANES; k++)
                partial[k] += (x[i + k] - mean) * (x[i + k] - mean);
        for (size_t i = whole; i < width; i++)
            partial[i - whole] += (x[i] - mean) * (x[i] - mean);
        float scale = 1.0f / sqrtf(add_lanes(partial) / (float)width + epsilon);

        for (size_t i = 0; i < width; i++)
            out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
    }
}

KERNEL static void add_bias(float *x, const float *bias, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++, x += width)
        for (size_t i = 0; i < width; i++)
            x[i] += bias[i];
}

KERNEL static void add_bias_relu(float *x, const float *bias, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++, x += width)
        for (size_t i = 0; i < width; i++) {
            float sum = x[i] + bias[i];
            x[i] = sum < 0 ? 0 : sum; /* NaN stays, to be found */
        }
}

KERNEL static void add(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

/*
 * Causal attention of one head over one sentence. qkv points at the head's
 * queries in the first row; a row is step floats, keys lie d_model behind the
 * queries, values d_model behind the keys. out's rows are d_model floats.
 * keys: width x padded, scores: padded, where padded is length rounded up to LANES.
 */
KERNEL static void attend(const float *qkv, size_t length, size_t d_model, size_t width,
                          float *restrict keys, float *restrict scores, float *restrict out)
{
    const size_t step = 3 * d_model;
    const size_t padded = (length + LANES - 1) / LANES * LANES;
    const float scale = 1.0f / sqrtf((float)width);
    for (size_t c = 0; c < width; c++) {
        for (size_t j = 0; j < length; j++)
            keys[c * padded + j] = qkv[j * step + d_model + c];
        for (size_t j = length; j < padded; j++)
            keys[c * padded + j] = 0;
    }
    for (size_t i = 0; i < length; i++, out += d_model) {
        const float *query = qkv + i * step;
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
        for (size_t j = 0; j <= i; j++) {
            const float *value = qkv + j * step + 2 * d_model;
            for (size_t c = 0; c < width; c++)
                out[c] += scores[j] * value[c];
        }
        for (size_t c = 0; c < width; c++)
            out[c] *= share;
    }
}

static void attention(struct forward *forward)
{
    const struct batch *batch = forward->batch;
    size_t d_model = forward->model->config.d_model;
    size_t width = d_model / forward->model->config.heads;
    size_t row = 0;
    for (size_t s = 0; s < batch->sentences; row += batch->length[s], s++)
        for (size_t head = 0; head < d_model; head += width)
            attend(forward->query_key_value + row * 3 * d_model + head, batch->length[s], d_model, width,
                   forward->keys_transposed, forward->scores, forward->attended + row * d_model + head);
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
    layer_norm(forward->residual, layer->attention_norm_gain, layer->attention_norm_bias,
               config->norm_epsilon, rows, d_model, forward->normed);
    batch_product(forward, 3 * d_model, d_model, forward->normed, layer->query_key_value, 0,
                  forward->query_key_value);
    add_bias(forward->query_key_value, layer->query_key_value_bias, rows, 3 * d_model);
    attention(forward);
    batch_product(forward, d_model, d_model, forward->attended, layer->attention_output, 1,
                  forward->residual);
    add_bias(forward->residual, layer->attention_output_bias, rows, d_model);

    /* FF(x) = f(x K^T + b1) V + b2, paper section 2 */
    layer_norm(forward->residual, layer->ffn_norm_gain, layer->ffn_norm_bias, config->norm_epsilon, rows,
               d_model, forward->normed);
    batch_product(forward, d_ff, d_model, forward->normed, layer->keys, 0, forward->coefficient);
    add_bias_relu(forward->coefficient, layer->keys_bias, rows, d_ff);
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
