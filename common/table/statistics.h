/* What tables are made of: shares, means, quantiles. */
#ifndef FFKV_STATISTICS_H
#define FFKV_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

/* part / whole; NaN, "not defined", where whole is 0. */
double statistics_share(uint64_t part, uint64_t whole);

/* Rising order. No number is NaN. */
void sort_numbers(double *numbers, size_t count);

/*
 * Of sorted numbers, by linear interpolation between the two nearest: q = 0 is the
 * first, q = 1 the last. NaN where there are none.
 */
double statistics_quantile(const double *sorted, size_t count, double q);

/* Of sorted numbers, added in that order; NaN where there are none. */
double statistics_mean(const double *sorted, size_t count);

#endif
