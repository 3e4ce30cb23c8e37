/*
 * A stream of activations, batch by batch: the tokens record with its rows, then one
 * record for each of the header's layers. ffkv-stream(5) defines them. What is out of
 * order or contradicts itself ends the program.
 */
#ifndef FFKV_ACTIVATIONS_H
#define FFKV_ACTIVATIONS_H

#include "stream/records.h"
#include "stream/stream_reader.h"

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

/* Further members of the batch's tokens record, where it has rows. */
extern const struct field rows_fields[];

/* A layer's record, which has what was asked for. */
enum { LAYER_MAX = 1, LAYER_COEF = 2, LAYER_RESID = 4, LAYER_FFN = 8 };
struct layer_record {
    size_t layer;
    size_t sentences, rows, cells, d_model;
    float *max;                /* sentences x cells: the best coefficient by rank */
    uint16_t *argmax;          /* sentences x cells: its position */
    const float *coefficient;  /* rows x cells */
    const float *resid, *ffn;  /* rows x d_model */
};
extern const struct field layer_fields[];

/* The record behind the layers': the model's predictions. */
struct predictions {
    size_t rows;
    float *next_log_probability; /* rows: of the next token */
    uint32_t *top;               /* rows: the most probable token */
    float *top_log_probability;  /* rows */
};
extern const struct field predictions_fields[];

/* The stream, of kind activations, stays the caller's. */
struct activations_reader activations_open(struct stream_reader *stream);
void activations_close(struct activations_reader *reader);

/* True: batch holds the next one; free with activations_batch_free. False: the end. */
bool activations_next_batch(struct activations_reader *reader, struct activations_batch *batch);
void activations_batch_free(struct activations_batch *batch);

/*
 * The batch's next layer. True: record holds it until the next call, layer is its number.
 * False: there is none left. To be called until it is false, before the next batch.
 */
bool activations_next_layer(struct activations_reader *reader, struct activations_batch *batch,
                            struct record *record, size_t *layer);

/* Copies the array called name of a layer's record, which must have it, to elements. */
void activations_copy(const struct activations_reader *reader, const struct activations_batch *batch,
                      const struct record *record, const char *name, void *elements);

/* Ends the program where one of the elements of the record's array called name is not finite. */
void activations_check_finite(const struct record *record, const char *name, const float *elements,
                              size_t count);

#endif
