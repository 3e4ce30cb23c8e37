/* The norms of a model, and what of its final norm is applied to vectors that are not its output. */
#ifndef FFKV_MODEL_NORM_H
#define FFKV_MODEL_NORM_H

#include "model/model.h"

/*
 * The config's norm, with this gain and bias (d_model; bias may be NULL), of rows
 * vectors (x d_model). out may be x.
 */
void model_norm(const struct model_config *config, const float *x, const float *gain, const float *bias,
                size_t rows, float *out);

/*
 * Makes rows vectors r^l + y^l (x d_model) to the layer's output o^l: a norm, where the
 * layer has one of the sum. layer counts from 0.
 */
void layer_sum_norm(const struct model *model, size_t layer, size_t rows, float *sums);

/*
 * The model's final norm of rows vectors (x d_model), each with its own
 * statistics; without one a copy. out may be x.
 */
void final_norm(const struct model *model, const float *x, size_t rows, float *out);

#endif
