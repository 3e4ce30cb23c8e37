#include "analysis/topk.h"

#include "base/heap.h"
#include "base/messages.h"
#include "numeric/vector.h"
#include "stream/fields.h"
#include "stream/records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct topk_sentence {
    uint64_t sentence;
    size_t references, length;
    uint32_t token[];
};

/* As small as it can be: the time of a search is that of reading and moving these. */
struct prefix {
    float score;
    uint32_t position : 31, is_negative : 1; /* the coefficient, whose size is the score */
    struct topk_sentence *text;
    float *path; /* position: the key's coefficients at the prefix's tokens; NULL: not known */
};

/* The prefixes of a list: a binary heap with the worst one on top, which grows to t. */
struct heap {
    struct prefix *prefix; /* capacity, of which held are there */
    size_t held, capacity;
};

struct topk {
    size_t keys, lists, t;
    struct ranks ranks;
    float lowest;      /* score that is above the threshold */
    float *least;      /* lists: the score that a prefix must have at least: the worst one's of a full heap */
    struct heap *heap; /* lists */
};

struct topk *topk_new(size_t keys, const struct ranks *ranks, size_t t, float threshold)
{
    struct topk *topk = new_array(1, sizeof *topk);
    size_t lists = matrix_count(keys, ranks->count);
    *topk = (struct topk){.keys = keys, .lists = lists, .t = t, .ranks = *ranks,
                          .lowest = nextafterf(threshold, INFINITY),
                          .least = new_array(lists, sizeof *topk->least),
                          .heap = new_array(lists, sizeof *topk->heap)};
    for (size_t list = 0; list < lists; list++)
        topk->least[list] = topk->lowest;
    return topk;
}

double topk_bytes(size_t keys, size_t t, double sentences, double length)
{
    double tables = sizeof(float) + sizeof(struct heap) + (double)t * sizeof(struct prefix);
    return (double)keys * tables + sentences * (sizeof(struct topk_sentence) + length * sizeof(uint32_t));
}

size_t topk_list(const struct topk *topk, size_t key, size_t rank)
{
    return rank * topk->keys + key;
}

static enum rank list_rank(const struct topk *topk, size_t list)
{
    return topk->ranks.rank[topk->ranks.count == 1 ? 0 : list / topk->keys]; /* a division takes its time */
}

static float list_score(const struct topk *topk, size_t list, float coefficient)
{
    return rank_score(list_rank(topk, list), coefficient);
}

void topk_release(struct topk_sentence **shared)
{
    if (*shared && --(*shared)->references == 0)
        free(*shared);
    *shared = NULL;
}

static void give_up(struct prefix *prefix)
{
    topk_release(&prefix->text);
    free(prefix->path);
    prefix->path = NULL;
}

void topk_free(struct topk *topk)
{
    for (size_t list = 0; list < topk->lists; list++)
        for (size_t i = 0; i < topk->heap[list].held; i++)
            give_up(&topk->heap[list].prefix[i]);
    for (size_t list = 0; list < topk->lists; list++)
        free(topk->heap[list].prefix);
    free(topk->heap);
    free(topk->least);
    free(topk);
}

static struct topk_place place_of(const struct prefix *prefix)
{
    return (struct topk_place){prefix->score, prefix->text->sentence, prefix->position};
}

/* Sentences lie elsewhere in memory, and are read where scores are equal only. */
static bool is_better(const struct prefix *a, const struct prefix *b)
{
    return a->score != b->score ? a->score > b->score : topk_is_better(place_of(a), place_of(b));
}

static bool is_worse(const struct prefix *a, const struct prefix *b)
{
    return is_better(b, a);
}

DEFINE_HEAP(worst, struct prefix, is_worse);

bool topk_wants(const struct topk *topk, size_t list, float coefficient)
{
    return list_score(topk, list, coefficient) >= topk->least[list];
}

/* Nearly all prefixes are refused, so many are compared at once. rank is a constant where this is inlined. */
KERNEL_PART size_t first_of_rank(enum rank rank, const float *coefficient, const float *least, size_t count)
{
    enum { COMPARED = 2 * LANES };
    size_t i = 0;
    for (; count - i >= COMPARED; i += COMPARED) {
        unsigned found = 0;
        for (size_t k = 0; k < COMPARED; k++)
            found |= rank_score(rank, coefficient[i + k]) >= least[i + k];
        if (found)
            break;
    }
    while (i < count && !(rank_score(rank, coefficient[i]) >= least[i]))
        i++;
    return i;
}

