/*
 * The bins in which coefficients are counted, the same for all models, so that counts add up.
 *
 * Of coefficients: each octave from 2^-12 to 2^12 has two bins, [2^e, 1.5 2^e) and [1.5 2^e, 2^(e+1)), for
 * either sign; beyond are the outermost bins, and 0 has one of its own. They rise with the coefficient.
 *
 * Of magnitudes, |m|: each octave from 2^-16 to 2^16 has 16 equally wide bins, which tell a magnitude to
 * within 1/33, 3.1 %; the first bin has what is below 2^-16, the last one what is not below 2^16.
 *
 * Of the signs of gate and input: see ranks.h.
 */
#ifndef FFKV_COEFFICIENT_BINS_H
#define FFKV_COEFFICIENT_BINS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { COEFFICIENT_MAGNITUDES = 48, COEFFICIENT_ZERO = COEFFICIENT_MAGNITUDES,
       COEFFICIENT_BINS = 2 * COEFFICIENT_MAGNITUDES + 1 };
enum { MAGNITUDE_OCTAVES = 32, MAGNITUDE_BINS = 16 * MAGNITUDE_OCTAVES + 2 };

/* What of each cell's coefficients can be counted, and in how many bins. */
enum counted { COUNTED_COEFFICIENTS, COUNTED_MAGNITUDES, COUNTED_SIGNS, COUNTED_KINDS };
extern const size_t counted_bins[COUNTED_KINDS];

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

/* The bin of a coefficient's magnitude: the exponent and the first four bits behind it of a float. */
static inline uint16_t magnitude_bin(float coefficient)
{
    enum { DROPPED = 19, LOWEST = (127 - MAGNITUDE_OCTAVES / 2) << 4, HIGHEST = LOWEST + MAGNITUDE_BINS - 2 };
    uint32_t bits;
    memcpy(&bits, &coefficient, sizeof bits);
    uint32_t magnitude = (bits & 0x7fffffff) >> DROPPED;
    magnitude = magnitude > HIGHEST ? HIGHEST : magnitude;
    return (uint16_t)(magnitude < LOWEST ? 0 : magnitude - LOWEST + 1);
}

/* The lower edge of a bin, which is in it: 0 of the first. */
double magnitude_bin_edge(size_t bin);

/*
 * The number from which all magnitudes of a bin differ least, by up to 1/33 of theirs; 0 of the
 * first bin, the edge of the last one.
 */
double magnitude_bin_value(size_t bin);

#endif
