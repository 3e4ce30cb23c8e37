/* How often each cell's coefficients fall into each of coefficient_bins.h, counted by several threads. */
#ifndef FFKV_COEFFICIENT_COUNTS_H
#define FFKV_COEFFICIENT_COUNTS_H

#include "stream/records.h"

struct coefficient_counts;

struct coefficient_counts *coefficient_counts_new(size_t layers, size_t d_ff);
void coefficient_counts_free(struct coefficient_counts *counts);

/*
 * Adds a layer's coefficients of a batch (positions x d_ff) at the positions from first on. Threads may call
 * it at once: counts add up to the same in any order.
 */
void coefficient_counts_add(struct coefficient_counts *counts, size_t layer, const struct batch *batch,
                            const float *coefficients, uint32_t first);

/* Of a layer: d_ff x COEFFICIENT_BINS. */
const uint64_t *coefficient_counts_of(const struct coefficient_counts *counts, size_t layer);

#endif
