/*
 * The tokenizer classes of transformers 5 that take tokens and merges from a folder's files, and have their
 * own normalizer, pre-tokenizer and, where nothing else is said, special tokens.
 */
#ifndef FFKV_SUBWORD_CLASSES_H
#define FFKV_SUBWORD_CLASSES_H

#include "text/subword.h"

#include <jansson.h>
#include <stdbool.h>

/* The names that transformers has for special tokens, in the order in which it adds them; NULL ends them. */
enum { SPECIALS = 7 };
extern const char *const special_names[SPECIALS + 1];

enum class_kind {
    CLASS_BYTE_LEVEL,
    CLASS_LLAMA, /* BPE of SentencePiece, spaces by Metaspace */
    CLASS_GEMMA, /* the same, spaces by a normalizer */
};

struct tokenizer_class {
    const char *name;
    enum class_kind kind;
    const char *pre; /* of CLASS_BYTE_LEVEL; NULL: GPT-2's, with the space that add_prefix_space asks for */
    bool digits;     /* and before it, digits one by one */
    bool form_c;
    bool plain_specials; /* they take no white space along, whatever the files say */
    const char *specials[SPECIALS]; /* by special_names */
};

/* The class, or NULL. */
const struct tokenizer_class *tokenizer_class_find(const char *name);

/* Whether a class is tokenizer.json as it is. byte_level: that is byte-level. */
bool tokenizer_class_is_plain(const char *name, bool byte_level);

/* The names of all that are known, for messages: "GPT2Tokenizer, ..."; the caller frees it. */
char *tokenizer_class_names(void);

/* Whether add_prefix_space counts as true where it is not said. */
bool tokenizer_class_prefixes(const struct tokenizer_class *class);

/*
 * Puts the class's normalizer, pre-tokenizer and settings of the model in place of the parts' own (NULL:
 * none). What tokenizer.json says of itself must be what its class makes of it, but for the space before
 * the text, of which prefix and legacy tell (add_prefix_space and legacy of tokenizer_config.json).
 * Otherwise the program ends. vocabulary: texts and ids.
 */
void tokenizer_class_apply(const struct tokenizer_class *class, struct subword_parts *parts,
                           const json_t *vocabulary, bool prefix, bool legacy);

#endif
