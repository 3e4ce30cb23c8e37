/*
 * The bins in which coefficients are counted, the same for all models, so that counts add up. Each
 * octave from 2^-12 to 2^12 has two bins, [2^e, 1.5 2^e) and [1.5 2^e, 2^(e+1)), for either sign;
 * beyond are the outermost bins, and 0 has one of its own. They rise with the coefficient.
 */
#ifndef FFKV_COEFFICIENT_BINS_H
#define FFKV_COEFFICIENT_BINS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { COEFFICIENT_MAGNITUDES = 48, COEFFICIENT_ZERO = COEFFICIENT_MAGNITUDES,
       COEFFICIENT_BINS = 2 * COEFFICIENT_MAGNITUDES + 1 };

/* The bin of a coefficient: its sign, and the exponent and the first bit behind it of a float. */
static inline uint8_t coefficient_bin(float coefficient)
{
    enum { DROPPED = 22, LOWEST = (127 - 12) << 1, HIGHEST = LOWEST + COEFFICIENT_MAGNITUDES - 1 };
    uint32_t bits;
    memcpy(&bits, &coefficient, sizeof bits);
    uint32_t magnitude = (bits & 0x7fffffff) >> DROPPED;
    magnitude = magnitude < LOWEST ? LOWEST : magnitude > HIGHEST ? HIGHEST : magnitude;
    magnitude -= LOWEST;
    uint32_t of_sign = bits >> 31 ? COEFFICIENT_ZERO - 1 - magnitude : COEFFICIENT_ZERO + 1 + magnitude;
    return (uint8_t)(bits << 1 ? of_sign : COEFFICIENT_ZERO);
}

/* The edge of a bin that is nearer to 0, which is in the bin itself; of the bins beside that of 0: 2^-12. */
float coefficient_bin_edge(size_t bin);

#endif
