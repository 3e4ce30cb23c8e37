/*
 * Subword tokenizers: text into tokens, the same as the tokenizers library of Hugging Face gives, without
 * the BOS and EOS that its post-processor may add. Added tokens are found in the text, what is between
 * them is normalized, the pre-tokenizer splits it into words, and the model a word into tokens.
 *
 * A tokenizer comes from tokenizer.json, from vocab.json and merges.txt, or
 * from the metadata of a GGUF file. What shapes the tokens and is not known
 * here (another model, normalizer, pre-tokenizer, setting) ends the program
 * with its name; so does a damaged file.
 */
#ifndef FFKV_SUBWORD_H
#define FFKV_SUBWORD_H

#include "text/added.h"
#include "text/bos.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pretokenize.h"
#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A tokenizer and its caches: for one thread at a time. */
struct subword_tokenizer;

/* ---- from files ---- */

/* tokenizer.json alone. */
struct subword_tokenizer *subword_read_json(const char *path);

/*
 * The tokenizer of a model's folder, as transformers 5 loads it: tokenizer.json, or vocab.json and
 * merges.txt, with tokenizer_config.json, special_tokens_map.json and added_tokens.json. model_type is
 * that of config.json. Files that contradict each other, and settings that are not known, end the
 * program. NULL: there is neither tokenizer.json nor vocab.json nor merges.txt. *bos: what the files say of
 * it, see ffkv(7).
 */
struct subword_tokenizer *subword_read_folder(const char *folder, const char *model_type,
                                              struct stated_bos *bos);

/* tokenizer.ggml.token_type in GGUF files. */
enum gguf_token_type {
    GGUF_NORMAL = 1,
    GGUF_UNKNOWN = 2,
    GGUF_CONTROL = 3,
    GGUF_USER_DEFINED = 4,
    GGUF_UNUSED = 5,
    GGUF_BYTE = 6,
};

/*
 * From the metadata of a GGUF file with tokenizer.ggml.model "gpt2": tokens by
 * id, their types (NULL: all normal), merges ("left right") in order, and
 * tokenizer.ggml.pre. Control and user-defined tokens are found in the text.
 * Nothing needs to outlive the call.
 */
struct subword_metadata {
    const struct span *tokens;
    const int32_t *types;
    size_t token_count;
    const struct span *merges;
    size_t merge_count;
    const char *pre;
};
struct subword_tokenizer *subword_from_metadata(const char *path, const struct subword_metadata *metadata);

/* ---- from its parts, which is what the above come to ---- */

/* What splits a word into tokens. */
enum subword_model {
    SUBWORD_BPE,
    SUBWORD_UNIGRAM,
    SUBWORD_WORDPIECE,
};

struct unigram_settings {
    double *scores;     /* of the model's tokens, by id */
    uint32_t unknown;   /* the token of what has none; NO_TOKEN: it ends the program */
    bool byte_fallback; /* what has none is the tokens of its bytes, <0x00> to <0xFF>, if all are there */
};

struct wordpiece_settings {
    const char *prefix;    /* of tokens that do not begin a word; NULL: a word is one token, or unknown */
    size_t max_characters; /* a longer word is unknown */
    const char *unknown;   /* the token of a word that tokens do not make up */
};

struct subword_parts {
    const char *path;                  /* for messages */
    const struct span *tokens;         /* the model's by id; bytes NULL: no token has this id */
    size_t token_count;
    const struct added_token *added;   /* their ids may be beyond tokens */
    size_t added_count;
    struct normalizer *normalizer;     /* these two are the tokenizer's from now on */
    struct pretokenizer *pretokenizer;
    enum subword_model model;
    struct bpe_settings bpe;             /* of SUBWORD_BPE */
    struct unigram_settings unigram;     /* of SUBWORD_UNIGRAM */
    struct wordpiece_settings wordpiece; /* of SUBWORD_WORDPIECE */
};
struct subword_tokenizer *subword_new(const struct subword_parts *parts);

void subword_free(struct subword_tokenizer *tokenizer);

/* ---- use ---- */

/*
 * Encodes text, without BOS. The tokens go to *tokens, an array of *capacity that
 * grows as needed (start with NULL and 0) and that the caller frees. Returns
 * how many there are. Text that is not UTF-8, or longer than 2^28 - 1 bytes,
 * ends the program.
 */
size_t subword_encode(struct subword_tokenizer *tokenizer, struct span text, uint32_t **tokens,
                      size_t *capacity);

/* What splits a word into tokens, in words. */
const char *subword_kind(const struct subword_tokenizer *tokenizer);

/* Ids are below this; some may have no token. */
size_t subword_size(const struct subword_tokenizer *tokenizer);

/*
 * Whether a text can have the token: it has a text, and is not special. The unknown token can be where
 * there are bytes or characters without a token of their own, and so can the tokens of single bytes.
 */
bool subword_can_follow(const struct subword_tokenizer *tokenizer, uint32_t id);

/*
 * What a row of tokens reads: their texts in a row, as text/token_display.h has them; \xNN stands for a
 * byte that is not UTF-8, "<token N>" for an id without a token. The caller frees it.
 */
char *subword_text(const struct subword_tokenizer *tokenizer, const uint32_t *tokens, size_t count);

/* The same bytes as they are, without a NUL; *length: how many. The caller frees them. */
char *subword_bytes(const struct subword_tokenizer *tokenizer, const uint32_t *tokens, size_t count,
                    size_t *length);

/* Hash of all that shapes the tokens: equal for the same tokenizer from different files. */
const char *subword_id(const struct subword_tokenizer *tokenizer);

#endif
