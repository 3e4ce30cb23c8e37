/*
 * The frame of tables that are made of keys: of each key a record that says what the tables need to know
 * of it. Instead of tables a tool writes these records, in the order of the keys, as a stream (--sums),
 * which may be that of a shard of the keys, as project-values --shard makes them; a merge of such streams
 * (--merge) gives the tables of one run, or such a stream again.
 */
#ifndef FFKV_KEY_RECORDS_H
#define FFKV_KEY_RECORDS_H

#include "base/cli.h"
#include "stream/fields.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <stddef.h>

struct key_writer;

/* A record is a struct that begins with the key's layer and cell, as do its fields. */
struct key_records_kind {
    const char *stream; /* the kind of the stream */
    const struct field *fields;
    size_t size;        /* bytes of the struct */
    unsigned (*groups)(const void *key); /* those of the fields that the key has */

    /* Of a merge, which is given the caller's tables, and in this order: */

    /* Checks the header, and opens what tell writes to where tables are written. */
    void (*begin)(void *tables, const struct stream_reader *first);

    /* Sets, in a record that is 0, the counts and histograms that the header says; or NULL. */
    void (*prepare)(const void *tables, void *key);

    /*
     * Ends the program where a record has not what it should: these groups of fields, numbers within bounds.
     * Notes the groups in the key.
     */
    void (*check)(void *tables, const struct record *record, unsigned groups, void *key);

    /* Takes a key, in order: one run calls the same. What the record points to is freed behind it. */
    void (*tell)(void *tables, const void *key);

    /* Puts all keys that were told, where a stream is written; NULL: none is told, each is put as it is. */
    void (*put_all)(void *tables, struct key_writer *writer);

    /* Writes and completes the tables; token_counts: of the corpus, count NULL where there are none. */
    void (*end)(void *tables, const struct stream_reader *first, const struct token_counts *token_counts);
};

/* ---- writing ---- */

/*
 * header (taken over) has everything but the arrays: those of groups of the fields, where the number of an
 * array's columns is of's, and of token_counts, unless that is NULL.
 */
struct key_writer *key_writer_create(const struct key_records_kind *kind, const struct sums_options *options,
                                     json_t *header, unsigned groups, const void *of,
                                     const struct token_counts *token_counts);
void key_writer_put(struct key_writer *writer, const void *key);

/* counts: of the trailer, with what it has of the keys. Frees writer. */
void key_writer_finish(struct key_writer *writer, const json_t *counts);

/* ---- merging ---- */

/* Merges the inputs to tables, or, if the options say sums, to a stream. */
void key_records_merge(const struct key_records_kind *kind, const struct sums_options *options, char **paths,
                       size_t count, void *tables);

#endif
