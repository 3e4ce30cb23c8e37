/* How often each cell's coefficients fall into each of the bins of a kind, counted by several threads. */
#ifndef FFKV_CELL_COUNTS_H
#define FFKV_CELL_COUNTS_H

#include "stream/coefficient_bins.h"
#include "stream/records.h"
#include "stream/stream_writer.h"

struct cell_counts;

struct cell_counts *cell_counts_new(enum counted kind, size_t layers, size_t d_ff);
void cell_counts_free(struct cell_counts *counts);

/*
 * Adds a layer's coefficients of a batch (positions x d_ff) at the positions from first on; signs (likewise):
 * which combination each is of, of ranks.h, or NO_SIGNS, for that kind alone. Threads may call it at once:
 * counts add up to the same in any order.
 */
void cell_counts_add(struct cell_counts *counts, size_t layer, const struct batch *batch,
                     const float *coefficients, const uint8_t *signs, uint32_t first);

/* Of a layer: d_ff x the bins of the kind. */
const uint64_t *cell_counts_of(const struct cell_counts *counts, size_t layer);

/*
 * The same of several kinds, a bit of kinds each; the others are NULL. cell_counts_bytes: what they take in
 * memory; cell_counts_write: appends a record for each of the layers, whose numbers these are, of these
 * cells.
 */
void cell_counts_open(unsigned kinds, size_t layers, size_t d_ff, struct cell_counts *counts[COUNTED_KINDS]);
void cell_counts_close(struct cell_counts *counts[COUNTED_KINDS]);
void cell_counts_add_kinds(struct cell_counts *const counts[COUNTED_KINDS], size_t layer,
                           const struct batch *batch, const float *coefficients, const uint8_t *signs,
                           uint32_t first);
double cell_counts_bytes(unsigned kinds, size_t layers, size_t d_ff);
void cell_counts_write(struct cell_counts *const counts[COUNTED_KINDS], const size_t *layers,
                       size_t layer_count, const size_t *cells, size_t cell_count,
                       struct stream_writer *writer);

#endif
