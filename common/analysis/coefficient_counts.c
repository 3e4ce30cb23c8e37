#include "analysis/coefficient_counts.h"

#include "base/messages.h"
#include "numeric/vector.h"
#include "stream/coefficient_bins.h"

#include <pthread.h>
#include <stdlib.h>

/* Cells whose counts are added up together: those of a batch stay in the processor's nearest cache. */
enum { BLOCK = 64 };

struct coefficient_counts {
    size_t layers, d_ff;
    uint64_t *count;        /* layers x d_ff x COEFFICIENT_BINS */
    pthread_mutex_t *lock;  /* layers: of each layer's counts */
};

struct coefficient_counts *coefficient_counts_new(size_t layers, size_t d_ff)
{
    struct coefficient_counts *counts = new_array(1, sizeof *counts);
    size_t cells = matrix_count(layers, d_ff);
    *counts = (struct coefficient_counts){
        layers, d_ff, new_array(matrix_count(cells, COEFFICIENT_BINS), sizeof *counts->count),
        new_array(layers, sizeof *counts->lock)};
    for (size_t layer = 0; layer < layers; layer++)
        if (pthread_mutex_init(&counts->lock[layer], NULL) != 0)
            die("cannot make a lock");
    return counts;
}

void coefficient_counts_free(struct coefficient_counts *counts)
{
    for (size_t layer = 0; layer < counts->layers; layer++)
        pthread_mutex_destroy(&counts->lock[layer]);
    free(counts->lock);
    free(counts->count);
    free(counts);
}

KERNEL static void find_bins(const float *coefficient, size_t count, uint8_t *restrict bin)
{
    for (size_t i = 0; i < count; i++)
        bin[i] = coefficient_bin(coefficient[i]);
}

/* Counts the batch's coefficients of some cells, the first of which is coefficients[0]. */
static void count_block(const struct batch *batch, const float *coefficients, size_t d_ff, size_t cells,
                        uint32_t first, uint32_t count[BLOCK][COEFFICIENT_BINS])
{
    uint8_t bin[BLOCK];
    uint32_t lowest = batch_lowest(batch);
    for (size_t s = 0; s < batch->sentences; coefficients += sentence_positions(batch, s) * d_ff, s++)
        for (size_t position = first; position < batch->length[s]; position++) {
            find_bins(coefficients + (position - lowest) * d_ff, cells, bin);
            for (size_t i = 0; i < cells; i++)
                count[i][bin[i]]++;
        }
}

void coefficient_counts_add(struct coefficient_counts *counts, size_t layer, const struct batch *batch,
                            const float *coefficients, uint32_t first)
{
    size_t d_ff = counts->d_ff;
    uint64_t *sum = counts->count + layer * d_ff * COEFFICIENT_BINS;
    for (size_t cell = 0; cell < d_ff; cell += BLOCK) {
        uint32_t count[BLOCK][COEFFICIENT_BINS] = {{0}};
        size_t cells = d_ff - cell < BLOCK ? d_ff - cell : BLOCK;
        count_block(batch, coefficients + cell, d_ff, cells, first, count);
        pthread_mutex_lock(&counts->lock[layer]);
        for (size_t i = 0; i < cells; i++)
            for (size_t bin = 0; bin < COEFFICIENT_BINS; bin++)
                sum[(cell + i) * COEFFICIENT_BINS + bin] += count[i][bin];
        pthread_mutex_unlock(&counts->lock[layer]);
    }
}

const uint64_t *coefficient_counts_of(const struct coefficient_counts *counts, size_t layer)
{
    return counts->count + layer * counts->d_ff * COEFFICIENT_BINS;
}
