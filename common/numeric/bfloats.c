#include "numeric/bfloats.h"

#include "numeric/vector.h"

#include <stdbool.h>

/* terms is known where this is compiled into its callers. */
static inline void split_into(const float *restrict values, size_t count, size_t terms,
                              uint16_t *restrict split)
{
    for (size_t i = 0; i < count; i++) {
        float rest = values[i];
        for (size_t t = 0; t < terms; t++) {
            uint16_t term = to_bfloat(rest);
            split[t * count + i] = term;
            rest -= from_bfloat(term);
        }
    }
}

KERNEL static void split_kernel(const float *values, size_t count, size_t terms, uint16_t *split)
{
    if (terms == 1)
        split_into(values, count, 1, split);
    else if (terms == 2)
        split_into(values, count, 2, split);
    else
        split_into(values, count, MAX_TERMS, split);
}

void bfloats_split(const float *values, size_t count, size_t terms, uint16_t *split)
{
    split_kernel(values, count, terms, split);
}

void bfloats_round(float *values, size_t count, size_t terms)
{
    for (size_t i = 0; i < count; i++) {
        float rest = values[i], sum = 0;
        for (size_t t = 0; t < terms; t++) {
            float term = from_bfloat(to_bfloat(rest));
            sum = t ? sum + term : term;
            rest -= term;
        }
        values[i] = sum;
    }
}

/* Whether so many terms leave nothing of any number. */
KERNEL static bool are_sums_kernel(const float *values, size_t count, size_t terms)
{
    uint32_t left = 0;
    for (size_t i = 0; i < count; i++) {
        float rest = values[i];
        for (size_t t = 0; t < terms; t++)
            rest -= from_bfloat(to_bfloat(rest));
        left |= rest < 0 || rest > 0;
    }
    return !left;
}

size_t bfloats_needed(const float *values, size_t count, size_t most)
{
    size_t terms = 1;
    while (terms < most && !are_sums_kernel(values, count, terms))
        terms++;
    return terms;
}
