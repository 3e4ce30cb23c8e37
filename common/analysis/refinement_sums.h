/*
 * What refinement-stats adds up: how predictions are refined from layer to layer (paper,
 * section 5.2); and its records in a stream, for merging, which ffkv-stream(5) defines.
 */
#ifndef FFKV_REFINEMENT_SUMS_H
#define FFKV_REFINEMENT_SUMS_H

#include "stream/activations.h"
#include "stream/layer_sums.h"

/* What a layer's output predicts (figure 11). */
enum { CASE_RESIDUAL, CASE_FFN, CASE_AGREEMENT, CASE_COMPOSITION, CASES };

/* By the most probable tokens of r^l, y^l and o^l. */
int refinement_case(uint32_t residual, uint32_t block, uint32_t output);

/* Of one layer. */
struct refinement_layer_sums {
    size_t layer;
    uint64_t prefixes, residual_is_final;
    uint64_t cases[CASES];
    struct exact_sum probability;         /* p(r^l) of the final token */
    struct histogram probabilities, rank; /* of the same; ranks from 1 */
};

struct refinement_sums {
    size_t layers;
    struct refinement_layer_sums *layer; /* layers */
    /* layers + 1: prefixes by the first layer whose residual, and all after, predict the final token */
    struct histogram settled;
    struct exact_sum surprise; /* -log p of the next token */
    uint64_t next_is_top;
};
extern const struct sums_kind refinement_kind;

/* A struct refinement_sums, all 0, for the activations of all layers. */
void *refinement_sums_new(const struct activations_reader *activations);

/* Prefixes whose prediction the last layer changed. */
uint64_t refinement_changed(const void *sums);

#endif
