/*
 * For the loops between the matrix products.
 *
 * KERNEL compiles a function for several generations of x86 processors and
 * picks one at start. All give the same bits: the build forbids contraction of
 * a * b + c, and a sum's order is written out in the source, in LANES partial
 * sums, instead of being left to the compiler.
 */
#ifndef FFKV_VECTOR_H
#define FFKV_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined __x86_64__ && defined __linux__ && !defined __SANITIZE_ADDRESS__ \
    && (defined __clang__ ? __clang_major__ >= 14 : __GNUC__ >= 11)
#define KERNEL __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KERNEL
#endif

/*
 * A part of KERNELs, compiled into each of them: a function that the compiler leaves outside is code for the
 * oldest processor.
 */
#define KERNEL_PART static inline __attribute__((always_inline))

enum { LANES = 16 };

/*
 * exp(x) to within 2 units in the last place for x in [-87, 88], 0 below:
 * exp(x) = 2^n exp(r), n the whole number nearest to x / ln 2, and for
 * |r| <= ln 2 / 2 the polynomial of Moshier's Cephes library (expf).
 */
KERNEL_PART float exponential(float x)
{
    const float nearest = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float above = x < -87.0f ? -87.0f : x; /* one by one: each is a single instruction then */
    float clamped = above > 88.0f ? 88.0f : above;
    float n = (clamped * 1.44269504088896341f + nearest) - nearest;
    float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t bits = ((int32_t)(n == n ? n : 0) + 127) * (1 << 23); /* NaN goes on in p */
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

/* tanh(x) to within 1e-7. */
KERNEL_PART float hyperbolic_tangent(float x)
{
    float power = exponential(-2.0f * fabsf(x)), size = (1.0f - power) / (1.0f + power);
    return x < 0 ? -size : size;
}

/* Adds LANES partial sums, in one fixed order. */
KERNEL_PART float add_lanes(const float *lanes)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += lanes[i];
    return sum;
}

#endif
