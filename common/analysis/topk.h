/*
 * The t best prefixes of every list of every key. The order is total: larger score (of the
 * rank), then lower sentence, then lower position; so the result does not depend on
 * the order in which prefixes are offered. Memory: what prefixes there are, at most t a key.
 */
#ifndef FFKV_TOPK_H
#define FFKV_TOPK_H

#include "stream/records.h"

struct topk;

/* What the order compares. */
struct topk_place {
    float score;
    uint64_t sentence;
    uint32_t position;
};

static inline bool topk_is_better(struct topk_place a, struct topk_place b)
{
    if (a.score != b.score)
        return a.score > b.score;
    if (a.sentence != b.sentence)
        return a.sentence < b.sentence;
    return a.position < b.position;
}

/* A sentence's tokens w_1 .. w_n, shared by the triggers that lie in it. */
struct topk_sentence;

/* Bytes of the tables when each key has t prefixes, all together of so many sentences of length tokens. */
double topk_bytes(size_t keys, size_t t, double sentences, double length);

/* Lists of t, one by each of ranks of each key. Only scores above threshold, which is 0 or more, are kept. */
struct topk *topk_new(size_t keys, const struct ranks *ranks, size_t t, float threshold);
void topk_free(struct topk *topk);

/* The list of a key by rank number rank of the ranks; that of the next key is the next one. */
size_t topk_list(const struct topk *topk, size_t key, size_t rank);

/* Whether a prefix with this coefficient may be among the best of a list. */
bool topk_wants(const struct topk *topk, size_t list, float coefficient);

/* The first of count coefficients, of lists of one rank from list on, that its list wants; count: none. */
size_t topk_first_wanted(const struct topk *topk, size_t list, const float *coefficient, size_t count);

/*
 * Offers a prefix. path: the key's coefficient at each of its tokens, or NULL. *shared, NULL at first, is
 * made from tokens when the first list keeps a prefix of this sentence; topk_release gives it up.
 */
void topk_offer(struct topk *topk, size_t list, float coefficient, uint64_t sentence, uint32_t position,
                const float *path, const uint32_t *tokens, size_t length, struct topk_sentence **shared);
void topk_release(struct topk_sentence **shared);

/*
 * The triggers of a list, best first, with layer and cell as given, of each up to following tokens behind the
 * next one, and with paths their coefficients, unless one was offered without; free with key_triggers_free.
 */
struct key_triggers topk_take(struct topk *topk, size_t list, size_t layer, size_t cell, size_t following,
                              bool paths);

#endif
