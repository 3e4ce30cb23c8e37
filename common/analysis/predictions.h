/* What the model predicts: to be written, or without edits, where a rule of edits asks for it. */
#ifndef FFKV_PREDICTIONS_H
#define FFKV_PREDICTIONS_H

#include "model/forward.h"
#include "model/projection.h"
#include "model/removals.h"

#include <msgpack.h>

/*
 * Packs a record of predictions (stream/activations.h): of the model's outputs (rows x d_model) before the
 * final norm, the most probable candidate, and what the next token, which is given, got.
 */
void predictions_pack(const struct model *model, struct projection *projection, const float *outputs,
                      const uint32_t *next, size_t rows, msgpack_sbuffer *buffer);

/*
 * The most probable candidate at each of these rows of the batch, to rows->token: a forward pass of its
 * own, after which forward is free for the next one.
 */
void predict_plain(const struct model *model, struct forward *forward, struct projection *projection,
                   const struct batch *batch, struct edited_rows *rows);

/* The last part of it, after the last layer. */
void predict_rows(const struct model *model, struct forward *forward, struct projection *projection,
                  struct edited_rows *rows);

#endif
