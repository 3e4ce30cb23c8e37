/*
 * The unigram language model: of all ways to write a text as tokens the one whose scores, logarithms of
 * probabilities, add up to most (Kudo 2018, https://arxiv.org/abs/1804.10959; Viterbi's algorithm). Ids
 * are those of the tokenizers library, or of SentencePiece, which adds its scores up with less precision.
 */
#ifndef FFKV_UNIGRAM_H
#define FFKV_UNIGRAM_H

#include "text/text.h"
#include "text/token_row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UNIGRAM_BYTES = 256,
    UNIGRAM_PENALTY = 10, /* what an unknown character's score is below the least of a token */
};

struct unigram_parts {
    const char *path;          /* for messages */
    const struct span *tokens; /* by id; bytes NULL or length 0: no text has this token */
    const double *scores;      /* by id */
    size_t count;
    double unknown_score;      /* of a character that is no token: the least score less UNIGRAM_PENALTY */
    uint32_t unknown;          /* what it becomes, one for a run of them; NO_TOKEN: it ends the program */
    const uint32_t *byte_tokens; /* UNIGRAM_BYTES that it becomes instead, if its bytes have some; or NULL */
    bool sentencepiece;        /* as SentencePiece, else as the tokenizers library */
};

struct unigram;

/* Nothing needs to outlive the call. */
struct unigram *unigram_new(const struct unigram_parts *parts);
void unigram_free(struct unigram *unigram);

/* Whether this is the unknown token, and a text can have it. */
bool unigram_can_be_unknown(const struct unigram *unigram, uint32_t id);

/* Appends the tokens of text, which is UTF-8. */
void unigram_encode(struct unigram *unigram, struct span text, struct token_row *row);

#endif
