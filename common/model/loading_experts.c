#include "model/loading_experts.h"

#include "base/messages.h"
#include "model/weights.h"

#include <stdlib.h>

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

/* Finds a matrix, rows x columns, of each expert of layer index: each[expert]. */
static void find_each(struct loading *loading, const char *format, bool packed, size_t index,
                      size_t rows, size_t columns, const float **each)
{
    size_t experts = loading->model->config.experts;
    struct tensor_shape shape = {.stack = packed ? experts : 0, .rows = rows, .columns = columns};
    for (size_t e = 0; e < experts; e++) {
        char name[MAX_TENSOR_NAME];
        tensor_name(name, loading->prefix, format, index, e);
        if (packed && e)
            each[e] = each[0] ? each[0] + e * rows * columns : NULL;
        else
            each[e] = plain_tensor(loading, name, shape);
    }
}

static void read_gates_and_keys(struct loading *loading, const struct expert_names *names, size_t index,
                                const float **each)
{
    const struct model_config *config = &loading->model->config;
    struct model_expert *experts = loading->model->layer[index].experts;
    size_t width = config->expert_width, d_model = config->d_model;
    if (names->gates_and_keys) {
        find_each(loading, names->gates_and_keys, names->packed, index, 2 * width, d_model, each);
        for (size_t e = 0; e < config->experts; e++) {
            experts[e].gates = matrix_of(each[e], width, d_model);
            experts[e].keys = matrix_of(each[e] ? each[e] + width * d_model : NULL, width, d_model);
        }
        return;
    }
    find_each(loading, names->gates, names->packed, index, width, d_model, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].gates = matrix_of(each[e], width, d_model);
    find_each(loading, names->keys, names->packed, index, width, d_model, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].keys = matrix_of(each[e], width, d_model);
}

static void read_router(struct loading *loading, const struct expert_names *names, size_t index)
{
    const struct model_config *config = &loading->model->config;
    const struct tensor_shape shape = {.rows = config->experts, .columns = config->d_model};
    char name[MAX_TENSOR_NAME];
    tensor_name(name, loading->prefix, names->router, index, 0);
    loading->model->layer[index].router =
        matrix_of(plain_tensor(loading, name, shape), config->experts, config->d_model);
}

void read_layer_experts(struct loading *loading, size_t index, enum layer_part part)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    if (!config->experts || !config->has_experts[index])
        return;
    struct model_layer *layer = &model->layer[index];
    const struct expert_names *names = find_form(loading, index);
    const float **each = new_array(config->experts, sizeof *each);
    if (!layer->experts)
        layer->experts = new_array(config->experts, sizeof *layer->experts);
    if (part == LAYER_ALL && !matrix_exists(&layer->router)) {
        read_router(loading, names, index);
        read_gates_and_keys(loading, names, index, each);
    }
    if (!matrix_exists(&layer->experts[0].values)) {
        find_each(loading, names->values, names->packed, index, config->d_model, config->expert_width, each);
        for (size_t e = 0; e < config->experts; e++)
            layer->experts[e].values = matrix_of(each[e], config->d_model, config->expert_width);
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
