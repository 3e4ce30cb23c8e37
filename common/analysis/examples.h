/*
 * A few of each key's best triggers, by the ends of their prefixes, to be shown beside a memory: those of a
 * triggers stream, for any key at any time. Memory: EXAMPLES of EXAMPLE_TOKENS tokens a key.
 */
#ifndef FFKV_EXAMPLES_H
#define FFKV_EXAMPLES_H

#include "model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXAMPLES = 3, EXAMPLE_TOKENS = 12 };

struct example {
    size_t start;     /* of its tokens, within examples.token */
    uint32_t length;  /* of these, the prefix's last ones, at most EXAMPLE_TOKENS */
    bool cut;         /* the prefix is longer */
};

struct examples {
    size_t d_ff;
    size_t *first;    /* keys + 1: the key's first example; the next key's follow */
    struct example *example;
    uint32_t *token;
    json_t *edits;    /* of the model, as header_edits has them */
};

/*
 * Reads the triggers of path, which must be of this model and its tokenizer: else it ends the program.
 * list: as triggers_open_list has it.
 */
struct examples examples_read(const char *path, const struct model *model, const char *list);
void examples_free(struct examples *examples);

/* The examples of a key, best first; *count: how many. */
const struct example *examples_of(const struct examples *examples, size_t layer, size_t cell, size_t *count);

#endif
