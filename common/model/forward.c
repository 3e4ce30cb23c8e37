#include "model/forward.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "model/experts.h"
#include "model/key_values.h"
#include "model/model_norm.h"
#include "model/products.h"
#include "numeric/attention.h"
#include "numeric/floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct forward {
    const struct model *model;
    const struct batch *batch;
    size_t positions;       /* of the batch, those that are computed */
    size_t begun;           /* how many of its only sentence were computed before; 0 unless they are kept */
    bool is_open;           /* ffn has what a layer adds to the residual, and does not have yet */
    struct key_values *kept;/* NULL: a batch has nothing to do with the one before */
    struct products products;
    size_t capacity;        /* rows of the matrices */
    float *residual, *ffn;  /* capacity x d_model */
    float *coefficient;     /* capacity x d_ff */
    float *normed;          /* capacity x d_model */
    float *query;           /* capacity x heads * head_width */
    float *key, *value;     /* capacity x key_value_heads * head_width */
    float *attended;        /* capacity x heads * head_width */
    float *gate;            /* capacity x d_ff, where layers without experts are gated */
    struct experts *experts;/* NULL: no layer has any */
    bool records_signs;
    uint8_t *signs;         /* capacity x d_ff, where they are recorded */
    float *workspace;       /* of attention, for known_positions */
    size_t known_positions; /* that these tables have: */
    float *position_vectors;/* known_positions x d_model: sinusoidal */
    float *alibi;           /* heads x known_positions */
    struct rotation {
        float *cosines, *sines; /* known_positions x width / 2 */
    } rotation[MAX_ROTARIES];   /* of the config's rotary positions */
};

struct forward *forward_new(const struct model *model, size_t product_rows)
{
    struct forward *forward = new_array(1, sizeof *forward);
    forward->model = model;
    forward->products = (struct products){.rows = product_rows, .step = PRODUCT_STEP};
    forward->experts = model->config.experts ? experts_new(&model->config, &forward->products) : NULL;
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
    free(forward->signs);
}

static void free_tables(struct forward *forward)
{
    free(forward->workspace);
    free(forward->position_vectors);
    free(forward->alibi);
    for (size_t i = 0; i < MAX_ROTARIES; i++) {
        free(forward->rotation[i].cosines);
        free(forward->rotation[i].sines);
    }
}

void forward_free(struct forward *forward)
{
    free_matrices(forward);
    free_tables(forward);
    experts_free(forward->experts);
    key_values_free(forward->kept);
    free(forward);
}

void forward_keep(struct forward *forward, size_t positions, struct team *team)
{
    forward->kept = key_values_new(&forward->model->config, positions);
    forward->products.team = team;
    forward->products.step = SHORT_PRODUCT_STEP; /* a prompt is short */
}

/* Rows of the batch's matrices, with the padding of the last product. */
static size_t batch_rows(const struct forward *forward)
{
    return padded_rows(forward->positions, forward->products.rows, forward->products.step);
}

/* Whether layers without experts have gates. */
static bool has_gates(const struct model_config *config)
{
    bool plain = !config->experts;
    for (size_t i = 0; !plain && i < config->layers; i++)
        plain = !config->has_experts[i];
    return plain && config->gated;
}

static void reserve(struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions ? batch_rows(forward) : 1; /* a batch may have nothing to compute */
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
    forward->value =
        new_floats(matrix_count(rows, matrix_count(config->key_value_heads, config->head_width)));
    forward->attended = new_floats(matrix_count(rows, matrix_count(config->heads, config->head_width)));
    forward->gate = has_gates(config) ? new_floats(matrix_count(rows, config->d_ff)) : NULL;
    forward->signs = forward->records_signs ? new_array(matrix_count(rows, config->d_ff), 1) : NULL;
}

double forward_bytes(const struct model_config *config, size_t positions)
{
    double query = (double)config->heads * (double)config->head_width;
    double key_value = (double)config->key_value_heads * (double)config->head_width;
    double columns = 3 * (double)config->d_model + (has_gates(config) ? 2 : 1) * (double)config->d_ff
                   + 2 * query + 2 * key_value + (config->experts ? experts_columns(config) : 0);
    return columns * (double)positions * sizeof(float);
}

