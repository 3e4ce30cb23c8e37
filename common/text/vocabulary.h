/* The tokens of a subword tokenizer: their texts by id, and their ids by text. */
#ifndef FFKV_VOCABULARY_H
#define FFKV_VOCABULARY_H

#include "model/config.h"
#include "text/added.h"
#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vocabulary {
    char *path;          /* for messages */
    struct span *tokens; /* by id; bytes NULL: no token has this id */
    bool *special;       /* by id */
    size_t size;         /* ids are below this */
    size_t longest;      /* token's text in bytes */
    char *text;          /* that tokens point into */
    uint32_t *index;     /* open hash table of the model's ids, by text; NO_TOKEN: empty */
    size_t index_size;   /* a power of 2 */
};

/*
 * The model's tokens by id (bytes NULL: none), and added ones, whose ids may be beyond the model's. All
 * is copied. Two tokens of one text or one id, and bounds that no tokenizer reaches, end the program.
 */
struct vocabulary *vocabulary_new(const char *path, const struct span *tokens, size_t count,
                                  const struct added_token *added, size_t added_count);
void vocabulary_free(struct vocabulary *vocabulary);

/* The id of the model's token with this text, or NO_TOKEN; added tokens that it lacks are not found. */
uint32_t vocabulary_find(const struct vocabulary *vocabulary, struct span text);

/* The same of a text that ends with a NUL byte; NULL has none. */
uint32_t vocabulary_find_text(const struct vocabulary *vocabulary, const char *text);

/* A table of so many places is at most half full, so that searches are short; a power of 2. */
size_t vocabulary_table_size(size_t entries);

#endif
