/*
 * A batch on its way through a model's layers: what it has from the first to the last, besides a thread's
 * state of the forward pass.
 */
#ifndef FFKV_PASSING_BATCH_H
#define FFKV_PASSING_BATCH_H

#include "analysis/chosen_rows.h"
#include "analysis/sentence_keys.h"
#include "model/edits.h"
#include "model/forward.h"
#include "stream/activations.h"
#include "stream/waiting_records.h"

/* {0} at first; its memory serves one batch after the other. */
struct passing_batch {
    struct activations_batch batch; /* rows: positions that are written one by one */
    uint64_t number;                /* from 0 */
    size_t written;                 /* of the layers that are: those that it has passed */
    struct chosen_rows chosen;      /* the rows' positions, and what of the batch is computed */
    struct edited_rows edited;      /* where coefficients are edited */
    struct sentence_keys keys;      /* of sentences that have keys */
    struct key_coefficients after;  /* what became of their coefficients */
    size_t key_capacity;
    float *best;                    /* with leaders: layers x sentences x lists x cells: maxima */
    float *residual;                /* positions x d_model, between two layers of a window */
    struct waiting_records waiting; /* in a window */
};

void passing_free(struct passing_batch *passing);

/* Reads the batch that the record has, and, if asked for, its sentences' keys, of so many changes. */
void passing_read(struct passing_batch *passing, const struct record *record,
                  const struct model_config *config, uint64_t number, bool keys, size_t changes);

/* Packs its tokens record, with its rows or keys, if asked for. Chooses rows for these, or for the rule. */
void passing_begin(struct passing_batch *passing, const struct row_rule *rule, bool rows, bool keys,
                   msgpack_sbuffer *buffer);

/* Finds where coefficients are edited; after passing_begin. */
void passing_find_edited(struct passing_batch *passing, const struct row_rule *rule,
                         const struct edits *edits);

/* The last layer of its sentences' keys. */
size_t passing_last_key(const struct passing_batch *passing);

/* Of sentences whose key is of this layer: its coefficient at the last position, if any; else 0. */
void passing_take_keys(struct passing_batch *passing, const struct forward *forward, size_t layer,
                       size_t d_ff);

/* Between two layers of a window: forward begins the batch, or goes on with it, before layer; after it. */
void passing_enter(struct passing_batch *passing, struct forward *forward, size_t layer);
void passing_leave(struct passing_batch *passing, struct forward *forward, size_t layer, size_t d_model);

#endif
