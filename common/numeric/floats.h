/*
 * Numbers of other formats as 32-bit floats: 16-bit floats (IEEE 754 half
 * precision), bfloats (the upper half of a 32-bit float), and what is not finite.
 */
#ifndef FFKV_FLOATS_H
#define FFKV_FLOATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * The value of a half: 1 bit sign, 5 bits exponent (bias 15), 10 bits fraction.
 * Exact for all 65536. It has no branch and meets no subnormal float, so that
 * loops over it run on vectors at one speed whatever the values.
 */
static inline float from_half(uint16_t half)
{
    const uint32_t rebias = (127u - 15u) << 23, least_normal = (127u - 14u) << 23;
    uint32_t magnitude = (half & 0x7fffu) << 13;
    uint32_t normal = magnitude + rebias;
    uint32_t special = normal + rebias; /* infinity and NaN: exponent 31 becomes 255 */
    /* Zero and subnormals: units of 2^-24 above the least normal, which is taken off. */
    uint32_t above = magnitude + least_normal;
    float least, subnormal;
    memcpy(&least, &least_normal, sizeof least);
    memcpy(&subnormal, &above, sizeof subnormal);
    subnormal -= least;
    uint32_t small;
    memcpy(&small, &subnormal, sizeof small);
    uint32_t bits = magnitude < 0x0400u << 13 ? small : magnitude < 0x7c00u << 13 ? normal : special;
    bits |= (half & 0x8000u) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The half stored at bytes, little endian. */
static inline float half_at(const unsigned char *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return from_half(half);
}

/* Converts count numbers from bytes, little endian and at any address, to values. */
void floats_from_halves(const unsigned char *bytes, size_t count, float *values);
void floats_from_bfloats(const unsigned char *bytes, size_t count, float *values);
void floats_from_floats(const unsigned char *bytes, size_t count, float *values);

/* Index of the first value that is infinite or not a number; count when there is none. */
size_t floats_first_not_finite(const float *values, size_t count);

/* Whether all of them are 0, or -0. */
bool floats_are_zero(const float *values, size_t count);

#endif
