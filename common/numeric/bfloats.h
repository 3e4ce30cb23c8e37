/*
 * Numbers as sums of bfloats, 16-bit floats that are the upper half of a 32-bit float: x = x_0 + x_1 + x_2,
 * each term the bfloat nearest to what those before it leave. A term has 8 bits of significand, so that three
 * are a 32-bit float exactly, from 2^-110 up; below, they leave at most 2^-134.
 */
#ifndef FFKV_BFLOATS_H
#define FFKV_BFLOATS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_TERMS = 3 };

static inline float from_bfloat(uint16_t bfloat)
{
    uint32_t bits = (uint32_t)bfloat << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * The nearest bfloat; of two the one whose last bit is 0. A finite number has a finite one, which is the
 * largest there is where the nearest would be infinite. What is no number stays none.
 */
static inline uint16_t to_bfloat(float value)
{
    const uint32_t infinity = 0x7f800000u, to_infinity = 0x7f7f8000u;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1), cut = bits | (magnitude > infinity ? 0x400000u : 0);
    return (uint16_t)((magnitude >= to_infinity ? cut : rounded) >> 16);
}

/* The terms (terms x count) of count numbers. */
void bfloats_split(const float *values, size_t count, size_t terms, uint16_t *split);

/* Each number as the sum of so many terms, in place. */
void bfloats_round(float *values, size_t count, size_t terms);

/* Of how many terms, at most most, the numbers are exact sums; most where they are of none. */
size_t bfloats_needed(const float *values, size_t count, size_t most);

#endif
