#include "numeric/norm.h"

#include "numeric/vector.h"

KERNEL static void norm_kernel(enum norm_kind kind, const float *x, const float *gain, const float *bias,
                               float epsilon, size_t rows, size_t width, float *out)
{
    size_t whole = width / LANES * LANES;
    for (size_t r = 0; r < rows; r++, x += width, out += width) {
        float partial[LANES] = {0};
        float mean = 0;
        if (kind == NORM_LAYER) {
            for (size_t i = 0; i < whole; i += LANES)
                for (size_t k = 0; k < LANES; k++)
                    partial[k] += x[i + k];
            for (size_t i = whole; i < width; i++)
                partial[i - whole] += x[i];
            mean = add_lanes(partial) / (float)width;
            memset(partial, 0, sizeof partial);
        }
        for (size_t i = 0; i < whole; i += LANES)
            for (size_t k = 0; k < LANES; k++)
                partial[k] += (x[i + k] - mean) * (x[i + k] - mean);
        for (size_t i = whole; i < width; i++)
            partial[i - whole] += (x[i] - mean) * (x[i] - mean);
        float variance = add_lanes(partial) / (float)width;
        /* One that overflows would pass as a scale of 0: NaN goes on, to be found. */
        float scale = variance < INFINITY ? 1.0f / sqrtf(variance + epsilon) : NAN;
        if (bias)
            for (size_t i = 0; i < width; i++)
                out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
        else
            for (size_t i = 0; i < width; i++)
                out[i] = (x[i] - mean) * scale * gain[i];
    }
}

void norm_rows(enum norm_kind kind, const float *x, const float *gain, const float *bias, float epsilon,
               size_t rows, size_t width, float *out)
{
    norm_kernel(kind, x, gain, bias, epsilon, rows, width, out);
}
