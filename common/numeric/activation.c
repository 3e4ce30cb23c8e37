#include "numeric/activation.h"

#include "numeric/vector.h"

KERNEL static void relu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
}

/* x Phi(x); erf by Abramowitz and Stegun 7.1.26, to 1.5e-7. */
KERNEL static void gelu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float z = fabsf(x[i]) * 0.70710678f;
        float t = 1.0f / (1.0f + 0.3275911f * z);
        float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        float tail = 0.5f * p * t * exponential(-z * z); /* 1 - Phi(|x|) */
        x[i] *= x[i] < 0 ? tail : 1.0f - tail;
    }
}

/* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 = x sigmoid(2 sqrt(2 / pi) ...) */
KERNEL static void gelu_tanh(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1.0f + exponential(-1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
}

KERNEL static void silu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1.0f + exponential(-x[i]);
}

KERNEL static void quick_gelu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1.0f + exponential(-1.702f * x[i]);
}

void activate(enum activation activation, float *x, size_t count)
{
    switch (activation) {
    case ACTIVATION_RELU:
        relu(x, count);
        break;
    case ACTIVATION_GELU:
        gelu(x, count);
        break;
    case ACTIVATION_GELU_TANH:
        gelu_tanh(x, count);
        break;
    case ACTIVATION_SILU:
        silu(x, count);
        break;
    case ACTIVATION_QUICK_GELU:
        quick_gelu(x, count);
        break;
    }
}

KERNEL static void multiply_kernel(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= y[i];
}

KERNEL static void add_kernel(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

KERNEL static void bias_kernel(float *x, const float *bias, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++, x += width)
        for (size_t i = 0; i < width; i++)
            x[i] += bias[i];
}

KERNEL static void scale_kernel(float *x, size_t count, float scale)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= scale;
}

KERNEL static void clip_kernel(float *x, size_t count, float most)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] > most ? most : x[i] < -most ? -most : x[i];
}

KERNEL static void limit_kernel(float *gate, float *input, size_t count, float limit)
{
    for (size_t i = 0; i < count; i++) {
        gate[i] = gate[i] > limit ? limit : gate[i];
        input[i] = (input[i] > limit ? limit : input[i] < -limit ? -limit : input[i]) + 1.0f;
    }
}

KERNEL static void cap_kernel(float *x, size_t count, float cap)
{
    for (size_t i = 0; i < count; i++)
        x[i] = cap * hyperbolic_tangent(x[i] / cap);
}

void scale_floats(float *x, size_t count, float scale)
{
    if (!(scale >= 1 && scale <= 1)) /* NaN scales, too */
        scale_kernel(x, count, scale);
}

void clip_floats(float *x, size_t count, float most)
{
    if (most > 0)
        clip_kernel(x, count, most);
}

void limit_gated(float *gate, float *input, size_t count, float limit)
{
    limit_kernel(gate, input, count, limit);
}

void cap_floats(float *x, size_t count, float cap)
{
    if (cap > 0)
        cap_kernel(x, count, cap);
}

void multiply_floats(float *x, const float *y, size_t count)
{
    multiply_kernel(x, y, count);
}

void add_floats(float *x, const float *y, size_t count)
{
    add_kernel(x, y, count);
}

void add_bias(float *x, const float *bias, size_t rows, size_t width)
{
    if (bias)
        bias_kernel(x, bias, rows, width);
}
