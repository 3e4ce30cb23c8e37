/*
 * Which sentences may be among the best of a key, while more of them come: those whose score is not below
 * that of the t best so far. What is told for a batch depends on the batches before it alone, and not on
 * which of them other threads have finished.
 */
#ifndef FFKV_LEADERS_H
#define FFKV_LEADERS_H

#include "stream/records.h"

#include <stdbool.h>

struct leaders;

/* Of layers x lists x cells, the lists being those of ranks, the top best of each. */
struct leaders *leaders_new(size_t layers, const struct ranks *ranks, size_t cells, size_t top);
void leaders_free(struct leaders *leaders);

/* Waits until it is known what batch number batch, from 0, is told: before leaders_least. */
void leaders_wait(struct leaders *leaders, uint64_t batch);

/* Whether it is known. */
bool leaders_known(struct leaders *leaders, uint64_t batch);

/* For that batch: the score that a sentence must have at least (lists x cells), of a layer's keys. */
const float *leaders_least(const struct leaders *leaders, uint64_t batch, size_t layer);

/*
 * Adds a batch: each sentence's best coefficients (layers x sentences x lists x cells). One batch after the
 * other, in order, while other threads are at later ones; none is at this one any more.
 */
void leaders_add(struct leaders *leaders, uint64_t batch, const float *best, size_t sentences);

#endif
