#include "text/trie.h"

#include "base/messages.h"
#include "base/order.h"

#include <stdlib.h>

enum { MAX_NODES = 1 << 30 };

/* By text, then by value. */
static int compare_keys(const void *a, const void *b)
{
    const struct trie_key *left = a, *right = b;
    size_t shorter = left->text.length < right->text.length ? left->text.length : right->text.length;
    int order = memcmp(left->text.bytes, right->text.bytes, shorter);
    if (!order)
        order = compare_numbers(left->text.length, right->text.length);
    return order ? order : compare_numbers(left->value, right->value);
}

/* How many bytes a key has in common with the one before it. */
static size_t common_bytes(const struct trie_key *keys, size_t index)
{
    struct span text = keys[index].text, previous = index ? keys[index - 1].text : (struct span){0};
    size_t common = 0;
    while (common < text.length && common < previous.length && text.bytes[common] == previous.bytes[common])
        common++;
    return common;
}

static size_t count_nodes(const struct trie_key *keys, size_t count, const char *where)
{
    size_t nodes = 1;
    for (size_t i = 0; i < count; i++)
        nodes += keys[i].text.length - common_bytes(keys, i);
    if (nodes > MAX_NODES)
        die("%s: the tokens are longer altogether than this program has room for", where);
    return nodes;
}

/* The keys that pass through a node, first .. end - 1, while its children are made. */
struct key_range {
    size_t first, end;
};

/* Gives a node its value and its children, from *nodes on; they are depth + 1 bytes from the root. */
static void add_children(struct trie *trie, const struct trie_key *keys, struct key_range *ranges,
                         uint32_t node, size_t depth, uint32_t *nodes)
{
    size_t at = ranges[node].first, end = ranges[node].end;
    trie->nodes[node] = (struct trie_node){*nodes, 0, TRIE_NO_VALUE};
    for (; at < end && keys[at].text.length == depth; at++)
        trie->nodes[node].value = keys[at].value;
    while (at < end) {
        char label = keys[at].text.bytes[depth];
        struct key_range *child = &ranges[*nodes];
        child->first = at;
        while (at < end && keys[at].text.bytes[depth] == label)
            at++;
        child->end = at;
        trie->labels[(*nodes)++] = (uint8_t)label;
        trie->nodes[node].children++;
    }
}

struct trie *trie_new(struct trie_key *keys, size_t count, const char *where)
{
    if (count)
        qsort(keys, count, sizeof *keys, compare_keys);
    struct trie *trie = new_array(1, sizeof *trie);
    size_t size = count_nodes(keys, count, where);
    struct key_range *ranges = new_array(size, sizeof *ranges);
    trie->nodes = new_array(size, sizeof *trie->nodes);
    trie->labels = new_array(size, sizeof *trie->labels);
    uint32_t nodes = 1;
    ranges[TRIE_ROOT] = (struct key_range){0, count};
    /* Level after level: where one ends is where the next has got to. */
    for (uint32_t node = 0, depth = 0, level_end; node < nodes; depth++)
        for (level_end = nodes; node < level_end; node++)
            add_children(trie, keys, ranges, node, depth, &nodes);
    free(ranges);
    return trie;
}

void trie_free(struct trie *trie)
{
    free(trie->nodes);
    free(trie->labels);
    free(trie);
}

size_t trie_longest(const struct trie *trie, struct span text, uint32_t *value)
{
    uint32_t node = TRIE_ROOT;
    size_t longest = 0;
    for (size_t i = 0; i < text.length && (node = trie_step(trie, node, text.bytes[i])) != TRIE_NO_NODE; i++)
        if (trie_value(trie, node) != TRIE_NO_VALUE) {
            longest = i + 1;
            *value = trie_value(trie, node);
        }
    return longest;
}
