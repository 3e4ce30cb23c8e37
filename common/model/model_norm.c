#include "model/model_norm.h"

#include "numeric/norm.h"

#include <string.h>

void model_norm(const struct model_config *config, const float *x, const float *gain, const float *bias,
                size_t rows, float *out)
{
    norm_rows(config->norm, x, gain, bias, config->norm_epsilon, rows, config->d_model, out);
}

void layer_sum_norm(const struct model *model, size_t layer, size_t rows, float *sums)
{
    const struct model_layer *of = &model->layer[layer];
    if (of->ffn_sum_norm_gain)
        model_norm(&model->config, sums, of->ffn_sum_norm_gain, of->ffn_sum_norm_bias, rows, sums);
}

void final_norm(const struct model *model, const float *x, size_t rows, float *out)
{
    if (model->final_norm_gain)
        model_norm(&model->config, x, model->final_norm_gain, model->final_norm_bias, rows, out);
    else if (out != x)
        memcpy(out, x, rows * model->config.d_model * sizeof *out);
}
