/*
 * Pre-tokenization: text into the words that a model splits into tokens, one by one.
 * A pre-tokenizer is a list of rules, each of which splits the pieces that the
 * one before it left, as the pre-tokenizers of the tokenizers library do.
 */
#ifndef FFKV_PRETOKENIZE_H
#define FFKV_PRETOKENIZE_H

#include "base/hash.h"
#include "text/pattern.h"

#include <stdbool.h>
#include <stddef.h>

/* A character of UTF-8 and a NUL byte. */
enum { MARK_BYTES = 5 };

/* What becomes of a match, by the library's names. */
enum split_behavior {
    SPLIT_ISOLATED,             /* a piece of its own */
    SPLIT_REMOVED,              /* dropped */
    SPLIT_MERGED_WITH_PREVIOUS, /* joined to what is before it, unless that is a match too */
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,           /* matches that touch are one piece */
};

/* Which pieces get a mark before them, if they do not begin with it. */
enum prefix_scheme {
    PREFIX_NEVER,
    PREFIX_ALWAYS,
    PREFIX_FIRST, /* the one with which the text begins */
};

/*
 * What is done with a piece, in this order: its spaces are replaced, the mark is put before it, it is split,
 * and what it is split into is written in GPT-2's characters for bytes.
 */
/*
 * Characters that are matches, one by one, as the library's pre-tokenizers of fixed kinds find them. Of
 * SET_SCRIPTS a match is a run that begins with a character of the set and ends before one of another script.
 */
enum split_set {
    SET_NONE,
    SET_SPACES,      /* white space, as Unicode has it */
    SET_WORDS,       /* the regular expressions' \w */
    SET_PUNCTUATION, /* all signs of ASCII, and others as of Unicode 8 */
    SET_SCRIPTS,     /* all that have a script as of Unicode 9, but the space */
};

struct split_rule {
    char space[MARK_BYTES];  /* a character, as UTF-8, in place of each space; "": they stay */
    char mark[MARK_BYTES];   /* a character; used by prefix */
    enum prefix_scheme prefix;
    struct pattern *pattern; /* these two tell the matches; NULL and SET_NONE: pieces stay whole */
    enum split_set set;
    enum split_behavior behavior;
    bool invert;             /* what lies between the matches counts as matches */
    bool to_byte_characters; /* in a rule of its own */
};

struct pretokenizer;

struct pretokenizer *pretokenizer_new(void);
void pretokenizer_free(struct pretokenizer *pretokenizer);

/* Adds a rule; the pattern is the pretokenizer's from now on. */
void pretokenizer_add(struct pretokenizer *pretokenizer, struct split_rule rule);

/*
 * Whether the last rule has to_byte_characters, which is all that it does. It is no more then: words are
 * bytes, and it is for the model to take them as these characters.
 */
bool pretokenizer_take_bytes(struct pretokenizer *pretokenizer);

/* Whether a rule has to_byte_characters. */
bool pretokenizer_writes_bytes(const struct pretokenizer *pretokenizer);

/* The character that a rule puts in place of spaces, or NULL. */
const char *pretokenizer_space(const struct pretokenizer *pretokenizer);

/*
 * Whether a rule with PREFIX_FIRST is behind one that splits: which piece is the first depends then on
 * changes_start, that what is before the pre-tokenizer may have put more than one character in place of
 * the text's first. It is not known here then.
 */
bool pretokenizer_loses_start(const struct pretokenizer *pretokenizer, bool changes_start);

/* Whether a rule puts a mark before what has none. */
bool pretokenizer_prefixes(const struct pretokenizer *pretokenizer);

/* Whether two have the same rules but for that mark. */
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

/*
 * Calls take with each word of text, UTF-8, in order. A word holds during the call only. at_start: what
 * has been split into texts begins with this one.
 */
typedef void word_function(void *context, struct span word);
void pretokenize(struct pretokenizer *pretokenizer, struct span text, bool at_start, word_function *take,
                 void *context);

#endif
