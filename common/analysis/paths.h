/* Paths to the best coefficients of sentences: the coefficients along the prefixes that lead there. */
#ifndef FFKV_PATHS_H
#define FFKV_PATHS_H

#include "stream/activations.h"

/* Those of a layer's record, in memory that is used again for the next one; {0} at first. */
struct paths {
    uint32_t *path;
    float *coefficient;
    size_t capacity, coefficient_capacity;
};
void paths_free(struct paths *paths);

/*
 * Gives a record, which has maxima of the batch's coefficients (positions x d_ff) of some cells, the paths to
 * those whose score is positive, and at least least (lists x cells). The arrays stay those of paths.
 */
void paths_find(struct paths *paths, const float *least, const struct ranks *ranks, const struct batch *batch,
                const float *coefficients, size_t d_ff, const size_t *cells, struct layer_record *record);

#endif