KERNEL static size_t first_at_least(enum rank rank, const float *coefficient, const float *least,
                                    size_t count)
{
    if (rank == RANK_ABS)
        return first_of_rank(RANK_ABS, coefficient, least, count);
    if (rank_is_negative(rank))
        return first_of_rank(RANK_MIN, coefficient, least, count);
    return first_of_rank(RANK_VALUE, coefficient, least, count);
}

size_t topk_first_wanted(const struct topk *topk, size_t list, const float *coefficient, size_t count)
{
    return first_at_least(list_rank(topk, list), coefficient, topk->least + list, count);
}

void topk_offer(struct topk *topk, size_t list, float coefficient, uint64_t sentence, uint32_t position,
                const float *path, const uint32_t *tokens, size_t length, struct topk_sentence **shared)
{
    struct heap *heap = &topk->heap[list];
    const struct topk_place place = {list_score(topk, list, coefficient), sentence, position};
    if (!topk_wants(topk, list, coefficient)
        || (heap->held == topk->t && !topk_is_better(place, place_of(&heap->prefix[0]))))
        return;
    if (!*shared) {
        *shared = new_struct(sizeof **shared, length, sizeof *tokens);
        (*shared)->sentence = sentence;
        (*shared)->references = 1;
        (*shared)->length = length;
        memcpy((*shared)->token, tokens, length * sizeof *tokens);
    }
    struct prefix prefix = {place.score, position & INT32_MAX, coefficient < 0, *shared, NULL};
    prefix.text->references++;
    if (path) {
        prefix.path = new_array(position, sizeof *path);
        memcpy(prefix.path, path, position * sizeof *path);
    }
    if (heap->held < topk->t) {
        heap->prefix = reserve_at_most(heap->prefix, &heap->capacity, heap->held + 1, topk->t, sizeof prefix);
        worst_push(heap->prefix, heap->held++, prefix);
    } else {
        give_up(&heap->prefix[0]);
        worst_replace(heap->prefix, heap->held, prefix);
    }
    if (heap->held == topk->t)
        topk->least[list] = heap->prefix[0].score;
}

static int best_first(const void *a, const void *b)
{
    return is_better(a, b) ? -1 : is_better(b, a) ? 1 : 0;
}

/* Up to count tokens behind the next one, to following, which has room for so many. */
static void copy_following(const struct prefix *prefix, uint32_t *following, size_t count)
{
    size_t begin = (size_t)prefix->position + 1;
    for (size_t i = 0; i < count; i++)
        following[i] = i < prefix->text->length - begin ? prefix->text->token[begin + i] : NO_FOLLOWING;
}

struct key_triggers topk_take(struct topk *topk, size_t list, size_t layer, size_t cell, size_t following,
                              bool paths)
{
    struct prefix *best = topk->heap[list].prefix;
    size_t count = topk->heap[list].held;
    struct key_triggers triggers = {.layer = layer, .cell = cell, .count = count,
                                    .following_tokens = following};
    if (count)
        qsort(best, count, sizeof *best, best_first);
    for (size_t i = 0; i < count; i++) {
        triggers.prefix_tokens += best[i].position;
        paths = paths && (best[i].path || !best[i].position);
    }
    unsigned groups = (following ? KEY_FOLLOWING : 0) | (paths ? KEY_PREFIX_COEFFICIENTS : 0);
    fields_allocate(key_fields, KEY_TRIGGERS | groups, &triggers);
    uint32_t *prefix = triggers.prefix;
    float *prefix_coefficient = triggers.prefix_coefficient;
    for (size_t i = 0; i < count; i++) {
        triggers.coefficient[i] = best[i].is_negative ? -best[i].score : best[i].score;
        triggers.sentence[i] = best[i].text->sentence;
        triggers.position[i] = best[i].position;
        triggers.next[i] = best[i].text->token[best[i].position];
        if (best[i].position)
            memcpy(prefix, best[i].text->token, best[i].position * sizeof *prefix);
        prefix += best[i].position;
        if (paths && best[i].position) {
            memcpy(prefix_coefficient, best[i].path, best[i].position * sizeof *prefix_coefficient);
            prefix_coefficient += best[i].position;
        }
        if (following)
            copy_following(&best[i], triggers.following + i * following, following);
        give_up(&best[i]);
    }
    free(best);
    topk->heap[list] = (struct heap){0};
    topk->least[list] = topk->lowest;
    return triggers;
}
