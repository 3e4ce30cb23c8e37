/*
 * Byte-level byte-pair encoding: text into the tokens of GPT-2, Llama 3, Qwen2,
 * SmolLM and their like, the same as the tokenizers library of Hugging Face
 * gives, without the BOS and EOS that its post-processor may add.
 *
 * A tokenizer comes from tokenizer.json, from vocab.json and merges.txt, or
 * from the metadata of a GGUF file. What shapes the tokens and is not known
 * here (another model, normalizer, pre-tokenizer, setting) ends the program
 * with its name; so does a damaged file.
 */
#ifndef FFKV_BPE_H
#define FFKV_BPE_H

#include "base/hash.h"
#include "text/added.h"
#include "text/bos.h"
#include "text/pretokenize.h"
#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No token has this id. */
#define BPE_NO_TOKEN UINT32_MAX

/* A tokenizer and its caches: for one thread at a time. */
struct bpe;

/* ---- from files ---- */

/* tokenizer.json alone. */
struct bpe *bpe_read_json(const char *path);

/*
 * The tokenizer of a model's folder, as transformers 5 loads it: tokenizer.json, or vocab.json and
 * merges.txt, with tokenizer_config.json, special_tokens_map.json and added_tokens.json. model_type is
 * that of config.json. Files that contradict each other, and settings that are not known, end the
 * program. NULL: there is neither tokenizer.json nor vocab.json nor merges.txt. *bos: what the files say of
 * it, see ffkv(7).
 */
struct bpe *bpe_read_folder(const char *folder, const char *model_type, struct stated_bos *bos);

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
struct bpe_metadata {
    const struct span *tokens;
    const int32_t *types;
    size_t token_count;
    const struct span *merges;
    size_t merge_count;
    const char *pre;
};
struct bpe *bpe_from_metadata(const char *path, const struct bpe_metadata *metadata);

/* ---- from its parts, which is what the above come to ---- */

struct bpe_parts {
    const char *path;               /* for messages */
    const struct span *tokens;      /* by id; bytes NULL: no token has this id */
    size_t token_count;
    const struct span (*merges)[2]; /* first those that go first */
    size_t merge_count;
    const struct added_token *added; /* their ids may be beyond tokens */
    size_t added_count;
    struct pretokenizer *pretokenizer; /* the tokenizer's from now on */
    bool form_c;                    /* text is put into Unicode's form C */
    bool ignore_merges;             /* a word that is a token is that token, whatever the merges */
    const char *unknown;            /* the token of bytes that have none; NULL: they are dropped */
    bool fuse_unknown;              /* one for a run of such bytes */
};
struct bpe *bpe_new(const struct bpe_parts *parts);

void bpe_free(struct bpe *bpe);

/* ---- use ---- */

/*
 * Encodes text, without BOS. The tokens go to *tokens, an array of *capacity that
 * grows as needed (start with NULL and 0) and that the caller frees. Returns
 * how many there are. Text that is not UTF-8, or longer than 2^28 - 1 bytes,
 * ends the program.
 */
size_t bpe_encode(struct bpe *bpe, struct span text, uint32_t **tokens, size_t *capacity);

/* Ids are below this; some may have no token. */
size_t bpe_size(const struct bpe *bpe);

/*
 * Whether a text can have the token: it has a text, and is not special. The unknown token can be
 * where there are bytes without a token of their own.
 */
bool bpe_can_follow(const struct bpe *bpe, uint32_t id);

/*
 * What a row of tokens reads: their bytes in a row; \xNN stands for a byte that is
 * not UTF-8, "<token N>" for an id without a token. The caller frees it.
 */
char *bpe_text(const struct bpe *bpe, const uint32_t *tokens, size_t count);

/* Hash of all that shapes the tokens: equal for the same tokenizer from different files. */
const char *bpe_id(const struct bpe *bpe);

#endif
