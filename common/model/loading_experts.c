#include "model/loading_experts.h"

#include "base/messages.h"
#include "formats/quantized.h"
#include "model/weights.h"

#include <stdlib.h>

/* A matrix that each expert of layer index has, rows x columns of ours. */
struct each_matrix {
    struct loading *loading;
    const struct expert_names *names;
    size_t index, rows, columns;
    bool interleaved, transposed; /* in the file, as struct expert_names has it */
};

/* The form in which the file has the layer's experts. */
static const struct expert_names *find_form(const struct loading *loading, size_t index)
{
    for (const struct expert_names *form = loading->names->experts; form->router; form++) {
        char name[MAX_TENSOR_NAME];
        tensor_name(name, loading->prefix, form->values, index, 0);
        if (weights_has(loading->model->weights, name))
            return form;
    }
    return loading->names->experts;
}

/* The row of a file's matrix of so many rows in which two are interleaved, ours being one below the other. */
static size_t interleaved_row(size_t row, size_t rows)
{
    return row < rows / 2 ? 2 * row : 2 * (row - rows / 2) + 1;
}

/* Arranges an expert's matrix as ours. */
static void arrange(const struct each_matrix *matrix, const float *from, float *to)
{
    size_t rows = matrix->rows, columns = matrix->columns;
    for (size_t r = 0; r < rows; r++) {
        size_t row = matrix->interleaved ? interleaved_row(r, rows) : r;
        for (size_t c = 0; c < columns; c++)
            to[r * columns + c] = from[matrix->transposed ? c * rows + row : row * columns + c];
    }
}

/* Reads a stack of all experts' matrices that is not arranged as ours, or whose numbers are of MXFP4. */
static const float *arranged_stack(const struct each_matrix *matrix, const char *name, const char *scales)
{
    struct loading *loading = matrix->loading;
    struct weights *weights = loading->model->weights;
    size_t experts = loading->model->config.experts, size = matrix_count(matrix->rows, matrix->columns);
    size_t count = matrix_count(experts, size), bytes = matrix_count(count, sizeof(float));
    struct tensor_shape shape = {.stack = experts, .rows = matrix->rows, .columns = matrix->columns};
    if (matrix->transposed)
        shape = (struct tensor_shape){.stack = experts, .rows = matrix->columns, .columns = matrix->rows};
    if (scales && shape.columns % MXFP4_ELEMENTS)
        die("%s: tensor '%s' has blocks of %d numbers, of which rows of %zu are not made up",
            weights_file(weights, name), name, MXFP4_ELEMENTS, shape.columns);
    loading->bytes.copied += bytes;
    loading->bytes.scratch = bytes > loading->bytes.scratch ? bytes : loading->bytes.scratch;
    if (scales)
        weights_check_mxfp4(weights, name, scales, shape);
    loading->format = scales ? FLOATS_BFLOAT : weights_check(weights, name, shape).format;
    if (loading->described)
        return NULL;
    float *from = new_floats(count), *to = new_tensor(loading, count);
    if (scales)
        weights_read_mxfp4(weights, name, scales, shape, from);
    else
        weights_read(weights, name, shape, from);
    for (size_t e = 0; e < experts; e++)
        arrange(matrix, from + e * size, to + e * size);
    free(from);
    return to;
}

/* Finds the matrix of each expert: each[expert]. scales, a tensor's name, is NULL where it is no MXFP4. */
static void find_each(const struct each_matrix *matrix, const char *format, const char *scales,
                      const float **each)
{
    struct loading *loading = matrix->loading;
    size_t experts = loading->model->config.experts, size = matrix->rows * matrix->columns;
    bool packed = matrix->names->packed;
    struct tensor_shape shape = {.stack = packed ? experts : 0, .rows = matrix->rows,
                                 .columns = matrix->columns};
    char name[MAX_TENSOR_NAME], scales_name[MAX_TENSOR_NAME];
    for (size_t e = 0; e < experts; e++) {
        tensor_name(name, loading->prefix, format, matrix->index, e);
        if (packed && e)
            each[e] = each[0] ? each[0] + e * size : NULL;
        else if (matrix->interleaved || matrix->transposed || scales) {
            tensor_name(scales_name, loading->prefix, scales ? scales : "", matrix->index, e);
            each[e] = arranged_stack(matrix, name, scales ? scales_name : NULL);
        } else
            each[e] = plain_tensor(loading, name, shape);
    }
}

