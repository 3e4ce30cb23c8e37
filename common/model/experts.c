#include "model/experts.h"

#include "base/messages.h"
#include "model/products.h"
#include "numeric/activation.h"
#include "numeric/floats.h"
#include "numeric/routing.h"
#include "stream/ranks.h"

#include <stdlib.h>
#include <string.h>

struct experts {
    const struct model_config *config;
    const struct products *products;
    size_t capacity;              /* rows of the matrices: */
    float *logits;                /* capacity x experts: the router's */
    struct chosen_expert *chosen; /* capacity x chosen experts */
    float *shared_weight;         /* capacity */
    size_t *row;                  /* capacity: the positions of an expert */
    float *weight;                /* capacity: its weights there */
    float *input, *output;        /* capacity x d_model */
    float *cells, *gate;          /* capacity x cells of an expert */
};

struct experts *experts_new(const struct model_config *config, const struct products *products)
{
    struct experts *experts = new_array(1, sizeof *experts);
    experts->config = config;
    experts->products = products;
    return experts;
}

static void free_matrices(struct experts *experts)
{
    free(experts->logits);
    free(experts->chosen);
    free(experts->shared_weight);
    free(experts->row);
    free(experts->weight);
    free(experts->input);
    free(experts->output);
    free(experts->cells);
    free(experts->gate);
}

void experts_free(struct experts *experts)
{
    if (!experts)
        return;
    free_matrices(experts);
    free(experts);
}

/* Cells of an expert, at most. */
static size_t most_cells(const struct model_config *config)
{
    return config->expert_width > config->shared_width ? config->expert_width : config->shared_width;
}

double experts_columns(const struct model_config *config)
{
    enum { OWN = 4 }; /* shared_weight, weight, and row, which is twice as wide, as is an expert chosen */
    return (double)config->experts + 2 * (double)config->chosen_experts + OWN + 2 * (double)config->d_model
         + 2 * (double)most_cells(config);
}

static void reserve(struct experts *experts, size_t positions)
{
    const struct model_config *config = experts->config;
    size_t rows = padded_rows(positions, experts->products->rows, experts->products->step);
    size_t width = most_cells(config);
    if (rows <= experts->capacity)
        return;
    free_matrices(experts);
    experts->capacity = rows;
    experts->logits = new_floats(matrix_count(rows, config->experts));
    experts->chosen = new_array(matrix_count(rows, config->chosen_experts), sizeof *experts->chosen);
    experts->shared_weight = new_floats(rows);
    experts->row = new_array(rows, sizeof *experts->row);
    experts->weight = new_floats(rows);
    experts->input = new_floats(matrix_count(rows, config->d_model));
    experts->output = new_floats(matrix_count(rows, config->d_model));
    experts->cells = new_floats(matrix_count(rows, width));
    experts->gate = new_floats(matrix_count(rows, width));
}

/* A product of an expert's positions, which may be few. */
static void multiply(const struct experts *experts, const struct matrix *matrix, size_t rows, const float *x,
                     float *y)
{
    multiply_rows(experts->products, matrix, rows, SHORT_PRODUCT_STEP, x, 0, y);
}

/* ---- coefficients ---- */

/* Each position's experts, and the weight of the shared one. */
static void route(struct experts *experts, const struct model_layer *layer, size_t positions, const float *x)
{
    const struct model_config *config = experts->config;
    const struct products *products = experts->products;
    multiply_rows(products, &layer->router, positions, products->step, x, 0, experts->logits);
    add_bias(experts->logits, layer->router_bias, positions, config->experts);
    for (size_t r = 0; r < positions; r++)
        choose_experts(experts->logits + r * config->experts, config->experts, config->chosen_experts,
                       config->experts_normalized, experts->chosen + r * config->chosen_experts);
    if (!matrix_exists(&layer->shared_router))
        return;
    multiply_rows(products, &layer->shared_router, positions, products->step, x, 0, experts->shared_weight);
    sigmoids(experts->shared_weight, positions);
}

/* Notes the positions that have chosen an expert, and its weights there; gives their number. */
static size_t find_rows(struct experts *experts, size_t expert, size_t positions)
{
    size_t count = 0, chosen = experts->config->chosen_experts;
    for (size_t i = 0; i < positions * chosen; i++)
        if (experts->chosen[i].expert == expert) {
            experts->row[count] = i / chosen;
            experts->weight[count++] = experts->chosen[i].weight;
        }
    return count;
}

