#include "analysis/leaders.h"

#include "base/heap.h"
#include "base/messages.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * Epochs of batches: 0-1, 2-3, 4-7, 8-15, .. and, from batch 2^LAST_DOUBLING on, of 2^LAST_DOUBLING each.
 * A batch of epoch e is told what was known at the end of epoch e - 2: soon after the beginning, and so
 * long before that threads hardly ever wait for it.
 */
enum { LAST_DOUBLING = 6 };

struct leaders {
    size_t layers, cells, top;
    struct ranks ranks;
    float *score;   /* lists of keys x top: a heap of each one's best scores, the worst of them on top */
    size_t *held;   /* lists of keys: scores in it */
    float *least;   /* lists of keys: what a score must exceed to be among them */
    float *told[2]; /* lists of keys: least at the end of an epoch with an even, and with an odd number */
    uint64_t ended; /* epochs */
    pthread_mutex_t lock; /* of ended */
    pthread_cond_t end;   /* of an epoch */
};

static uint64_t epoch_of(uint64_t batch)
{
    if (batch >> LAST_DOUBLING)
        return (batch >> LAST_DOUBLING) + LAST_DOUBLING - 1;
    uint64_t epoch = 0;
    while (batch >> epoch > 1)
        epoch++;
    return epoch;
}

struct leaders *leaders_new(size_t layers, const struct ranks *ranks, size_t cells, size_t top)
{
    struct leaders *leaders = new_array(1, sizeof *leaders);
    size_t keys = matrix_count(layers, matrix_count(cells, ranks->count)); /* lists of keys */
    *leaders = (struct leaders){.layers = layers, .cells = cells, .top = top, .ranks = *ranks,
                                .score = new_array(matrix_count(keys, top), sizeof(float)),
                                .held = new_array(keys, sizeof(size_t)),
                                .least = new_array(keys, sizeof(float)),
                                .told = {new_array(keys, sizeof(float)), new_array(keys, sizeof(float))}};
    if (pthread_mutex_init(&leaders->lock, NULL) != 0 || pthread_cond_init(&leaders->end, NULL) != 0)
        die("cannot make a lock");
    return leaders;
}

void leaders_free(struct leaders *leaders)
{
    free(leaders->score);
    free(leaders->held);
    free(leaders->least);
    free(leaders->told[0]);
    free(leaders->told[1]);
    pthread_mutex_destroy(&leaders->lock);
    pthread_cond_destroy(&leaders->end);
    free(leaders);
}

static bool is_known(const struct leaders *leaders, uint64_t batch)
{
    return leaders->ended + 1 >= epoch_of(batch);
}

void leaders_wait(struct leaders *leaders, uint64_t batch)
{
    pthread_mutex_lock(&leaders->lock);
    while (!is_known(leaders, batch))
        pthread_cond_wait(&leaders->end, &leaders->lock);
    pthread_mutex_unlock(&leaders->lock);
}

bool leaders_known(struct leaders *leaders, uint64_t batch)
{
    pthread_mutex_lock(&leaders->lock);
    bool known = is_known(leaders, batch);
    pthread_mutex_unlock(&leaders->lock);
    return known;
}

const float *leaders_least(const struct leaders *leaders, uint64_t batch, size_t layer)
{
    return leaders->told[epoch_of(batch) % 2] + layer * leaders->ranks.count * leaders->cells;
}

static bool is_less(const float *a, const float *b)
{
    return *a < *b;
}

DEFINE_HEAP(scores, float, is_less);

/* A score above the least of the list of a key. */
static void add_score(struct leaders *leaders, size_t key, float score)
{
    float *heap = leaders->score + key * leaders->top;
    if (leaders->held[key] < leaders->top)
        scores_push(heap, leaders->held[key]++, score);
    else
        scores_replace(heap, leaders->top, score);
    if (leaders->held[key] == leaders->top)
        leaders->least[key] = heap[0];
}

void leaders_add(struct leaders *leaders, uint64_t batch, const float *best, size_t sentences)
{
    size_t cells = leaders->cells, lists = leaders->ranks.count;
    for (size_t layer = 0; layer < leaders->layers; layer++)
        for (size_t s = 0; s < sentences; s++)
            for (size_t l = 0; l < lists; l++, best += cells)
                for (size_t i = 0, key = (layer * lists + l) * cells; i < cells; i++, key++) {
                    float score = rank_score(leaders->ranks.rank[l], best[i]);
                    if (score > leaders->least[key]) /* which is 0 at first */
                        add_score(leaders, key, score);
                }
    uint64_t epoch = epoch_of(batch);
    if (epoch == epoch_of(batch + 1))
        return;
    memcpy(leaders->told[epoch % 2], leaders->least,
           leaders->layers * lists * cells * sizeof *leaders->least);
    pthread_mutex_lock(&leaders->lock);
    leaders->ended++;
    pthread_cond_broadcast(&leaders->end);
    pthread_mutex_unlock(&leaders->lock);
}
