/*
 * SentencePiece's byte-pair encoding: the characters of a text are joined as long as two neighbours make up
 * a piece, those first whose piece has the highest score, of equal ones the leftmost. It has no list of
 * merges, so that a piece can come about in every way.
 */
#ifndef FFKV_SCORE_BPE_H
#define FFKV_SCORE_BPE_H

#include "formats/sentencepiece_file.h"
#include "text/token_row.h"
#include "text/vocabulary.h"

/* The character that pieces have in place of white space, U+2581. */
extern const struct span piece_space;

struct score_bpe_parts {
    const struct vocabulary *vocabulary; /* the pieces; must outlive it */
    const struct piece *pieces;          /* by id: scores and types */
    uint32_t unknown;                    /* the piece of what is none, one for a run of it */
    const uint32_t *byte_tokens;         /* instead of it: the pieces of its bytes; NULL: none */
};

struct score_bpe;

struct score_bpe *score_bpe_new(const struct score_bpe_parts *parts);
void score_bpe_free(struct score_bpe *bpe);

/* Appends the pieces of text, which is UTF-8. */
void score_bpe_encode(struct score_bpe *bpe, struct span text, struct token_row *row);

#endif
