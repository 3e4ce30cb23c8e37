/*
 * A byte-level BPE tokenizer as its files have it: what the readers of a folder
 * (bpe_folder.c) and of single files (bpe_read.c) share.
 */
#ifndef FFKV_BPE_SOURCE_H
#define FFKV_BPE_SOURCE_H

#include "text/bpe.h"
#include "text/bpe_json.h"

enum { BPE_MAX_ID = (1 << 22) - 1 };

/* The parts, and what their texts point into. */
struct bpe_source {
    struct bpe_parts parts;
    json_t *json;
    const json_t *vocabulary; /* in it: texts and ids */
    struct span merges_text;  /* of merges.txt */
};

/* From tokenizer.json. */
void bpe_source_json(struct bpe_source *source, const char *path);

/* Tokens and merges, from vocab.json and merges.txt; no pre-tokenizer and no added tokens. */
void bpe_source_vocabulary(struct bpe_source *source, const char *vocabulary, const char *merges);

/* Frees all but the pre-tokenizer, which belongs to the tokenizer that bpe_new has made. */
void bpe_source_free(struct bpe_source *source);

/* An added token that is an object, without its id. */
struct added_token bpe_added_token(struct json_place place, json_t *object);

/*
 * The id that the tokenizers library gives an added token: the vocabulary's or the next free one.
 * A token that has another one already ends the program: the files would be read in two ways.
 */
uint32_t bpe_library_id(struct json_place place, const json_t *vocabulary, const struct added_token *token,
                        uint32_t next);

#endif
