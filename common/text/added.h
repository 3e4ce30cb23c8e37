/*
 * Added tokens: special ones and others that are found in the text before it is
 * split into words, as the tokenizers library finds them.
 */
#ifndef FFKV_ADDED_H
#define FFKV_ADDED_H

#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct added_token {
    struct span text;  /* not empty */
    uint32_t id;
    bool single_word;  /* not beside letters, digits, marks and _ */
    bool left_strip;   /* takes white space before it along */
    bool right_strip;  /* takes white space behind it along */
    bool special;      /* stands for no text: BOS, padding and their like */
    bool normalized;   /* is looked for in normalized text, in its own normal form */
};

struct added_set;

/* Copies the tokens. Two of the same text end the program; where is for the message. */
struct added_set *added_new(const struct added_token *tokens, size_t count, const char *where);
void added_free(struct added_set *set);

/* A search through a text; start with {set, text}. */
struct added_search {
    const struct added_set *set;
    struct span text;
    size_t searched; /* the search goes on here */
    size_t given;    /* everything before it has been given out */
};

/*
 * True: a token was found, leftmost first and the longest of those that begin
 * there; before is what lies between the one before and it, maybe nothing.
 * False: no more; before is the rest of the text.
 */
bool added_next(struct added_search *search, struct span *before, uint32_t *id);

#endif
