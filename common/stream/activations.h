/*
 * A stream of activations, batch by batch: the tokens record with its rows, then one
 * record for each of the header's layers. ffkv-stream(5) defines them. What is out of
 * order or contradicts itself ends the program.
 */
#ifndef FFKV_ACTIVATIONS_H
#define FFKV_ACTIVATIONS_H

#include "stream/coefficient_bins.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

struct activations_reader {
    struct stream_reader *stream;
    struct model_shape shape;
    size_t *layers, layer_count; /* that have records, rising */
    size_t *cells, cell_count;   /* of each column of max, argmax and coef, rising */
    struct ranks ranks;          /* of the maxima: a list each */
    uint32_t first;              /* lowest position that a maximum or a random position may have */
    size_t paths;                /* of so many best sentences of each key there are paths; 0: of none */
    uint64_t positions;          /* from first on, of the batches read so far */
    unsigned counted;            /* a bit for each kind of counts that the header declares */
    uint64_t *counts[COUNTED_KINDS]; /* layers x cells x bins; NULL until they are read */
    size_t counts_read;          /* layers of them */
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
enum { LAYER_MAX = 1, LAYER_COEF = 2, LAYER_RESID = 4, LAYER_FFN = 8, LAYER_PATHS = 1 << 16 };
struct layer_record {
    size_t layer;
    size_t sentences, rows, cells, d_model;
    size_t columns;            /* of max: cells of the first list, of the second, and so on */
    float *max;                /* sentences x columns: the best coefficient by rank */
    uint16_t *argmax;          /* sentences x columns: its position */
    size_t paths, path_coefficients;
    uint32_t *path;            /* paths: the elements of max that have one, rising */
    float *path_coefficient;   /* path_coefficients: at the positions 1 .. argmax, path by path */
    const float *coefficient;  /* rows x cells */
    const float *resid, *ffn;  /* rows x d_model */
};
extern const struct field layer_fields[];

/*
 * The records behind the last batch, one of each layer: how often the coefficients of the batches fall
 * into each of the bins of coefficient_bins.h. A group, 1 << kind, of each kind of bins.
 */
struct cell_counts_record {
    size_t layer;
    size_t cells, bins[COUNTED_KINDS];
    uint64_t *count[COUNTED_KINDS]; /* cells x bins */
};
extern const struct field cell_counts_fields[];

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

/* Columns of max and argmax: the cells of the first list, of the second, and so on. */
size_t activations_columns(const struct activations_reader *reader);

/* Copies the array called name of a layer's record, which must have it, to elements. */
void activations_copy(const struct activations_reader *reader, const struct activations_batch *batch,
                      const struct record *record, const char *name, void *elements);

/* Behind the last batch: of a layer's column the counts of a kind's bins; NULL: the stream has none. */
const uint64_t *activations_counts(const struct activations_reader *reader, enum counted kind, size_t layer,
                                   size_t column);

/*
 * The paths of a layer's record that has max and argmax, as they were copied: to paths, which may hold those
 * of another record, and is freed with fields_free(layer_fields, ...).
 */
void activations_read_paths(const struct activations_reader *reader, const struct activations_batch *batch,
                            const struct record *record, const float *max, const uint16_t *argmax,
                            struct layer_record *paths);

/* Ends the program where one of the elements of the record's array called name is not finite. */
void activations_check_finite(const struct record *record, const char *name, const float *elements,
                              size_t count);

#endif
