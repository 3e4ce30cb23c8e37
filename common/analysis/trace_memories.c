#include "analysis/trace_memories.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "model/projection.h"

#include <math.h>
#include <stdlib.h>

static double product(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++)
        sum += (double)a[k] * (double)b[k];
    return sum;
}

void value_sizes(const struct model *model, size_t layer, float *sizes)
{
    size_t d_model = model->config.d_model;
    float *value = new_floats(d_model);
    for (size_t cell = 0; cell < model->config.d_ff; cell++) {
        model_value(model, layer, cell, value);
        sizes[cell] = (float)sqrt(product(value, value, d_model));
    }
    free(value);
}

float block_scale(const struct model *model, size_t layer, const float *coefficients)
{
    const struct model_layer *of = &model->layer[layer];
    size_t d_model = model->config.d_model;
    if (!of->ffn_out_norm_gain)
        return 1;
    if (of->experts || model->config.norm != NORM_RMS)
        die("%s: the norm behind the block of layer %zu is not one that contributions are known of: trace "
            "without memories", model->config.path, layer_shown(layer));
    float *sum = new_floats(d_model);
    model_layer_ready(model, layer, LAYER_VALUES);
    matrix_multiply(&of->values, 1, coefficients, 0, sum, d_model);
    model_layer_release(model, layer);
    for (size_t k = 0; of->values_bias && k < d_model; k++)
        sum[k] += of->values_bias[k];
    double square = product(sum, sum, d_model) / (double)d_model;
    free(sum);
    return (float)(1 / sqrt(square + (double)model->config.norm_epsilon));
}

size_t memories_choose(const float *coefficients, const float *sizes, size_t d_ff, float scale, size_t most,
                       struct trace_memory *memory)
{
    size_t count = 0;
    double sum = 0;
    for (size_t cell = 0; cell < d_ff; cell++) {
        double size = fabs((double)coefficients[cell]) * (double)sizes[cell] * (double)scale;
        sum += size;
        if (size <= 0 || (count == most && size <= memory[most - 1].size))
            continue;
        size_t at = count < most ? count++ : most - 1;
        for (; at && memory[at - 1].size < size; at--)
            memory[at] = memory[at - 1];
        memory[at] = (struct trace_memory){.cell = cell, .coefficient = coefficients[cell], .scale = scale,
                                           .size = size, .logit = NAN};
    }
    for (size_t i = 0; i < count; i++)
        memory[i].share = memory[i].size / sum;
    return count;
}

/* 1 / what the final norm divides the output by, which is 1 where there is no norm. */
static double final_scale(const struct model *model, const float *output)
{
    const struct model_config *config = &model->config;
    double mean = 0, square = 0;
    if (!model->final_norm_gain)
        return 1;
    for (size_t k = 0; config->norm == NORM_LAYER && k < config->d_model; k++)
        mean += (double)output[k] / (double)config->d_model;
    for (size_t k = 0; k < config->d_model; k++)
        square += ((double)output[k] - mean) * ((double)output[k] - mean);
    return 1 / sqrt(square / (double)config->d_model + (double)config->norm_epsilon);
}

/*
 * The norm is linear once its statistics are fixed:
 * (x - mean(x)) . (gain * e) = x . (gain * e - mean(gain * e)).
 */
bool logit_direction(const struct model *model, const float *output, uint32_t token, float *direction)
{
    size_t d_model = model->config.d_model;
    double mean = 0, scale = final_scale(model, output);
    if (model->config.normed_sums)
        return false;
    output_embedding(model, token, direction);
    for (size_t k = 0; model->final_norm_gain && k < d_model; k++)
        direction[k] *= model->final_norm_gain[k];
    for (size_t k = 0; model->final_norm_gain && model->config.norm == NORM_LAYER && k < d_model; k++)
        mean += (double)direction[k] / (double)d_model;
    for (size_t k = 0; k < d_model; k++)
        direction[k] = (float)(((double)direction[k] - mean) * scale);
    return true;
}

double memory_logit(const struct model *model, size_t layer, const struct trace_memory *memory,
                    const float *direction, float *value)
{
    model_value(model, layer, memory->cell, value);
    return (double)memory->coefficient * (double)memory->scale
         * product(value, direction, model->config.d_model);
}
