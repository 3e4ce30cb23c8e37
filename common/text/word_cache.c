#include "text/word_cache.h"

#include "base/hash.h"
#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

/*
 * A table of sets of a few words. In a set the word of the last hit is the first; a new word goes before
 * it, and the last one is forgotten.
 */
enum { CACHED_SETS = 1 << 14, SET_WORDS = 4 };

struct word_cache {
    struct cached_word *words;
};

struct word_cache *word_cache_new(void)
{
    struct word_cache *cache = new_array(1, sizeof *cache);
    cache->words = new_aligned(CACHED_SETS * SET_WORDS, sizeof *cache->words);
    return cache;
}

void word_cache_free(struct word_cache *cache)
{
    free(cache->words);
    free(cache);
}

struct cached_word *word_cache_find(struct word_cache *cache, struct span word, bool *found)
{
    *found = false;
    if (word.length > CACHED_BYTES)
        return NULL;
    struct cached_word *set = cache->words + hash_bytes(word.bytes, word.length) % CACHED_SETS * SET_WORDS;
    for (size_t i = 0; i < SET_WORDS && !*found; i++)
        if (set[i].length == word.length && !memcmp(set[i].bytes, word.bytes, word.length)) {
            struct cached_word hit = set[i];
            set[i] = set[0];
            set[0] = hit;
            *found = true;
        }
    return set;
}

void word_cache_add(struct cached_word *set, struct span word, const uint32_t *tokens, size_t count)
{
    memmove(set + 1, set, (SET_WORDS - 1) * sizeof *set);
    set->length = (uint8_t)word.length;
    set->count = (uint8_t)count;
    memcpy(set->bytes, word.bytes, word.length);
    memcpy(set->tokens, tokens, count * sizeof *tokens);
}
