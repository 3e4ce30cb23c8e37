/* What the model predicts without edits, where a rule of edits asks for it. */
#ifndef FFKV_PLAIN_PREDICTIONS_H
#define FFKV_PLAIN_PREDICTIONS_H

#include "model/forward.h"
#include "model/projection.h"
#include "model/removals.h"

/*
 * The most probable candidate at each of these rows of the batch, to rows->token: a forward pass of its
 * own, after which forward is free for the next one.
 */
void predict_plain(const struct model *model, struct forward *forward, struct projection *projection,
                   const struct batch *batch, struct edited_rows *rows);

#endif
