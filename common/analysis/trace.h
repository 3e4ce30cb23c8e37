/*
 * A trace of prompts: what residual, feed-forward block and their sum predict at each layer, at
 * each prompt's last position or at all (paper, sections 5.1 and 5.2), and the memories that
 * contribute most to the block's output, trace_memories.h. One batch is in memory at a time.
 */
#ifndef FFKV_TRACE_H
#define FFKV_TRACE_H

#include "analysis/trace_memories.h"
#include "model/candidates.h"
#include "model/projection.h"
#include "stream/activations.h"

struct trace_options {
    size_t tops;      /* tokens listed of each distribution */
    size_t memories;  /* of each layer at each position; 0: none, and coefficients are not read */
    bool all;         /* positions; or each prompt's last one */
    enum projection_norm norm; /* of blocks' outputs and values; residuals and sums have the final norm */
    size_t threads;
};

/* The distributions of a layer at a position: p(r^l), p(y^l), p(o^l). */
enum { TRACE_RESIDUAL, TRACE_FFN, TRACE_OUTPUT, TRACE_VECTORS };

/* A value that memories of the batch have. */
struct trace_value {
    size_t layer, cell;
};

/* Of one batch. A cell of the trace is a layer at a row: index layer * rows + row. */
struct trace {
    struct batch tokens;
    size_t layers, rows;
    uint32_t *sentence;     /* rows: within the batch, rising */
    uint32_t *position;     /* rows: rising within a sentence */
    uint32_t *final;        /* rows: the most probable token of o^L */
    size_t tops;
    uint32_t *token;        /* TRACE_VECTORS x cells x tops: the most probable ones, best first */
    float *probability;     /* the same */
    double *ffn_logit;      /* cells: what y^l adds to the final token's logit; NaN: not defined */
    size_t memories;
    size_t *memory_count;   /* cells: how many of memories there are */
    struct trace_memory *memory; /* cells x memories: those that contribute most, falling */
    struct trace_value *value;   /* values: by layer and cell, each once */
    size_t values;
    uint32_t *value_top;    /* values x tops: the most probable tokens, best first */
    uint32_t *value_bottom; /* values x tops: the least probable ones, the last of all first */
};

struct tracer;

/* All are used until the end. The activations must be of prompts, and have all layers and positions. */
struct tracer *tracer_new(const struct model *model, const struct candidates *candidates,
                          struct activations_reader *activations, const struct trace_options *options);

/* The next batch's, until the next call; NULL: the end. */
const struct trace *tracer_next(struct tracer *tracer);
void tracer_free(struct tracer *tracer);

/* The tokens of a cell's distribution: `tops` of them, and their probabilities. */
const uint32_t *trace_tokens(const struct trace *trace, int vector, size_t cell);
const float *trace_probabilities(const struct trace *trace, int vector, size_t cell);

/* Which CASE_ of refinement_sums.h a cell is. */
int trace_case(const struct trace *trace, size_t cell);

/* A value's index among the trace's, which has it. */
size_t trace_value_index(const struct trace *trace, size_t layer, size_t cell);

#endif
