#include "analysis/cell_counts.h"

#include "base/messages.h"
#include "numeric/vector.h"
#include "stream/activations.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * Cells whose counts are added up together, and counters for them: those of a batch stay in the processor's
 * nearest cache.
 */
enum { BLOCK = 64, COUNTERS = BLOCK * COEFFICIENT_BINS };

struct cell_counts {
    enum counted kind;
    size_t layers, d_ff, bins;
    uint64_t *count;        /* layers x d_ff x bins */
    pthread_mutex_t *lock;  /* layers: of each layer's counts */
};

struct cell_counts *cell_counts_new(enum counted kind, size_t layers, size_t d_ff)
{
    struct cell_counts *counts = new_array(1, sizeof *counts);
    size_t cells = matrix_count(layers, d_ff), bins = counted_bins[kind];
    *counts = (struct cell_counts){
        kind, layers, d_ff, bins, new_array(matrix_count(cells, bins), sizeof *counts->count),
        new_array(layers, sizeof *counts->lock)};
    for (size_t layer = 0; layer < layers; layer++)
        if (pthread_mutex_init(&counts->lock[layer], NULL) != 0)
            die("cannot make a lock");
    return counts;
}

void cell_counts_free(struct cell_counts *counts)
{
    for (size_t layer = 0; layer < counts->layers; layer++)
        pthread_mutex_destroy(&counts->lock[layer]);
    free(counts->lock);
    free(counts->count);
    free(counts);
}

KERNEL static void find_coefficient_bins(const float *coefficient, size_t count, uint16_t *restrict bin)
{
    for (size_t i = 0; i < count; i++)
        bin[i] = coefficient_bin(coefficient[i]);
}

KERNEL static void find_magnitude_bins(const float *coefficient, size_t count, uint16_t *restrict bin)
{
    for (size_t i = 0; i < count; i++)
        bin[i] = magnitude_bin(coefficient[i]);
}

static void find_bins(enum counted kind, const float *coefficient, const uint8_t *signs, size_t count,
                      uint16_t *restrict bin)
{
    if (kind == COUNTED_COEFFICIENTS)
        find_coefficient_bins(coefficient, count, bin);
    else if (kind == COUNTED_MAGNITUDES)
        find_magnitude_bins(coefficient, count, bin);
    else
        for (size_t i = 0; i < count; i++)
            bin[i] = signs[i];
}

/* Counts the batch's coefficients of some cells, the first of which is number cell. count: cells x bins. */
static void count_block(const struct cell_counts *counts, const struct batch *batch,
                        const float *coefficients, const uint8_t *signs, size_t cell, size_t cells,
                        uint32_t first, uint32_t *count)
{
    uint16_t bin[BLOCK];
    uint32_t lowest = batch_lowest(batch);
    for (size_t s = 0, row = 0; s < batch->sentences; row += sentence_positions(batch, s), s++)
        for (size_t position = first; position < batch->length[s]; position++) {
            size_t at = (row + position - lowest) * counts->d_ff + cell;
            find_bins(counts->kind, coefficients + at, signs ? signs + at : NULL, cells, bin);
            for (size_t i = 0; i < cells; i++)
                if (bin[i] < counts->bins) /* NO_SIGNS is not */
                    count[i * counts->bins + bin[i]]++;
        }
}

void cell_counts_add(struct cell_counts *counts, size_t layer, const struct batch *batch,
                     const float *coefficients, const uint8_t *signs, uint32_t first)
{
    size_t d_ff = counts->d_ff, bins = counts->bins;
    size_t block = COUNTERS / bins < BLOCK ? COUNTERS / bins : BLOCK;
    uint64_t *sum = counts->count + layer * d_ff * bins;
    for (size_t cell = 0; cell < d_ff; cell += block) {
        uint32_t count[COUNTERS] = {0};
        size_t cells = d_ff - cell < block ? d_ff - cell : block;
        count_block(counts, batch, coefficients, signs, cell, cells, first, count);
        pthread_mutex_lock(&counts->lock[layer]);
        for (size_t i = 0; i < cells * bins; i++)
            sum[cell * bins + i] += count[i];
        pthread_mutex_unlock(&counts->lock[layer]);
    }
}

const uint64_t *cell_counts_of(const struct cell_counts *counts, size_t layer)
{
    return counts->count + layer * counts->d_ff * counts->bins;
}

void cell_counts_open(unsigned kinds, size_t layers, size_t d_ff, struct cell_counts *counts[COUNTED_KINDS])
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        counts[kind] = kinds >> kind & 1 ? cell_counts_new(kind, layers, d_ff) : NULL;
}

void cell_counts_close(struct cell_counts *counts[COUNTED_KINDS])
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (counts[kind])
            cell_counts_free(counts[kind]);
}

void cell_counts_add_kinds(struct cell_counts *const counts[COUNTED_KINDS], size_t layer,
                           const struct batch *batch, const float *coefficients, const uint8_t *signs,
                           uint32_t first)
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (counts[kind])
            cell_counts_add(counts[kind], layer, batch, coefficients, signs, first);
}

double cell_counts_bytes(unsigned kinds, size_t layers, size_t d_ff)
{
    double bins = 0;
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        bins += kinds >> kind & 1 ? (double)counted_bins[kind] : 0;
    return (double)layers * (double)d_ff * bins * sizeof(uint64_t);
}

void cell_counts_write(struct cell_counts *const counts[COUNTED_KINDS], const size_t *layers,
                       size_t layer_count, const size_t *cells, size_t cell_count,
                       struct stream_writer *writer)
{
    struct cell_counts_record record = {.cells = cell_count};
    unsigned kinds = 0;
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    memcpy(record.bins, counted_bins, sizeof record.bins);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        kinds |= counts[kind] ? 1u << kind : 0;
    fields_allocate(cell_counts_fields, kinds, &record);
    for (size_t l = 0; l < layer_count; l++) {
        record.layer = layers[l];
        for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
            for (size_t i = 0, bins = counted_bins[kind]; record.count[kind] && i < cell_count; i++)
                memcpy(record.count[kind] + i * bins, cell_counts_of(counts[kind], l) + cells[i] * bins,
                       bins * sizeof *record.count[kind]);
        fields_pack(&buffer, cell_counts_fields, kinds, &record);
        stream_append(writer, &buffer, 1);
    }
    fields_free(cell_counts_fields, &record);
    msgpack_sbuffer_destroy(&buffer);
}
