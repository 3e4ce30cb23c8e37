#include "analysis/topk.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

struct topk_sentence {
    size_t references;
    uint32_t token[];
};

struct prefix {
    float coefficient, score;
    uint32_t position;
    uint64_t sentence;
    struct topk_sentence *text;
};

/* Of each key a binary heap with the worst prefix on top. */
struct topk {
    size_t keys, t;
    enum rank rank;
    float threshold;
    struct prefix *heap; /* keys x t */
    size_t *held;        /* keys: prefixes in each heap */
};

struct topk *topk_new(size_t keys, size_t t, enum rank rank, float threshold)
{
    struct topk *topk = new_array(1, sizeof *topk);
    *topk = (struct topk){keys, t, rank, threshold, NULL, new_array(keys, sizeof *topk->held)};
    if (keys && t > SIZE_MAX / keys)
        die("out of memory (%zu prefixes of %zu keys)", t, keys);
    topk->heap = new_array(keys * t, sizeof *topk->heap);
    return topk;
}

void topk_release(struct topk_sentence **shared)
{
    if (*shared && --(*shared)->references == 0)
        free(*shared);
    *shared = NULL;
}

void topk_free(struct topk *topk)
{
    for (size_t key = 0; key < topk->keys; key++)
        for (size_t i = 0; i < topk->held[key]; i++)
            topk_release(&topk->heap[key * topk->t + i].text);
    free(topk->heap);
    free(topk->held);
    free(topk);
}

static bool is_better(const struct prefix *a, const struct prefix *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    if (a->sentence != b->sentence)
        return a->sentence < b->sentence;
    return a->position < b->position;
}

/* Where the worst of a node's children is, given the heap's size; 0 when it has none. */
static size_t worst_child(const struct prefix *heap, size_t held, size_t node)
{
    size_t child = 2 * node + 1;
    if (child >= held)
        return 0;
    return child + 1 < held && is_better(&heap[child], &heap[child + 1]) ? child + 1 : child;
}

static void sift_down(struct prefix *heap, size_t held, struct prefix prefix)
{
    size_t node = 0;
    for (size_t child; (child = worst_child(heap, held, node)) && is_better(&prefix, &heap[child]); node = child)
        heap[node] = heap[child];
    heap[node] = prefix;
}

static void sift_up(struct prefix *heap, size_t node, struct prefix prefix)
{
    for (; node && is_better(&heap[(node - 1) / 2], &prefix); node = (node - 1) / 2)
        heap[node] = heap[(node - 1) / 2];
    heap[node] = prefix;
}

bool topk_wants(const struct topk *topk, size_t key, float coefficient)
{
    float score = rank_score(topk->rank, coefficient);
    return score > topk->threshold
        && (topk->held[key] < topk->t || score >= topk->heap[key * topk->t].score);
}

void topk_offer(struct topk *topk, size_t key, float coefficient, uint64_t sentence, uint32_t position,
                const uint32_t *tokens, size_t length, struct topk_sentence **shared)
{
    struct prefix *heap = topk->heap + key * topk->t;
    struct prefix prefix = {coefficient, rank_score(topk->rank, coefficient), position, sentence, NULL};
    if (!topk_wants(topk, key, coefficient)
        || (topk->held[key] == topk->t && !is_better(&prefix, &heap[0])))
        return;
    if (!*shared) {
        *shared = new_array(1, sizeof **shared + length * sizeof *tokens);
        (*shared)->references = 1;
        memcpy((*shared)->token, tokens, length * sizeof *tokens);
    }
    prefix.text = *shared;
    prefix.text->references++;
    if (topk->held[key] < topk->t) {
        sift_up(heap, topk->held[key]++, prefix);
    } else {
        topk_release(&heap[0].text);
        sift_down(heap, topk->t, prefix);
    }
}

static int best_first(const void *a, const void *b)
{
    return is_better(a, b) ? -1 : is_better(b, a) ? 1 : 0;
}

struct key_triggers topk_take(struct topk *topk, size_t key, size_t layer, size_t cell)
{
    struct prefix *best = topk->heap + key * topk->t;
    size_t count = topk->held[key];
    struct key_triggers triggers = {.layer = layer, .cell = cell, .count = count};
    qsort(best, count, sizeof *best, best_first); /* best first is no heap any more: */
    for (size_t i = 0; i < count; i++)
        triggers.prefix_tokens += best[i].position;
    triggers.coefficient = new_array(count, sizeof *triggers.coefficient);
    triggers.sentence = new_array(count, sizeof *triggers.sentence);
    triggers.position = new_array(count, sizeof *triggers.position);
    triggers.next = new_array(count, sizeof *triggers.next);
    triggers.prefix = new_array(triggers.prefix_tokens, sizeof *triggers.prefix);
    uint32_t *prefix = triggers.prefix;
    for (size_t i = 0; i < count; i++) {
        triggers.coefficient[i] = best[i].coefficient;
        triggers.sentence[i] = best[i].sentence;
        triggers.position[i] = best[i].position;
        triggers.next[i] = best[i].text->token[best[i].position];
        if (best[i].position)
            memcpy(prefix, best[i].text->token, best[i].position * sizeof *prefix);
        prefix += best[i].position;
        topk_release(&best[i].text);
    }
    topk->held[key] = 0; /* so the key is empty */
    return triggers;
}
