#include "analysis/trigger_merge.h"

#include "analysis/topk.h"
#include "base/heap.h"
#include "base/messages.h"
#include "base/order.h"

#include <stdlib.h>
#include <string.h>

/* The best trigger of an input that was not taken yet, or one that was. */
struct candidate {
    float score;
    uint64_t sentence;
    uint32_t position;
    size_t input;
    struct prefix_walk prefix; /* at the trigger's */
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    return topk_is_better((struct topk_place){a->score, a->sentence, a->position},
                          (struct topk_place){b->score, b->sentence, b->position});
}

DEFINE_HEAP(best, struct candidate, is_better);

/* Goes on to the next trigger of its list; false: there is none. */
static bool advance(struct candidate *candidate, enum rank rank, const struct key_triggers *list)
{
    if (!prefix_next(&candidate->prefix))
        return false;
    size_t i = candidate->prefix.index;
    candidate->score = rank_score(rank, list->coefficient[i]);
    candidate->sentence = list->sentence[i];
    candidate->position = list->position[i];
    return true;
}

/* The best ones of all lists, at most most, best first. Returns how many. */
static size_t choose(enum rank rank, const struct key_triggers *lists, size_t count, size_t most,
                     struct candidate *chosen)
{
    struct candidate *heap = new_array(count, sizeof *heap);
    size_t held = 0, taken = 0;
    for (size_t i = 0; i < count; i++) {
        struct candidate candidate = {.input = i, .prefix = key_prefixes(&lists[i], lists[i].count)};
        if (advance(&candidate, rank, &lists[i]))
            best_push(heap, held++, candidate);
    }
    while (held && taken < most) {
        struct candidate next = chosen[taken++] = heap[0];
        if (advance(&next, rank, &lists[next.input]))
            best_replace(heap, held, next);
        else
            best_pop(heap, held--);
    }
    free(heap);
    return taken;
}

static int by_place(const void *a, const void *b)
{
    const struct candidate *left = *(const struct candidate *const *)a;
    const struct candidate *right = *(const struct candidate *const *)b;
    int order = compare_numbers(left->sentence, right->sentence);
    return order ? order : compare_numbers(left->position, right->position);
}

static struct trigger_twice find_twice(const struct candidate *chosen, size_t count, bool every)
{
    struct trigger_twice twice = {0};
    const struct candidate **sorted = new_array(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &chosen[i];
    if (count)
        qsort(sorted, count, sizeof *sorted, by_place);
    for (size_t i = 1; i < count && !twice.found; i++)
        if (sorted[i]->sentence == sorted[i - 1]->sentence
            && (!every || sorted[i]->position == sorted[i - 1]->position))
            twice = (struct trigger_twice){true, sorted[i]->sentence, sorted[i]->input, sorted[i - 1]->input};
    free(sorted);
    return twice;
}

static void copy_trigger(const struct candidate *from, const struct key_triggers *list, size_t to,
                         size_t prefix_at, struct key_triggers *merged)
{
    size_t i = from->prefix.index, length = from->prefix.length, following = merged->following_tokens;
    merged->coefficient[to] = list->coefficient[i];
    merged->sentence[to] = list->sentence[i];
    merged->position[to] = list->position[i];
    merged->next[to] = list->next[i];
    if (length)
        memcpy(merged->prefix + prefix_at, from->prefix.token, length * sizeof *merged->prefix);
    if (length && merged->prefix_coefficient)
        memcpy(merged->prefix_coefficient + prefix_at, prefix_coefficients(list, &from->prefix),
               length * sizeof *merged->prefix_coefficient);
    if (following)
        memcpy(merged->following + to * following, list->following + i * following,
               following * sizeof *merged->following);
}

struct trigger_twice trigger_merge(const struct trigger_merge *merge, enum rank rank,
                                   const struct key_triggers *lists, size_t count,
                                   struct key_triggers *merged)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += lists[i].count; /* each is in memory */
    size_t most = all < merge->top ? all : merge->top;
    struct candidate *chosen = new_array(most, sizeof *chosen);
    *merged = (struct key_triggers){.layer = lists[0].layer, .cell = lists[0].cell, .lists = lists[0].lists,
                                    .list = lists[0].list, .following_tokens = merge->following};
    merged->count = choose(rank, lists, count, most, chosen);
    for (size_t i = 0; i < merged->count; i++)
        merged->prefix_tokens += chosen[i].position;
    fields_allocate(key_fields, KEY_TRIGGERS | (merge->following ? KEY_FOLLOWING : 0)
                                    | (merge->paths ? KEY_PREFIX_COEFFICIENTS : 0), merged);
    for (size_t i = 0, at = 0; i < merged->count; at += chosen[i].position, i++)
        copy_trigger(&chosen[i], &lists[chosen[i].input], i, at, merged);
    struct trigger_twice twice = find_twice(chosen, merged->count, merge->every);
    free(chosen);
    return twice;
}
