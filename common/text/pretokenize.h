/*
 * Pre-tokenization: text into the words within which byte-level BPE merges.
 * A pre-tokenizer is a list of rules, each of which splits the pieces that the
 * one before it left, as the pre-tokenizers of the tokenizers library do.
 */
#ifndef FFKV_PRETOKENIZE_H
#define FFKV_PRETOKENIZE_H

#include "base/hash.h"
#include "text/pattern.h"

#include <stdbool.h>
#include <stddef.h>

/* What becomes of a match, by the library's names. */
enum split_behavior {
    SPLIT_ISOLATED,             /* a piece of its own */
    SPLIT_REMOVED,              /* dropped */
    SPLIT_MERGED_WITH_PREVIOUS, /* joined to what is before it, unless that is a match too */
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,           /* matches that touch are one piece */
};

struct split_rule {
    struct pattern *pattern; /* NULL: pieces stay whole */
    enum split_behavior behavior;
    bool invert;             /* what lies between the matches counts as matches */
    bool prefix_space;       /* first puts a space before each piece that has none; in the last rule only */
};

struct pretokenizer;

struct pretokenizer *pretokenizer_new(void);
void pretokenizer_free(struct pretokenizer *pretokenizer);

/* Adds a rule; the pattern is the pretokenizer's from now on. */
void pretokenizer_add(struct pretokenizer *pretokenizer, struct split_rule rule);

/* Whether a rule puts a space before what has none. */
bool pretokenizer_prefixes(const struct pretokenizer *pretokenizer);

/* Whether two have the same rules but for that space. */
bool pretokenizer_equal(const struct pretokenizer *left, const struct pretokenizer *right);

/*
 * The rules of a model family by the name that GGUF files call them by
 * (tokenizer.ggml.pre): "gpt-2", "llama-bpe", "qwen2", "smollm", "default" and
 * a few more. NULL: not known.
 */
struct pretokenizer *pretokenizer_named(const char *name, const char *where);

/* The names that pretokenizer_named knows, for messages: "default, gpt-2, ...". The caller frees it. */
char *pretokenizer_names(void);

/* Adds everything that shapes the words to the hash. */
void pretokenizer_hash(const struct pretokenizer *pretokenizer, struct hash *hash);

/* GPT-2's expression, which ByteLevel pre-tokenizers have, and what Digits ones find. */
extern const char gpt2_expression[];
extern const char digit_expression[];

/* Calls take with each word of text, UTF-8, in order. A word holds during the call only. */
typedef void word_function(void *context, struct span word);
void pretokenize(struct pretokenizer *pretokenizer, struct span text, word_function *take, void *context);

#endif
