/*
 * The frame of a statistic that adds up something of each layer and something of all: memory,
 * adding, and the stream, in which each layer has a record, in order, and one of all follows.
 * A kind of sums is two tables and what must hold of its numbers.
 */
#ifndef FFKV_LAYER_SUMS_H
#define FFKV_LAYER_SUMS_H

#include "stream/fields.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "stream/sums.h"

struct sums_kind {
    const struct field *of_layer; /* the layer's struct; the first is its number, a size_t at its beginning */
    size_t layer_size;            /* bytes of that struct */
    const struct field *of_all;   /* the struct of all */
    size_t layers, layer;         /* offsets in it: of the number of layers, and of the pointer to theirs */

    /* Ends the program where a layer's sums contradict themselves, or those of the first layer. */
    void (*check_layer)(const struct record *record, const void *layer, const void *first);
    /* The same of all. */
    void (*check_all)(const struct record *record, const void *sums);
};

/* Memory for count layers, zeroed, in a struct of all; layers are numbered as numbers says. */
void layer_sums_allocate(const struct sums_kind *kind, void *sums, const size_t *numbers, size_t count);
void layer_sums_free(const struct sums_kind *kind, void *sums);
void layer_sums_add(const struct sums_kind *kind, void *sums, const void *more);

/* Declares the arrays of the records. */
void layer_sums_declare(const struct sums_kind *kind, json_t *header);
void layer_sums_write(const struct sums_kind *kind, struct stream_writer *writer, const void *sums);

/*
 * Reads the stream from this record on, which is the first layer's, to its end, into sums that
 * are 0. What contradicts itself ends the program.
 */
void layer_sums_read(const struct sums_kind *kind, struct stream_reader *reader, struct record *record,
                     void *sums);

#endif
