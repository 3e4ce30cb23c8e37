/*
 * A stream of activations, batch by batch: the tokens record with its rows, then one
 * record for each of the header's layers. ffkv-stream(5) defines them. What is out of
 * order or contradicts itself ends the program.
 */
#ifndef FFKV_ACTIVATIONS_H
#define FFKV_ACTIVATIONS_H

#include "stream/records.h"

struct activations_reader {
    struct stream_reader *stream;
    struct model_shape shape;
    size_t *layers, layer_count; /* that have records, rising */
    size_t *cells, cell_count;   /* of each column of max, argmax and coef, rising */
    enum rank rank;              /* of the maxima */
    uint32_t first;              /* lowest position that a maximum or a random position may have */
};

/* One batch. A row is a position of a sentence that arrays by rows have. */
struct activations_batch {
    struct batch tokens;
    bool has_rows;
    size_t rows;            /* 0 without has_rows */
    uint32_t *row_sentence; /* rows: within the batch, rising */
    uint32_t *row_position; /* rows: rising within a sentence, below its length */
    size_t layers_seen;
};

/* The stream, of kind activations, stays the caller's. */
struct activations_reader activations_open(struct stream_reader *stream);
void activations_close(struct activations_reader *reader);

/* True: batch holds the next one; free with activations_batch_free. False: the end. */
bool activations_next_batch(struct activations_reader *reader, struct activations_batch *batch);
void activations_batch_free(struct activations_batch *batch);

/*
 * The batch's next layer. True: record holds it until the next call, layer is its number.
 * False: that were all. To be called until it is false, before the next batch.
 */
bool activations_next_layer(struct activations_reader *reader, struct activations_batch *batch,
                            struct record *record, size_t *layer);

/* Ends the program where one of the elements of the record's array called name is not finite. */
void activations_check_finite(const struct record *record, const char *name, const float *elements, size_t count);

#endif