double forward_operations(const struct model_config *config)
{
    double query = (double)config->heads * (double)config->head_width;
    double key_value = (double)config->key_value_heads * (double)config->head_width;
    double attention = 2 * query + 2 * key_value; /* columns of queries, keys, values, and of the output */
    double all = 0;
    for (size_t i = 0; i < config->layers; i++) {
        bool experts = config->experts && config->has_experts[i];
        double cells = (double)(experts ? config->chosen_experts * config->expert_width + config->shared_width
                                        : config->d_ff);
        all += attention + (config->gated ? 3 : 2) * cells + (experts ? (double)config->experts : 0);
    }
    return 2 * (double)config->d_model * all;
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

static void fill_rotary(struct forward *forward, size_t index)
{
    const struct rotary *rotary = &forward->model->config.rotary[index];
    struct rotation *rotation = &forward->rotation[index];
    size_t half = rotary->width / 2;
    if (!half)
        return; /* no layer has these */
    rotation->cosines = new_floats(matrix_count(forward->known_positions, half));
    rotation->sines = new_floats(matrix_count(forward->known_positions, half));
    for (size_t j = 0; j < forward->known_positions; j++)
        for (size_t k = 0; k < half; k++) {
            double angle = (double)j * rotary->frequency[k];
            rotation->cosines[j * half + k] = (float)(cos(angle) * rotary->scale);
            rotation->sines[j * half + k] = (float)(sin(angle) * rotary->scale);
        }
}

/* The nearest number that bfloat16 has; of two, the even one. */
static float round_to_16_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * What ALiBi adds at each position j is slope * j: a softmax sees differences only. Falcon
 * rounds slope, j and the product to bfloat16, and scales it as it does the products of queries and keys.
 */
static void fill_alibi(struct forward *forward)
{
    const struct model_config *config = &forward->model->config;
    size_t positions = forward->known_positions;
    forward->alibi = new_floats(matrix_count(config->heads, positions));
    for (size_t head = 0; head < config->heads; head++)
        for (size_t j = 0; j < positions; j++) {
            float slope = config->alibi_slope[head], *to = &forward->alibi[head * positions + j];
            *to = !config->alibi_16_bits ? slope * (float)j
                : round_to_16_bits(round_to_16_bits(slope) * round_to_16_bits((float)j))
                      * config->attention_scale;
        }
}

/* For a sentence of so many positions. */
static void reserve_sentence(struct forward *forward, size_t length)
{
    const struct model_config *config = &forward->model->config;
    size_t lowest = batch_lowest(forward->batch), tokens = length + lowest, most = config->context + lowest;
    if (config->context && tokens > most)
        die("sentences from %llu on: one has %zu tokens, but %s can attend to %zu: tokenize --max-length %zu",
            (unsigned long long)forward->batch->id, tokens, config->path, most, most);
    if (length <= forward->known_positions)
        return;
    free_tables(forward);
    forward->known_positions = attention_padded(forward->kept ? key_values_room(forward->kept) : length);
    forward->workspace = new_floats(attention_workspace(config->head_width, forward->known_positions));
    if (config->position == POSITION_SINUSOIDAL)
        fill_sinusoidal(forward);
    if (config->position == POSITION_ALIBI)
        fill_alibi(forward);
    for (size_t i = 0; config->position == POSITION_ROTARY && i < MAX_ROTARIES; i++)
        fill_rotary(forward, i);
}

/* y = x . matrix^T + beta * y for all rows of the batch. */
static void batch_multiply(const struct forward *forward, const struct matrix *matrix, const float *x,
                           float beta, float *y)
{
    multiply_rows(&forward->products, matrix, forward->positions, forward->products.step, x, beta, y);
}

/* Copies the words of one cluster to the rows where they are; zero rows elsewhere are left. */
static void gather_words(const struct forward *forward, const struct model_cluster *cluster, float *rows)
{
    const struct batch *batch = forward->batch;
    const uint32_t *tokens = batch->token;
    for (size_t s = 0; s < batch->sentences; tokens += batch->length[s], s++)
        for (size_t j = batch_lowest(batch) + forward->begun; j < batch->length[s];
             j++, rows += cluster->width) {
            size_t word = read_token(batch, tokens, j) - cluster->first;
            if (word < cluster->size) /* wraps below cluster->first */
                matrix_row(&cluster->input, word, rows);
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
    size_t rows = batch_rows(forward);
    float *words = forward->normed; /* free until the first layer */
    memset(forward->residual, 0, rows * d_model * sizeof *forward->residual);
    for (size_t i = 0; i < model->config.clusters; i++) {
        const struct model_cluster *cluster = &model->cluster[i];
        if (!matrix_exists(&cluster->input_projection)) {
            gather_words(forward, cluster, forward->residual);
            continue;
        }
        memset(words, 0, rows * cluster->width * sizeof *words);
        gather_words(forward, cluster, words);
        batch_multiply(forward, &cluster->input_projection, words, 1, forward->residual);
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
        for (size_t j = forward->begun; j < sentence_positions(batch, s); j++, row += d_model)
            for (size_t k = 0; k < d_model; k++)
                row[k] = row[k] * model->config.embed_scale + (table ? table[j * d_model + k] : 0.0f);
}

void forward_forget(struct forward *forward, size_t count)
{
    forward->positions -= count;
}

/* Makes room for the batch, of which begun positions are there. */
static void take(struct forward *forward, const struct batch *batch)
{
    forward->batch = batch;
    forward->is_open = false;
    forward->positions = batch_positions(batch) - forward->begun;
    reserve(forward);
    for (size_t s = 0; s < batch->sentences; s++)
        reserve_sentence(forward, sentence_positions(batch, s));
}

void forward_begin(struct forward *forward, const struct batch *batch)
{
    if (forward->kept)
        forward->begun += forward->positions;
    take(forward, batch);
    embed_words(forward);
    embed_positions(forward);
    const struct model *model = forward->model;
    if (model->embedding_norm_gain)
        model_norm(&model->config, forward->residual, model->embedding_norm_gain, model->embedding_norm_bias,
                   forward->positions, forward->residual);
}

static void rotate_all(const struct forward *forward, const struct rotary *rotary)
{
    const struct model_config *config = &forward->model->config;
    const struct rotation *rotation = &forward->rotation[rotary - config->rotary];
    const struct batch *batch = forward->batch;
    size_t width = config->head_width, half = rotary->width / 2, row = 0;
    for (size_t s = 0; s < batch->sentences; s++)
        for (size_t j = forward->begun; j < sentence_positions(batch, s); j++, row++) {
            const float *cosines = rotation->cosines + j * half, *sines = rotation->sines + j * half;
            rotate_heads(forward->query + row * config->heads * width, config->heads, width, half, cosines,
                         sines);
            rotate_heads(forward->key + row * config->key_value_heads * width, config->key_value_heads, width,
                         half, cosines, sines);
        }
}

/* What a head adds to the scores of positions; NULL: nothing. */
static const float *head_bias(const struct forward *forward, size_t head)
{
    return forward->alibi ? forward->alibi + head * forward->known_positions : NULL;
}

/* How a head of layer index attends. */
static struct attention head_rule(const struct forward *forward, size_t index, size_t head)
{
    const struct model_config *config = &forward->model->config;
    const float *sinks = forward->model->layer[index].sinks;
    return (struct attention){.width = config->head_width, .scale = config->attention_scale,
                              .cap = config->attention_cap, .window = config->attention[index].window,
                              .sink = sinks ? sinks + head : NULL};
}

/* Of the positions that are new, over all that are kept, these among them. */
static void attend_kept(const struct forward *forward, size_t index)
{
    const struct model_config *config = &forward->model->config;
    size_t group = config->heads / config->key_value_heads, query_step = config->heads * config->head_width;
    key_values_add(forward->kept, index, forward->begun, forward->positions, forward->key, forward->value);
    for (size_t head = 0; head < config->heads; head++) {
        const struct attention rule = head_rule(forward, index, head);
        const struct kept kept = key_values_of(forward->kept, index, head / group);
        size_t query = head * config->head_width;
        attend_last(&rule, head_bias(forward, head), forward->query + query, query_step, &kept,
                    forward->begun, forward->begun + forward->positions, forward->workspace,
                    forward->attended + query);
    }
}

/* Each group of query heads shares one head of keys and values (Ainslie et al. 2023). */
static void attend_all(const struct forward *forward, size_t index)
{
    const struct model_config *config = &forward->model->config;
    const struct batch *batch = forward->batch;
    if (forward->kept) {
        attend_kept(forward, index);
        return;
    }
    size_t width = config->head_width, group = config->heads / config->key_value_heads;
    size_t query_step = config->heads * width, key_step = config->key_value_heads * width;
    size_t row = 0;
    for (size_t s = 0; s < batch->sentences; row += sentence_positions(batch, s), s++)
        for (size_t head = 0; head < config->heads; head++) {
            const struct attention rule = head_rule(forward, index, head);
            size_t query = row * query_step + head * width, key = row * key_step + head / group * width;
            attend_sentence(&rule, head_bias(forward, head), forward->query + query, query_step,
                            forward->key + key, forward->value + key, key_step, sentence_positions(batch, s),
                            forward->workspace, forward->attended + query);
        }
}

/* Queries or keys of all rows, x, by the gain and the bias that the layer has for them. */
static void norm_heads(const struct forward *forward, const float *gain, const float *bias, size_t heads,
                       float *x)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions, width = config->head_width;
    if (!gain)
        return;
    if (config->head_norm == HEAD_NORM_WHOLE)
        norm_rows(config->norm, x, gain, NULL, config->norm_epsilon, rows, heads * width, x);
    else if (config->head_norm == HEAD_NORM_OWN)
        for (size_t i = 0; i < rows * heads; i++, x += width)
            norm_rows(config->norm, x, gain + i % heads * width, NULL, config->norm_epsilon, 1, width, x);
    else
        norm_rows(config->norm, x, gain, bias, config->norm_epsilon, rows * heads, width, x);
}

/* x = normed . matrix^T + bias, normed where there is a gain for it, and kept within the model's bounds. */
static void project_heads(const struct forward *forward, const struct matrix *matrix, const float *bias,
                          const float *norm_gain, const float *norm_bias, float *x)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions;
    batch_multiply(forward, matrix, forward->normed, 0, x);
    add_bias(x, bias, rows, matrix->rows);
    norm_heads(forward, norm_gain, norm_bias, matrix->rows / config->head_width, x);
    clip_floats(x, rows * matrix->rows, config->clip);
}

/* From normed: attended. */
static void attend(const struct forward *forward, size_t index)
{
    const struct model_config *config = &forward->model->config;
    const struct model_layer *layer = &forward->model->layer[index];
    const struct layer_attention *attention = &config->attention[index];
    project_heads(forward, &layer->query, layer->query_bias, layer->query_norm_gain, layer->query_norm_bias,
                  forward->query);
    project_heads(forward, &layer->key, layer->key_bias, layer->key_norm_gain, layer->key_norm_bias,
                  forward->key);
    project_heads(forward, &layer->value, layer->value_bias, NULL, NULL, forward->value);
    if (attention->rotary)
        rotate_all(forward, attention->rotary);
    attend_all(forward, index);
}

/* Of x, whose rows are width, those from row on. */
static void check_finite(const struct forward *forward, size_t index, const float *x, size_t row, size_t rows,
                         size_t width)
{
    size_t count = rows * width;
    if (floats_first_not_finite(x + row * width, count) < count)
        die("layer %zu, sentences from %llu on: activations are not finite; the weights overflow 32-bit "
            "floats",
            layer_shown(index), (unsigned long long)forward->batch->id);
}

/* A norm of the residual, to normed; without a gain there is none. */
static void norm_residual(const struct forward *forward, const float *gain, const float *bias)
{
    const struct model_config *config = &forward->model->config;
    if (gain)
        model_norm(config, forward->residual, gain, bias, forward->positions, forward->normed);
    else
        memcpy(forward->normed, forward->residual,
               forward->positions * config->d_model * sizeof *forward->normed);
}

/* Adds what attention computed to the residual. */
static void add_attention(const struct forward *forward, const struct model_layer *layer)
{
    const struct model_config *config = &forward->model->config;
    size_t rows = forward->positions, d_model = config->d_model;
    if (!layer->attention_out_norm_gain) {
        batch_multiply(forward, &layer->attention_output, forward->attended, 1, forward->residual);
        add_bias(forward->residual, layer->attention_output_bias, rows, d_model);
        return;
    }
    float *added = forward->ffn; /* free until forward_values */
    batch_multiply(forward, &layer->attention_output, forward->attended, 0, added);
    add_bias(added, layer->attention_output_bias, rows, d_model);
    model_norm(config, added, layer->attention_out_norm_gain, NULL, rows, added);
    add_floats(forward->residual, added, rows * d_model);
}

/* The residual becomes the output of layer index, unless it is that already. */
static void end_layer(struct forward *forward, size_t index)
{
    if (!forward->is_open)
        return;
    forward->is_open = false;
    add_floats(forward->residual, forward->ffn, forward->positions * forward->model->config.d_model);
    layer_sum_norm(forward->model, index, forward->positions, forward->residual);
}

void forward_attention(struct forward *forward, size_t index)
{
    const struct model_config *config = &forward->model->config;
    const struct model_layer *layer = &forward->model->layer[index];
    bool sequential = config->block_norm == BLOCK_NORM_SEQUENTIAL;
    end_layer(forward, index - 1); /* before the first one nothing is open */
    norm_residual(forward, layer->attention_norm_gain, layer->attention_norm_bias);
    attend(forward, index);
    if (!sequential)
        norm_residual(forward, layer->ffn_norm_gain, layer->ffn_norm_bias);
    add_attention(forward, layer);
    if (layer->attention_sum_norm_gain)
        model_norm(config, forward->residual, layer->attention_sum_norm_gain, layer->attention_sum_norm_bias,
                   forward->positions, forward->residual);
    if (sequential)
        norm_residual(forward, layer->ffn_norm_gain, layer->ffn_norm_bias);
}

/*
 * Rows that bias, activation and the check take at once, so that they are still in the processor's cache
 * when the next of these reads them.
 */
enum { ACTIVATED_ROWS = 16 };

/* Count rows of products with keys and gates, from row on, become coefficients. */
static void activate_rows(const struct forward *forward, const struct model_layer *layer, size_t row,
                          size_t count)
{
    const struct model_config *config = &forward->model->config;
    const size_t first = row * config->d_ff, elements = count * config->d_ff;
    float *coefficient = forward->coefficient + first;
    add_bias(coefficient, layer->keys_bias, count, config->d_ff);
    if (!matrix_exists(&layer->gates)) {
        activate(config->activation, coefficient, elements);
        return;
    }
    float *gate = forward->gate + first;
    add_bias(gate, layer->gates_bias, count, config->d_ff);
    if (forward->signs) /* before the activation, below which a small gate may become 0 */
        find_signs(gate, coefficient, elements, forward->signs + first);
    activate(config->activation, gate, elements);
    multiply_floats(coefficient, gate, elements);
}

/* Of a layer without experts. */
static void plain_coefficients(const struct forward *forward, size_t index)
{
    const struct model_layer *layer = &forward->model->layer[index];
    batch_multiply(forward, &layer->keys, forward->normed, 0, forward->coefficient);
    if (matrix_exists(&layer->gates))
        batch_multiply(forward, &layer->gates, forward->normed, 0, forward->gate);
    for (size_t row = 0, count; row < forward->positions; row += count) {
        size_t left = forward->positions - row;
        count = left < ACTIVATED_ROWS ? left : ACTIVATED_ROWS;
        activate_rows(forward, layer, row, count);
        check_finite(forward, index, forward->coefficient, row, count, forward->model->config.d_ff);
    }
}

void forward_coefficients(struct forward *forward, size_t index)
{
    const struct model_layer *layer = &forward->model->layer[index];
    if (!layer->experts) {
        plain_coefficients(forward, index);
        return;
    }
    experts_coefficients(forward->experts, layer, forward->positions, forward->normed, forward->coefficient,
                         forward->signs);
    check_finite(forward, index, forward->coefficient, 0, forward->positions, forward->model->config.d_ff);
}

void forward_values(struct forward *forward, size_t index)
{
    const struct model_config *config = &forward->model->config;
    const struct model_layer *layer = &forward->model->layer[index];
    size_t d_model = config->d_model;
    if (layer->experts)
        experts_values(forward->experts, layer, forward->positions, forward->coefficient, forward->ffn);
    else
        batch_multiply(forward, &layer->values, forward->coefficient, 0, forward->ffn);
    add_bias(forward->ffn, layer->values_bias, forward->positions, d_model);
    if (layer->ffn_out_norm_gain)
        model_norm(config, forward->ffn, layer->ffn_out_norm_gain, NULL, forward->positions, forward->ffn);
    check_finite(forward, index, forward->ffn, 0, forward->positions, d_model);
    forward->is_open = true;
}

void forward_layer(struct forward *forward, size_t index)
{
    forward_attention(forward, index);
    forward_coefficients(forward, index);
    forward_values(forward, index);
}

void forward_output(struct forward *forward)
{
    end_layer(forward, forward->model->config.layers - 1);
}

void forward_pause(struct forward *forward, size_t index, float *residual)
{
    end_layer(forward, index);
    memcpy(residual, forward->residual,
           forward->positions * forward->model->config.d_model * sizeof *residual);
}

void forward_resume(struct forward *forward, const struct batch *batch, const float *residual)
{
    take(forward, batch);
    memcpy(forward->residual, residual,
           forward->positions * forward->model->config.d_model * sizeof *residual);
}

void forward_record_signs(struct forward *forward)
{
    forward->records_signs = true;
}

const uint8_t *forward_signs(const struct forward *forward)
{
    return forward->signs;
}

float *forward_residual(const struct forward *forward)
{
    return forward->residual;
}

float *forward_coefficient(const struct forward *forward)
{
    return forward->coefficient;
}

float *forward_ffn(const struct forward *forward)
{
    return forward->ffn;
}
