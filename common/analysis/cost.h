/*
 * What an experiment takes: estimates of memory and time from a model's sizes, before anything is run.
 *
 * The experiment is that of pipelines/search.sh and pipelines/triggers.sh: forward-dump, topk-keys and
 * project-values, in one pipeline at the same time. What is counted is what grows with the model or the text;
 * the formulas are in model-info(1).
 */
#ifndef FFKV_COST_H
#define FFKV_COST_H

#include "analysis/window_memory.h"
#include "model/config.h"

#include <jansson.h>
#include <stdint.h>

struct cost_case {
    const struct model_config *config;
    struct memory_case memory;       /* the model's sizes; the rest is filled in */
    uint64_t tokens, top, threads;   /* of the text; triggers a key */
    double rate;                     /* operations a second of one thread */
};

/* An object of numbers; names of members end with their unit. */
json_t *cost_estimate(const struct cost_case *cost);

/*
 * Operations a second of one thread, measured by products of a batch with a matrix of the shape of
 * the model's keys, or of a part of it, which the files have as bfloats, or not. Takes half a second. Call
 * matrix_start and matrix_settle before.
 */
double cost_measure_rate(const struct model_config *config, bool bfloats);

#endif
