/*
 * SentencePiece: text into the pieces of its models, BPE and unigram, the same as the sentencepiece library
 * gives, without the BOS and EOS that it can add. Control pieces (<s>) are not found in the text.
 *
 * Its BPE differs from that of the tokenizers library: it has no list of merges, but joins those two
 * neighbours first whose text is the piece of the highest score, and of equal ones the leftmost.
 */
#ifndef FFKV_SENTENCEPIECE_H
#define FFKV_SENTENCEPIECE_H

#include "formats/sentencepiece_file.h"
#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A tokenizer and its buffers: for one thread at a time. */
struct sentencepiece;

/*
 * From a model, which need not outlive the call. Pieces that contradict each other end the program: two of
 * the same text, no unknown one or several, some bytes and not all. path is for messages.
 */
struct sentencepiece *sentencepiece_new(const char *path, const struct piece_model *model);
struct sentencepiece *sentencepiece_read(const char *path);

/*
 * tokenizer.model of a model's folder. The files beside it, which are for transformers, may name its pieces
 * as special tokens; where they add tokens to it, or settings that SentencePiece does not have, the program
 * ends. NULL: there is no tokenizer.model.
 */
struct sentencepiece *sentencepiece_read_folder(const char *folder);
void sentencepiece_free(struct sentencepiece *pieces);

/*
 * Encodes text, which is UTF-8. The ids go to *tokens, an array of *capacity that grows as needed and
 * that the caller frees. Returns how many there are.
 */
size_t sentencepiece_encode(struct sentencepiece *pieces, struct span text, uint32_t **tokens,
                            size_t *capacity);

/* The id of the piece with this text, or NO_TOKEN. */
uint32_t sentencepiece_find(const struct sentencepiece *pieces, struct span text);

/* Whether white space is put at one of a text's ends. */
bool sentencepiece_adds_space(const struct sentencepiece *pieces);

/* The model, in words. */
const char *sentencepiece_kind(const struct sentencepiece *pieces);

/* Ids are below this. */
size_t sentencepiece_size(const struct sentencepiece *pieces);

/* Whether a text can have the token. */
bool sentencepiece_can_follow(const struct sentencepiece *pieces, uint32_t id);

/*
 * What a row of tokens reads: the pieces, with their spaces, and the bytes; control pieces and the unknown
 * one as they are called. \xNN stands for a byte that is not UTF-8, "<token N>" for an id without a
 * piece. The caller frees it.
 */
char *sentencepiece_text(const struct sentencepiece *pieces, const uint32_t *tokens, size_t count);

/* The same bytes as they are, without a NUL; *length: how many. The caller frees them. */
char *sentencepiece_bytes(const struct sentencepiece *pieces, const uint32_t *tokens, size_t count,
                          size_t *length);

/* Hash of all that shapes the tokens. */
const char *sentencepiece_id(const struct sentencepiece *pieces);

#endif
