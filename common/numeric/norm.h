/* Normalisation of rows, each with its own statistics. */
#ifndef FFKV_NORM_H
#define FFKV_NORM_H

#include <stddef.h>

enum norm_kind {
    NORM_LAYER, /* LayerNorm, Ba et al. 2016 */
    NORM_RMS,   /* RMSNorm, Zhang and Sennrich 2019 */
};

/*
 * out = (x - mean) / sqrt(variance + epsilon) * gain + bias for each of rows rows (x width);
 * RMSNorm has no mean. gain and bias (width); bias may be NULL. out may be x. A row whose
 * variance overflows becomes NaN.
 */
void norm_rows(enum norm_kind kind, const float *x, const float *gain, const float *bias, float epsilon,
               size_t rows, size_t width, float *out);

#endif
