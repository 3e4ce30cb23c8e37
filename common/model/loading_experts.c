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
static void find_each(const struct loading *loading, const char *format, bool packed, size_t index,
                      size_t rows, size_t columns, const float **each)
{
    size_t experts = loading->model->config.experts;
    struct tensor_shape shape = {.stack = packed ? experts : 0, .rows = rows, .columns = columns};
    for (size_t e = 0; e < experts; e++) {
        char name[MAX_TENSOR_NAME];
        tensor_name(name, loading->prefix, format, index, e);
        each[e] = packed && e ? each[0] + e * rows * columns : plain_tensor(loading->model, name, shape);
    }
}

static void read_gates_and_keys(const struct loading *loading, const struct expert_names *names, size_t index,
                                const float **each)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    struct model_expert *experts = model->layer[index].experts;
    size_t width = config->expert_width, d_model = config->d_model, before = model->owned_count;
    if (names->gates_and_keys) {
        find_each(loading, names->gates_and_keys, names->packed, index, 2 * width, d_model, each);
        for (size_t e = 0; e < config->experts; e++) {
            experts[e].gates = new_matrix(model, each[e], width, d_model);
            experts[e].keys = new_matrix(model, each[e] + width * d_model, width, d_model);
        }
        drop_tensors(model, before);
        return;
    }
    find_each(loading, names->gates, names->packed, index, width, d_model, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].gates = new_matrix(model, each[e], width, d_model);
    drop_tensors(model, before);
    find_each(loading, names->keys, names->packed, index, width, d_model, each);
    for (size_t e = 0; e < config->experts; e++)
        experts[e].keys = new_matrix(model, each[e], width, d_model);
    drop_tensors(model, before);
}

void read_layer_experts(const struct loading *loading, size_t index)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    if (!config->experts || !config->has_experts[index])
        return;
    struct model_layer *layer = &model->layer[index];
    const struct expert_names *names = find_form(loading, index);
    const float **each = new_array(config->experts, sizeof *each);
    char name[MAX_TENSOR_NAME];
    tensor_name(name, loading->prefix, names->router, index, 0);
    layer->router = plain_matrix(model, name, config->experts, config->d_model);
    layer->experts = new_array(config->experts, sizeof *layer->experts);
    read_gates_and_keys(loading, names, index, each);
    size_t before = model->owned_count;
    find_each(loading, names->values, names->packed, index, config->d_model, config->expert_width, each);
    for (size_t e = 0; e < config->experts; e++)
        layer->experts[e].values = new_matrix(model, each[e], config->d_model, config->expert_width);
    drop_tensors(model, before);
    free(each);
}
