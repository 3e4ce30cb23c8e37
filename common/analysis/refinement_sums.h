/*
 * What refinement-stats adds up: how predictions are refined from layer to layer (paper,
 * section 5.2); and its records in a stream, for merging, which ffkv-stream(5) defines.
 */
#ifndef FFKV_REFINEMENT_SUMS_H
#define FFKV_REFINEMENT_SUMS_H

#include "stream/records.h"
#include "stream/sums.h"

/* What a layer's output predicts (figure 11). */
enum { CASE_RESIDUAL, CASE_FFN, CASE_AGREEMENT, CASE_COMPOSITION, CASES };

/* Of one layer. */
struct refinement_layer_sums {
    uint64_t prefixes, residual_is_final;
    uint64_t cases[CASES];
    struct exact_sum probability;         /* p(r^l) of the final token */
    struct histogram probabilities, rank; /* of the same; ranks from 1 */
};

struct refinement_sums {
    size_t layers;
    struct refinement_layer_sums *layer; /* layers */
    struct histogram settled;  /* layers + 1: prefixes by the first layer whose residual, and all after, predict the final token */
    struct exact_sum surprise; /* -log p of the next token */
    uint64_t next_is_top;
};

/* All 0. */
struct refinement_sums refinement_sums_new(const struct model_shape *shape);
void refinement_sums_free(struct refinement_sums *sums);
void refinement_sums_add(struct refinement_sums *sums, const struct refinement_sums *more);

/* Declares the arrays of the records. */
void refinement_sums_declare(json_t *header);
void refinement_sums_write(struct stream_writer *writer, const struct refinement_sums *sums);

/*
 * Reads what a stream has from the record behind its changes on, into sums that are 0.
 * changed: how many changes there were. What contradicts itself ends the program.
 */
void refinement_sums_read(struct stream_reader *reader, struct record *record, uint64_t changed,
                          struct refinement_sums *sums);

#endif
