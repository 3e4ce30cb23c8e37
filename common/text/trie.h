/*
 * A trie of byte strings, in which the strings that a text begins with are found a byte at a time.
 * The children of a node lie in a row, so that a node is twelve bytes and one for its label.
 */
#ifndef FFKV_TRIE_H
#define FFKV_TRIE_H

#include "text/text.h"

#include <stdint.h>
#include <string.h>

/* No node, as a child; and no value, of a node where no string ends. */
enum { TRIE_ROOT = 0, TRIE_NO_NODE = 0 };
#define TRIE_NO_VALUE UINT32_MAX

struct trie_node {
    uint32_t first; /* child */
    uint32_t children;
    uint32_t value;
};

struct trie {
    struct trie_node *nodes;
    uint8_t *labels; /* of each node: the byte that leads to it */
};

struct trie_key {
    struct span text; /* not empty */
    uint32_t value;
};

/*
 * A trie of count keys, which are sorted in place, and whose texts need not outlive the call. Of keys
 * with the same text the one of the greatest value counts. More than 2^30 nodes end the program, with
 * where.
 */
struct trie *trie_new(struct trie_key *keys, size_t count, const char *where);
void trie_free(struct trie *trie);

/* The child of a node that byte leads to, or TRIE_NO_NODE. */
static inline uint32_t trie_step(const struct trie *trie, uint32_t node, char byte)
{
    const struct trie_node *parent = &trie->nodes[node];
    const uint8_t *labels = trie->labels + parent->first;
    const uint8_t *found = memchr(labels, (unsigned char)byte, parent->children);
    return found ? parent->first + (uint32_t)(found - labels) : TRIE_NO_NODE;
}

/* The value of the string that ends at a node, or TRIE_NO_VALUE. */
static inline uint32_t trie_value(const struct trie *trie, uint32_t node)
{
    return trie->nodes[node].value;
}

/* The longest key that text begins with: its length, and its value where one is found; 0: none. */
size_t trie_longest(const struct trie *trie, struct span text, uint32_t *value);

#endif