static void read_gates_and_keys(const struct each_matrix *of, const float **each)
{
    const struct model_config *config = &of->loading->model->config;
    struct model_expert *experts = of->loading->model->layer[of->index].experts;
    const struct expert_names *names = of->names;
    size_t width = config->expert_width, d_model = config->d_model;
    struct each_matrix matrix = *of;
    matrix.columns = d_model;
    struct mark mark = mark_tensors(of->loading);
    if (names->gates_and_keys) {
        matrix.rows = 2 * width;
        matrix.interleaved = names->interleaved;
        matrix.transposed = names->transposed;
        find_each(&matrix, names->gates_and_keys, names->gates_and_keys_scales, each);
        for (size_t e = 0; e < config->experts; e++) {
            experts[e].gates = new_matrix(of->loading, each[e], width, d_model);
            experts[e].keys = new_matrix(of->loading, each[e] ? each[e] + width * d_model : NULL, width,
                                         d_model);
        }
        drop_tensors(of->loading, mark);
        return;
    }
    matrix.rows = width;
    find_each(&matrix, names->gates, NULL, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].gates = new_matrix(of->loading, each[e], width, d_model);
    drop_tensors(of->loading, mark);
    mark = mark_tensors(of->loading);
    find_each(&matrix, names->keys, NULL, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].keys = new_matrix(of->loading, each[e], width, d_model);
    drop_tensors(of->loading, mark);
}

static void read_values(const struct each_matrix *of, const float **each)
{
    const struct model_config *config = &of->loading->model->config;
    struct each_matrix matrix = *of;
    struct mark mark = mark_tensors(of->loading);
    matrix.rows = config->d_model;
    matrix.columns = config->expert_width;
    matrix.transposed = of->names->transposed;
    find_each(&matrix, of->names->values, of->names->values_scales, each);
    for (size_t e = 0; e < config->experts; e++)
        of->loading->model->layer[of->index].experts[e].values =
            new_matrix(of->loading, each[e], config->d_model, config->expert_width);
    drop_tensors(of->loading, mark);
}

/* All experts' biases of one kind, experts x width; NULL where the family has none. */
static const float *read_biases(const struct each_matrix *of, const char *format, size_t width)
{
    struct loading *loading = of->loading;
    struct tensor_shape shape = {.rows = loading->model->config.experts, .columns = width};
    char name[MAX_TENSOR_NAME];
    if (!format)
        return NULL;
    tensor_name(name, loading->prefix, format, of->index, 0);
    return plain_tensor(loading, name, shape);
}

/* The biases of gates, and behind them those of keys; both (experts x 2 width) has them interleaved. */
static const float *apart(struct loading *loading, const float *both, size_t width)
{
    size_t experts = loading->model->config.experts;
    float *to = new_tensor(loading, 2 * experts * width);
    for (size_t i = 0; i < experts * width; i++) {
        to[i] = both[2 * i];
        to[experts * width + i] = both[2 * i + 1];
    }
    return to;
}

static void read_all_biases(const struct each_matrix *of)
{
    struct model *model = of->loading->model;
    const struct expert_names *names = of->names;
    size_t width = model->config.expert_width, d_model = model->config.d_model;
    const float *gates = read_biases(of, names->gates_bias, width);
    const float *keys = read_biases(of, names->keys_bias, width);
    const float *both = read_biases(of, names->gates_and_keys_bias, 2 * width);
    const float *values = read_biases(of, names->values_bias, d_model);
    if (both) {
        gates = apart(of->loading, both, width);
        keys = gates + model->config.experts * width;
    }
    struct model_expert *experts = model->layer[of->index].experts;
    for (size_t e = 0; e < model->config.experts; e++) {
        experts[e].gates_bias = gates ? gates + e * width : NULL;
        experts[e].keys_bias = keys ? keys + e * width : NULL;
        experts[e].values_bias = values ? values + e * d_model : NULL;
    }
}

static void read_router(const struct each_matrix *of)
{
    struct loading *loading = of->loading;
    struct model *model = loading->model;
    struct model_layer *layer = &model->layer[of->index];
    size_t experts = model->config.experts, d_model = model->config.d_model;
    char name[MAX_TENSOR_NAME];
    tensor_name(name, loading->prefix, of->names->router, of->index, 0);
    layer->router = plain_matrix(loading, name, experts, d_model);
    if (!of->names->router_bias || !loading->described) /* vectors are read with the description */
        return;
    tensor_name(name, loading->prefix, of->names->router_bias, of->index, 0);
    layer->router_bias = plain_tensor(loading, name, (struct tensor_shape){.rows = experts});
}

void read_layer_experts(struct loading *loading, size_t index, enum layer_part part)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    if (!config->experts || !config->has_experts[index])
        return;
    struct model_layer *layer = &model->layer[index];
    const struct each_matrix of = {.loading = loading, .names = find_form(loading, index), .index = index};
    const float **each = new_array(config->experts, sizeof *each);
    if (!layer->experts)
        layer->experts = new_array(config->experts, sizeof *layer->experts);
    if (part == LAYER_ALL && !matrix_exists(&layer->router)) {
        read_router(&of);
        read_gates_and_keys(&of, each);
        read_all_biases(&of);
    }
    if (!matrix_exists(&layer->experts[0].values)) {
        size_t before = bytes_unpacked(loading);
        read_values(&of, each);
        loading->bytes.values += bytes_unpacked(loading) - before;
    }
    free(each);
}

void forget_layer_experts(struct model *model, size_t index)
{
    struct model_layer *layer = &model->layer[index];
    layer->router = (struct matrix){0};
    for (size_t e = 0; layer->experts && e < model->config.experts; e++)
        layer->experts[e] = (struct model_expert){0};
}
