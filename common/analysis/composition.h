/*
 * The work of composition-stats: how a layer's output is made of its memories (paper, section
 * 5.1). A memory's token is top(v_i), or the least probable one where its coefficient is negative,
 * found once for a model by project-values --all; or top(m_i v_i), found anew for each prefix. A
 * thread's unit of work is some layers of one batch.
 */
#ifndef FFKV_COMPOSITION_H
#define FFKV_COMPOSITION_H

#include "analysis/activity.h"
#include "analysis/composition_sums.h"
#include "analysis/statistic.h"
#include "model/projection.h"
#include "model/value_tokens.h"

struct composing {
    struct statistic common;
    const char *values;        /* the file of values; NULL: each memory is projected with its coefficient */
    enum projection_norm norm; /* of memories and outputs; composition_prepare takes that of the values */
    struct activity active;    /* which memories are; composition_prepare takes what is not given */
    bool rank_given, size_given; /* its rank; its threshold or relative */
    const char *thresholds;    /* the file of thresholds; NULL: active has none */
    double percentile;         /* that they are */
    struct thresholds of_keys; /* read by composition_prepare; the caller frees them */
    uint64_t short_tokens;     /* prefixes of fewer tokens are short */
    struct value_tokens value_tokens; /* of the file; the caller frees them */
    struct activations_batch batch;
    bool in_batch;
};

/* Parts of a struct statistic_kind; composing is a struct composing. */
void composition_prepare(void *composing);
void composition_begin(void *composing, struct stream_reader *input);
extern const struct ordered_work composition_work;

#endif
