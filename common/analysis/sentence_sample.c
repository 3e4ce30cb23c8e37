#include "analysis/sentence_sample.h"

#include "base/hash.h"
#include "base/heap.h"
#include "base/messages.h"
#include "base/order.h"

#include <stdlib.h>
#include <string.h>

/* A binary heap with the largest number on top, the first to go. */
struct sentence_sample {
    size_t size, held, capacity;
    uint64_t seed;
    struct sampled_sentence *heap; /* capacity, of which held are there */
};

/* forward-dump draws a sentence's position with 0 in this place. */
enum { DRAW_SENTENCE = 1 };

struct sentence_sample *sentence_sample_new(size_t size, uint64_t seed)
{
    struct sentence_sample *sample = new_array(1, sizeof *sample);
    *sample = (struct sentence_sample){.size = size, .seed = seed};
    return sample;
}

void sentence_sample_free(struct sentence_sample *sample)
{
    for (size_t i = 0; i < sample->held; i++)
        free(sample->heap[i].token);
    free(sample->heap);
    free(sample);
}

/* Equal numbers: the sentence that comes later. */
static bool goes_first(const struct sampled_sentence *a, const struct sampled_sentence *b)
{
    return a->number != b->number ? a->number > b->number : a->sentence > b->sentence;
}

DEFINE_HEAP(last, struct sampled_sentence, goes_first);

void sentence_sample_offer(struct sentence_sample *sample, uint64_t sentence, const uint32_t *token,
                           size_t length, bool truncated)
{
    struct sampled_sentence offered = {hash_random(sample->seed, sentence, DRAW_SENTENCE), sentence, length,
                                       truncated, NULL};
    bool full = sample->held == sample->size;
    if (full && goes_first(&offered, &sample->heap[0]))
        return;
    offered.token = new_array(length, sizeof *token);
    memcpy(offered.token, token, length * sizeof *token);
    if (full) {
        free(sample->heap[0].token);
        last_replace(sample->heap, sample->held, offered);
        return;
    }
    sample->heap = reserve_at_most(sample->heap, &sample->capacity, sample->held + 1, sample->size,
                                   sizeof offered);
    last_push(sample->heap, sample->held++, offered);
}

static int by_place(const void *a, const void *b)
{
    const struct sampled_sentence *left = a, *right = b;
    return compare_numbers(left->sentence, right->sentence);
}

const struct sampled_sentence *sentence_sample_take(struct sentence_sample *sample, size_t *count)
{
    if (sample->held)
        qsort(sample->heap, sample->held, sizeof *sample->heap, by_place);
    *count = sample->held;
    return sample->heap;
}
