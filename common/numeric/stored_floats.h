/*
 * 32-bit and 16-bit floats where a file has them, little endian and at any address: IEEE 754 half precision,
 * and bfloats (the upper half of a 32-bit float).
 */
#ifndef FFKV_STORED_FLOATS_H
#define FFKV_STORED_FLOATS_H

#include "numeric/bfloats.h"
#include "numeric/floats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum float_format { FLOATS_OTHER /* none of these */, FLOATS_32, FLOATS_HALF, FLOATS_BFLOAT };

struct stored_floats {
    const unsigned char *bytes; /* NULL: there are none */
    enum float_format format;
};

/* Bytes of a number. */
static inline size_t stored_width(enum float_format format)
{
    return format == FLOATS_32 ? sizeof(float) : sizeof(uint16_t);
}

/* The number at an index. */
static inline float stored_float(struct stored_floats stored, size_t index)
{
    if (stored.format == FLOATS_HALF)
        return half_at(stored.bytes + 2 * index);
    float value;
    uint16_t bfloat;
    if (stored.format == FLOATS_32) {
        memcpy(&value, stored.bytes + 4 * index, sizeof value);
        return value;
    }
    memcpy(&bfloat, stored.bytes + 2 * index, sizeof bfloat);
    return from_bfloat(bfloat);
}

/* Numbers first .. first + count - 1, to values. */
void stored_read(struct stored_floats stored, size_t first, size_t count, float *values);

/* The numbers themselves, where they are 32-bit floats, or bfloats, at an address for these; else NULL. */
const float *stored_as_floats(struct stored_floats stored);
const uint16_t *stored_as_bfloats(struct stored_floats stored);

/* Index of the first of count numbers that is infinite or not a number; count where there is none. */
size_t stored_first_not_finite(struct stored_floats stored, size_t count);

/*
 * count numbers as 32-bit floats, in a buffer that each thread has for this alone: they are there until it
 * calls this again.
 */
const float *stored_widen(struct stored_floats stored, size_t count);

#endif
