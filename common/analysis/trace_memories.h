/*
 * The memories that contribute most to a feed-forward block's output. A memory's contribution is
 * m_i v_i, its size |m_i| ||v_i||. Where the model norms the block's output, v_i has the norm's gain,
 * and the contribution is divided by the norm's root mean square at the position, so that contributions
 * and bias always add up to y^l.
 */
#ifndef FFKV_TRACE_MEMORIES_H
#define FFKV_TRACE_MEMORIES_H

#include "model/model.h"

struct trace_memory {
    size_t cell;
    float coefficient; /* m_i */
    float scale;       /* of its contribution: 1, or 1 / root mean square of a norm behind the block */
    double size;       /* of its contribution */
    double share;      /* of the sum of all the layer's sizes */
    double logit;      /* what it adds to the final token's logit; NaN: not defined */
};

/* ||v_i|| of the layer's cells, d_ff numbers. */
void value_sizes(const struct model *model, size_t layer, float *sizes);

/*
 * 1 / root mean square of the norm behind the block at a position with these coefficients (d_ff); 1 where
 * there is no such norm. A norm that is not understood ends the program.
 */
float block_scale(const struct model *model, size_t layer, const float *coefficients);

/*
 * The `most` memories of the largest size, falling, equal ones by rising cell, without those whose size is 0;
 * logit is not set. Returns how many.
 */
size_t memories_choose(const float *coefficients, const float *sizes, size_t d_ff, float scale, size_t most,
                       struct trace_memory *memory);

/*
 * The vector (d_model) whose product with what is added to the residual is what that adds directly to the
 * logit of token, within its cluster and before a scale or a cap: output (d_model) is o^L, and the
 * statistics that the final norm has of it are held fixed. False where norms of later layers' sums lie
 * between: it is not defined.
 */
bool logit_direction(const struct model *model, const float *output, uint32_t token, float *direction);

/* What m_i v_i adds to the logit. value: d_model, for use here. */
double memory_logit(const struct model *model, size_t layer, const struct trace_memory *memory,
                    const float *direction, float *value);

#endif
