/*
 * A subword tokenizer as its files have it: what the readers of a folder
 * (subword_folder.c), of single files (subword_read.c) and of metadata (subword_metadata.c) share.
 */
#ifndef FFKV_SUBWORD_SOURCE_H
#define FFKV_SUBWORD_SOURCE_H

#include "text/subword.h"
#include "text/json_members.h"

enum { SUBWORD_MAX_ID = (1 << 22) - 1 };

/* The parts, and what their texts point into. */
struct subword_source {
    struct subword_parts parts;
    json_t *json;
    const json_t *vocabulary; /* in it, or in ids: texts and ids */
    json_t *ids;              /* of tokens that the file lists in their order; NULL: it does not */
    struct span merges_text;  /* of merges.txt */
};

/* From tokenizer.json. */
void subword_source_json(struct subword_source *source, const char *path);

/* Tokens and merges, from vocab.json and merges.txt; no pre-tokenizer and no added tokens. */
void subword_source_vocabulary(struct subword_source *source, const char *vocabulary, const char *merges);

/* "left right" of path; number is the merge's, from 1. */
void subword_split_merge(const char *path, size_t number, struct span text, struct span parts[2]);

/* Frees all but the normalizer and the pre-tokenizer, which belong to what subword_new has made. */
void subword_source_free(struct subword_source *source);

/* Ends the program where tokenizer_config.json, the settings of path, has one that is not known. */
void subword_check_settings(const char *path, json_t *settings);

/* An added token that is an object, without its id. */
struct added_token subword_added_token(struct json_place place, json_t *object);

/*
 * The id that the tokenizers library gives an added token: the vocabulary's or the next free one.
 * A token that has another one already ends the program: the files would be read in two ways.
 */
uint32_t subword_library_id(struct json_place place, const json_t *vocabulary,
                            const struct added_token *token, uint32_t next);

#endif
