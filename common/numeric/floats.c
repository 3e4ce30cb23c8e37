#include "numeric/floats.h"

#include "numeric/bfloats.h"
#include "numeric/vector.h"

#include <math.h>

KERNEL static void convert_halves(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (size_t i = 0; i < count; i++)
        values[i] = half_at(bytes + 2 * i);
}

void floats_from_halves(const unsigned char *bytes, size_t count, float *values)
{
    convert_halves(bytes, count, values);
}

KERNEL static void convert_bfloats(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t top;
        memcpy(&top, bytes + 2 * i, sizeof top);
        values[i] = from_bfloat(top);
    }
}

void floats_from_bfloats(const unsigned char *bytes, size_t count, float *values)
{
    convert_bfloats(bytes, count, values);
}

void floats_from_floats(const unsigned char *bytes, size_t count, float *values)
{
    if (count)
        memcpy(values, bytes, count * sizeof *values);
}

/* Whether all values are finite: the exponent of none has all bits set. */
KERNEL static bool all_finite(const float *values, size_t count)
{
    const uint32_t exponent = 0x7f800000u;
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return !found;
}

size_t floats_first_not_finite(const float *values, size_t count)
{
    if (all_finite(values, count))
        return count;
    size_t i = 0;
    while (isfinite(values[i]))
        i++;
    return i;
}

KERNEL static bool all_zero(const float *values, size_t count)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        found |= bits << 1; /* the sign left out */
    }
    return !found;
}

bool floats_are_zero(const float *values, size_t count)
{
    return all_zero(values, count);
}
