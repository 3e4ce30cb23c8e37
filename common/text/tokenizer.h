/*
 * Sentences into a model's tokens and back, by whatever the model's folder has:
 * tokenizer.json, or vocab.json with merges.txt (byte-level BPE), or tokenizer.model
 * (SentencePiece), or dict.txt (words, as fairseq lists them); or by a GGUF file's
 * metadata.
 */
#ifndef FFKV_TOKENIZER_H
#define FFKV_TOKENIZER_H

#include "model/candidates.h"
#include "model/config.h"
#include "stream/stream_reader.h"
#include "text/text.h"

struct tokenizer;

/* Reads the tokenizer of the model that config describes. Bad ones end the program. */
struct tokenizer *tokenizer_read(const struct model_config *config);

/* The tokenizer of the model at path, which must be the one that the stream was made with. */
struct tokenizer *tokenizer_open(const char *path, const struct stream_reader *reader);
void tokenizer_free(struct tokenizer *tokenizer);

/*
 * The tokens of a sentence that reader gave, without BOS, to *tokens, an array of
 * *capacity that grows as needed and that the caller frees. Returns how many.
 */
size_t tokenizer_encode(struct tokenizer *tokenizer, struct text_reader *reader, struct span sentence,
                        uint32_t **tokens, size_t *capacity);

/*
 * The same of a text by itself, whose white space counts where tokens have some; words are
 * between white space.
 */
size_t tokenizer_encode_text(struct tokenizer *tokenizer, struct span text, uint32_t **tokens,
                             size_t *capacity);

/* What tokens read; "<token N>" for one without a text. The caller frees it. */
char *tokenizer_text(const struct tokenizer *tokenizer, const uint32_t *tokens, size_t count);

/* The bytes themselves, which may be a part of a character; *length: how many. The caller frees them. */
char *tokenizer_bytes(const struct tokenizer *tokenizer, const uint32_t *tokens, size_t count,
                      size_t *length);

/* What is between two tokens' texts: a space where tokens are words, else nothing. */
const char *tokenizer_joint(const struct tokenizer *tokenizer);

/* The token of all words that are not listed, or NO_TOKEN. */
uint32_t tokenizer_unknown(const struct tokenizer *tokenizer);

/* The tokens of the model's vocabulary that a text can have, by its tokenizer. */
struct candidates tokenizer_candidates(const struct tokenizer *tokenizer, const struct model_config *config);

/*
 * The same, by the model that config describes: all tokens with all_tokens, or where it comes
 * without a tokenizer. One that this program does not read ends it.
 */
struct candidates candidates_read(const struct model_config *config, bool all_tokens);

/*
 * The token that the model reads before a text: that of the tokenizer's files, or, where they do not say, of
 * its configuration. NO_TOKEN: none, its texts begin with their own first token.
 */
uint32_t tokenizer_bos(const struct tokenizer *tokenizer, const struct model_config *config);

/* Its kind, in words, and how many tokens it has. */
const char *tokenizer_kind(const struct tokenizer *tokenizer);
size_t tokenizer_size(const struct tokenizer *tokenizer);

/* What a header says of the tokenizer: id, vocabulary, bos, and unknown where there is one. */
json_t *tokenizer_json(const struct tokenizer *tokenizer, const struct model_config *config, uint32_t bos);

/* Ends the program unless the stream was made with this tokenizer. BOS is the stream's own. */
void tokenizer_check(const struct tokenizer *tokenizer, const struct model_config *config,
                     const struct stream_reader *reader);

#endif
