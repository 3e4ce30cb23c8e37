/*
 * The work of refinement-stats: what residuals, blocks and outputs of all layers predict
 * (paper, section 5.2), and the predictions that the last layer changes, which it lists.
 * A thread's unit of work is a batch.
 */
#ifndef FFKV_REFINEMENT_H
#define FFKV_REFINEMENT_H

#include "analysis/changes.h"
#include "analysis/refinement_sums.h"
#include "analysis/statistic.h"
#include "model/projection.h"

struct refining {
    struct statistic common;
    enum projection_norm norm; /* of blocks' outputs; residuals have the final norm always */
};

/* Parts of a struct statistic_kind; refining is a struct refining. */
void refinement_prepare(void *refining);
extern const struct ordered_work refinement_work;

/* Ends the program where the stream lacks a layer. */
void refinement_check_layers(const struct refining *refining, const struct stream_reader *input);

#endif
