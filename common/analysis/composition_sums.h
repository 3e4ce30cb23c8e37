/*
 * What composition-stats adds up: how layers' outputs are made of their memories (paper,
 * section 5.1); and the stream of it, for merging, which ffkv-stream(5) defines.
 */
#ifndef FFKV_COMPOSITION_SUMS_H
#define FFKV_COMPOSITION_SUMS_H

#include "stream/activations.h"
#include "stream/sums.h"

/* Of one layer. */
struct composition_layer_sums {
    uint64_t short_prefixes;    /* that have few tokens, and an agreeing memory */
    uint64_t agreeing_memories;
    struct histogram active;    /* cells + 1: prefixes by their number of active memories */
    struct histogram agreement; /* vocabulary: prefixes with an agreeing memory, by the token */
};

struct composition_sums {
    size_t *layers, layer_count, cells, vocabulary;
    struct composition_layer_sums *layer; /* layer_count */
    uint64_t *token_counts; /* vocabulary: of the sentences that the prefixes are from */
};

/* All 0, for the layers and cells of the activations. */
struct composition_sums composition_sums_new(const struct activations_reader *activations);
void composition_sums_free(struct composition_sums *sums);
void composition_sums_add(struct composition_sums *sums, const struct composition_sums *more);

/* Declares the arrays of the records. */
void composition_sums_declare(json_t *header);
void composition_sums_write(struct stream_writer *writer, const struct composition_sums *sums);

/* Reads all records of a stream into sums that are 0. What contradicts itself ends the program. */
void composition_sums_read(struct stream_reader *reader, struct composition_sums *sums);

#endif
