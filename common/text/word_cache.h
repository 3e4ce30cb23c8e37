/* What words were encoded as, so that a word that comes again is not encoded again. */
#ifndef FFKV_WORD_CACHE_H
#define FFKV_WORD_CACHE_H

#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CACHED_BYTES = 30, CACHED_TOKENS = 8 };

/* A word is a cache line. */
struct cached_word {
    uint8_t length; /* of the word; 0: an empty place */
    uint8_t count;
    char bytes[CACHED_BYTES];
    uint32_t tokens[CACHED_TOKENS];
};

struct word_cache;

struct word_cache *word_cache_new(void);
void word_cache_free(struct word_cache *cache);

/*
 * The word's set of places in the cache, with the word as the first when *found; NULL: the word is too
 * long to be in it.
 */
struct cached_word *word_cache_find(struct word_cache *cache, struct span word, bool *found);

/* Adds a word, which was not found in its set, and its tokens, CACHED_TOKENS at most. */
void word_cache_add(struct cached_word *set, struct span word, const uint32_t *tokens, size_t count);

#endif