/* The same of the shared expert, which all positions have. */
static size_t take_all_rows(struct experts *experts, const struct model_layer *layer, size_t positions)
{
    for (size_t r = 0; r < positions; r++) {
        experts->row[r] = r;
        experts->weight[r] = matrix_exists(&layer->shared_router) ? experts->shared_weight[r] : 1;
    }
    return positions;
}

/* The coefficients of an expert's cells at the count rows that were noted; first: of its cells. */
static void compute_cells(struct experts *experts, const struct model_expert *expert, size_t first,
                          size_t count, const float *x, float *coefficient, uint8_t *signs)
{
    const struct model_config *config = experts->config;
    size_t width = expert->keys.rows, d_model = config->d_model;
    for (size_t r = 0; r < count; r++)
        memcpy(experts->input + r * d_model, x + experts->row[r] * d_model, d_model * sizeof *x);
    multiply(experts, &expert->keys, count, experts->input, experts->cells);
    multiply(experts, &expert->gates, count, experts->input, experts->gate);
    add_bias(experts->cells, expert->keys_bias, count, width);
    add_bias(experts->gate, expert->gates_bias, count, width);
    if (config->gate_limit > 0)
        limit_gated(experts->gate, experts->cells, count * width, config->gate_limit);
    for (size_t r = 0; signs && r < count; r++)
        find_signs(experts->gate + r * width, experts->cells + r * width, width,
                   signs + experts->row[r] * config->d_ff + first);
    activate(config->activation, experts->gate, count * width);
    multiply_floats(experts->cells, experts->gate, count * width);
    for (size_t r = 0; r < count; r++) {
        float *cells = experts->cells + r * width;
        scale_floats(cells, width, experts->weight[r]);
        memcpy(coefficient + experts->row[r] * config->d_ff + first, cells, width * sizeof *cells);
    }
}

void experts_coefficients(struct experts *experts, const struct model_layer *layer, size_t positions,
                          const float *x, float *coefficient, uint8_t *signs)
{
    const struct model_config *config = experts->config;
    reserve(experts, positions);
    memset(coefficient, 0, positions * config->d_ff * sizeof *coefficient);
    if (signs)
        memset(signs, NO_SIGNS, positions * config->d_ff);
    route(experts, layer, positions, x);
    for (size_t e = 0; e < config->experts; e++)
        compute_cells(experts, &layer->experts[e], e * config->expert_width, find_rows(experts, e, positions),
                      x, coefficient, signs);
    if (config->shared_width)
        compute_cells(experts, &layer->shared, config->experts * config->expert_width,
                      take_all_rows(experts, layer, positions), x, coefficient, signs);
}

/* ---- values ---- */

/* Adds an expert's values, each times its coefficient, at the positions where one is not 0. */
static void add_values(struct experts *experts, const struct matrix *values, size_t first, size_t positions,
                       const float *coefficient, float *ffn)
{
    const struct model_config *config = experts->config;
    size_t width = values->columns, d_model = config->d_model, count = 0;
    for (size_t r = 0; r < positions; r++) {
        const float *cells = coefficient + r * config->d_ff + first;
        if (floats_are_zero(cells, width))
            continue;
        memcpy(experts->cells + count * width, cells, width * sizeof *cells);
        experts->row[count++] = r;
    }
    multiply(experts, values, count, experts->cells, experts->output);
    for (size_t r = 0; r < count; r++)
        add_floats(ffn + experts->row[r] * d_model, experts->output + r * d_model, d_model);
}

/* Adds an expert's bias where it is chosen, whatever its coefficients became since. */
static void add_expert_bias(struct experts *experts, const float *bias, size_t expert, size_t positions,
                            float *ffn)
{
    size_t d_model = experts->config->d_model, count = bias ? find_rows(experts, expert, positions) : 0;
    for (size_t r = 0; r < count; r++)
        for (size_t k = 0; k < d_model; k++)
            ffn[experts->row[r] * d_model + k] += experts->weight[r] * bias[k];
}

void experts_values(struct experts *experts, const struct model_layer *layer, size_t positions,
                    const float *coefficient, float *ffn)
{
    const struct model_config *config = experts->config;
    reserve(experts, positions);
    memset(ffn, 0, positions * config->d_model * sizeof *ffn);
    for (size_t e = 0; e < config->experts; e++) {
        add_values(experts, &layer->experts[e].values, e * config->expert_width, positions, coefficient, ffn);
        add_expert_bias(experts, layer->experts[e].values_bias, e, positions, ffn);
    }
    if (config->shared_width)
        add_values(experts, &layer->shared.values, config->experts * config->expert_width, positions,
                   coefficient, ffn);
}
