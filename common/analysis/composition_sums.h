/*
 * What composition-stats adds up: how layers' outputs are made of their memories (paper,
 * section 5.1); and the stream of it, for merging, which ffkv-stream(5) defines.
 */
#ifndef FFKV_COMPOSITION_SUMS_H
#define FFKV_COMPOSITION_SUMS_H

#include "stream/activations.h"
#include "stream/layer_sums.h"

/* Of one layer. */
struct composition_layer_sums {
    size_t layer;
    uint64_t short_prefixes;    /* that have few tokens, and an agreeing memory */
    struct histogram active;    /* cells + 1: prefixes by their number of active memories */
    struct histogram memories;  /* cells + 1: prefixes with an agreeing memory, by the number of these */
    struct histogram agreement; /* vocabulary: prefixes with an agreeing memory, by the token */
};

struct composition_sums {
    size_t layers, cells;
    struct composition_layer_sums *layer; /* layers */
    struct token_counts tokens; /* of the sentences that the prefixes are from */
};
extern const struct sums_kind composition_kind;

/* A struct composition_sums, all 0, for the layers and cells of the activations. */
void *composition_sums_new(const struct activations_reader *activations);

#endif
