/*
 * WordPiece: a word as the longest token that it begins with, the longest one that the rest begins with,
 * and so on, as BERT has it (Wu et al. 2016, https://arxiv.org/abs/1609.08144, and the tokenizers library).
 * Where no token goes on within a word, a word is one token or unknown: the library's WordLevel.
 */
#ifndef FFKV_WORDPIECE_H
#define FFKV_WORDPIECE_H

#include "text/text.h"
#include "text/token_row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wordpiece_parts {
    const char *path;          /* for messages */
    const struct span *tokens; /* by id; length 0: no text has this token */
    size_t count;
    const char *prefix;        /* of tokens that do not begin a word: "##"; NULL: there are none */
    size_t max_characters;     /* a longer word is unknown */
    uint32_t unknown;          /* the token of a word that tokens do not make up */
};

struct wordpiece;

/* Nothing needs to outlive the call. */
struct wordpiece *wordpiece_new(const struct wordpiece_parts *parts);
void wordpiece_free(struct wordpiece *wordpiece);

/* Whether a word can have several tokens. */
bool wordpiece_splits(const struct wordpiece *wordpiece);

bool wordpiece_is_unknown(const struct wordpiece *wordpiece, uint32_t id);

/* Appends the tokens of a word, which is UTF-8. */
void wordpiece_encode(const struct wordpiece *wordpiece, struct span word, struct token_row *row);

#endif
