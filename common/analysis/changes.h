/*
 * Predictions that the last layer changed (paper, section 5.2), of one batch, and their
 * record in a stream of refinement's sums; ffkv-stream(5) defines it.
 */
#ifndef FFKV_CHANGES_H
#define FFKV_CHANGES_H

#include "model/projection.h"
#include "stream/merging.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

struct changes {
    size_t count, capacity, prefix_tokens, prefix_capacity;
    uint64_t *sentence;    /* count */
    uint32_t *position;    /* count: tokens of the prefix */
    uint32_t *old, *new;   /* count */
    float *p_old, *p_new;  /* count: p(r^L) of old, p(o^L) of new */
    uint32_t *prefix;      /* prefix_tokens: the prefixes' tokens in a row */
};

/*
 * Adds the prefix, position tokens, at which the last layer's residual predicts one token
 * and the model's output another.
 */
void changes_add(struct changes *changes, uint64_t sentence, uint32_t position, const uint32_t *prefix,
                 const struct projection_question *residual, const struct projection_question *output);
void changes_free(struct changes *changes);

/* Their record, which has at least one. */
extern const struct field changes_fields[];

/* Reads and checks such a record, for a merge: a struct changes in memory of its own, and what frees it. */
struct listed changes_listed(const struct record *record, const struct model_shape *shape);
void changes_listed_free(void *changes);

#endif
