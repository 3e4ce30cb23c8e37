/* The functions f of m_i = f(x . k_i), and the sums and products beside them, of whole arrays. */
#ifndef FFKV_ACTIVATION_H
#define FFKV_ACTIVATION_H

#include <stddef.h>

enum activation {
    ACTIVATION_RELU,
    ACTIVATION_GELU,      /* x Phi(x), Hendrycks and Gimpel 2016 */
    ACTIVATION_GELU_TANH, /* its tanh approximation, which GPT-2 uses */
    ACTIVATION_SILU,      /* x sigmoid(x) */
    ACTIVATION_QUICK_GELU, /* x sigmoid(1.702 x), the other approximation of Hendrycks and Gimpel */
};

/* Applies it to each of count numbers. NaN stays NaN, to be found. */
void activate(enum activation activation, float *x, size_t count);

/* x += y and x *= y, of count numbers. */
void add_floats(float *x, const float *y, size_t count);
void multiply_floats(float *x, const float *y, size_t count);

/* x *= scale, of count numbers. */
void scale_floats(float *x, size_t count, float scale);

/* Each of count numbers is kept between -most and most; most 0: as it is. */
void clip_floats(float *x, size_t count, float most);

/*
 * Of count cells whose activation is of gates below a limit, and is multiplied by one more than the input
 * within it (gpt-oss): gate becomes min(gate, limit), and input becomes min(max(input, -limit), limit) + 1.
 */
void limit_gated(float *gate, float *input, size_t count, float limit);

/* x = cap tanh(x / cap), of count numbers; cap 0: as it is. */
void cap_floats(float *x, size_t count, float cap);

/* Adds bias (width) to each of rows rows; nothing where bias is NULL. */
void add_bias(float *x, const float *bias, size_t rows, size_t width);

#endif
