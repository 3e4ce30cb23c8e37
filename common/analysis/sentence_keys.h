/*
 * Tokens streams in which each sentence belongs to a key: prefixes of the key's
 * triggers, changed, with the coefficient that they had before. perturb-triggers
 * writes them, forward-dump --emit key computes them; ffkv-stream(5) defines them.
 */
#ifndef FFKV_SENTENCE_KEYS_H
#define FFKV_SENTENCE_KEYS_H

#include "base/hash.h"
#include "stream/fields.h"
#include "stream/stream_reader.h"

#include <stddef.h>
#include <stdint.h>

/* The keys of a batch's sentences. */
struct sentence_keys {
    size_t sentences;
    uint32_t *layer, *cell;
    float *coefficient; /* of the key and the unchanged prefix; finite, not 0 */
    uint32_t *change;   /* the index of its name in the header's changes */
};

/* Further members of a tokens record. */
extern const struct field sentence_keys_fields[];

/* The same, checked against the model's layers and d_ff and the number of changes. */
struct sentence_keys sentence_keys_read(const struct record *record, size_t sentences, size_t layers,
                                        size_t d_ff, size_t changes);
void sentence_keys_free(struct sentence_keys *keys);

/* Adds all of it to what names a text. */
void sentence_keys_hash(const struct sentence_keys *keys, struct hash *hash);

/* The record behind a batch's, of forward-dump --emit key: what became of the coefficients. */
struct key_coefficients {
    size_t sentences;
    float *coefficient; /* of the sentence's key at its last position */
};
extern const struct field key_coefficients_fields[];

/* Gives a header its list of changes, which it takes over, and declares the arrays. */
void header_set_changes(json_t *header, json_t *names);

/* The header's list of changes, texts; a stream without one ends the program. */
const json_t *header_changes(const struct stream_reader *reader);

#endif
