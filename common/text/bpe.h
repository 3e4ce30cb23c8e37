/*
 * Byte-pair encoding of one word: symbols, a byte or a character each, are joined pair by pair, the pair
 * of the merge that goes first before all others, and of those with one merge the leftmost. What a word
 * becomes is the same as in the tokenizers library.
 */
#ifndef FFKV_BPE_H
#define FFKV_BPE_H

#include "base/hash.h"
#include "text/token_row.h"
#include "text/vocabulary.h"

#include <stdbool.h>

struct bpe_settings {
    const struct span (*merges)[2]; /* first those that go first */
    size_t merge_count;
    const char *unknown;  /* the token of what has none; NULL: it is dropped */
    bool fuse_unknown;    /* one for a run of it */
    bool ignore_merges;   /* a word that is a token is that token, whatever the merges */
    bool byte_fallback;   /* what has none is the tokens of its bytes, <0x00> to <0xFF>, if all are there */
    const char *prefix;   /* of symbols that do not begin a word, in the vocabulary; NULL: none */
    const char *suffix;   /* of those that end one */
};

struct bpe;

/*
 * Copies the settings; the vocabulary must outlive it. by_bytes: a word is bytes of any kind, whose
 * tokens are written in GPT-2's characters; else it is UTF-8. by_bytes has neither prefix, suffix, nor
 * byte_fallback.
 */
struct bpe *bpe_new(const struct bpe_settings *settings, const struct vocabulary *vocabulary, bool by_bytes);
void bpe_free(struct bpe *bpe);

/* Appends the word's tokens. */
void bpe_encode(struct bpe *bpe, struct span word, struct token_row *row);

/*
 * Whether a word's tokens are those of its parts when it is cut wherever the mark, a character, comes
 * behind another one.
 */
bool bpe_can_cut(const struct bpe *bpe, struct span mark);

/* Whether this is the unknown token, and a text can have it. */
bool bpe_can_be_unknown(const struct bpe *bpe, uint32_t id);

/* Whether a text can have the token: not where it is of a byte that only characters with a token have. */
bool bpe_can_be_byte(const struct bpe *bpe, uint32_t id);

/* Adds the merges and, as far as a byte-level tokenizer can have none of them, the settings. */
void bpe_hash(const struct bpe_settings *settings, struct hash *hash);

#endif
