#include "text/wordpiece.h"

#include "base/messages.h"
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

struct wordpiece {
    struct trie *first, *further; /* tokens that begin a word; others, without their prefix, or NULL */
    size_t max_characters;
    uint32_t unknown;
};

/* A trie of the tokens that begin with prefix, without it. */
static struct trie *tokens_with(const struct wordpiece_parts *parts, const char *prefix)
{
    struct trie_key *keys = new_array(parts->count, sizeof *keys);
    size_t count = 0, skipped = strlen(prefix);
    for (size_t i = 0; i < parts->count; i++) {
        struct span text = parts->tokens[i];
        if (text.length > skipped && !memcmp(text.bytes, prefix, skipped))
            keys[count++] = (struct trie_key){{text.bytes + skipped, text.length - skipped}, (uint32_t)i};
    }
    struct trie *trie = trie_new(keys, count, parts->path);
    free(keys);
    return trie;
}

struct wordpiece *wordpiece_new(const struct wordpiece_parts *parts)
{
    struct wordpiece *wordpiece = new_array(1, sizeof *wordpiece);
    wordpiece->first = tokens_with(parts, "");
    wordpiece->further = parts->prefix ? tokens_with(parts, parts->prefix) : NULL;
    wordpiece->max_characters = parts->max_characters;
    wordpiece->unknown = parts->unknown;
    return wordpiece;
}

void wordpiece_free(struct wordpiece *wordpiece)
{
    trie_free(wordpiece->first);
    if (wordpiece->further)
        trie_free(wordpiece->further);
    free(wordpiece);
}

bool wordpiece_splits(const struct wordpiece *wordpiece)
{
    return wordpiece->further;
}

bool wordpiece_is_unknown(const struct wordpiece *wordpiece, uint32_t id)
{
    return id == wordpiece->unknown;
}

static size_t count_characters(struct span text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.bytes[i] & 0xC0) != 0x80;
    return count;
}

void wordpiece_encode(const struct wordpiece *wordpiece, struct span word, struct token_row *row)
{
    const struct trie *trie = wordpiece->first;
    const size_t before = row->count;
    bool is_known = count_characters(word) <= wordpiece->max_characters;
    while (is_known && word.length) {
        uint32_t token = 0;
        size_t length = trie ? trie_longest(trie, word, &token) : 0;
        is_known = length;
        *token_row_add(row, 1) = token;
        word = (struct span){word.bytes + length, word.length - length};
        trie = wordpiece->further;
    }
    if (is_known)
        return;
    row->count = before;
    *token_row_add(row, 1) = wordpiece->unknown;
}
