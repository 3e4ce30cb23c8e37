/*
 * Memories that are removed by a rule, at each position others: those of a layer with the greatest
 * contributions |m_i| |v_i| to its output, of all or of those that agree with the model's prediction,
 * or random ones. Their coefficients become 0.
 *
 * LAYER:RULE=N. LAYER counts from 1, or is *, all. RULE is top, agreeing or random; N is how many are
 * removed of those whose coefficient is not 0.
 */
#ifndef FFKV_REMOVALS_H
#define FFKV_REMOVALS_H

#include "base/cli.h"
#include "model/candidates.h"
#include "model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Positions of a batch, and the rows of its matrices that are theirs. */
struct edited_rows {
    size_t count;
    uint32_t *row;      /* count */
    uint64_t *sentence; /* count: its number in the corpus */
    uint32_t *position; /* count */
    uint32_t *token;    /* count: the plain model's prediction, where it is needed */
};

struct removals;

/*
 * Of the option's lists, separated by commas; NULL: there are none. What is malformed, of a layer that the
 * model does not have, or twice of the same layer ends the program with status 2.
 */
struct removals *removals_read(const struct option_texts *lists, const struct model *model, uint64_t seed);
void removals_free(struct removals *removals);

/*
 * Whether a rule asks for the plain model's predictions, rows->token; it asks for the tokens that values
 * promote, too, which are read once from the stream at path, with these candidates.
 */
bool removals_need_predictions(const struct removals *removals);
void removals_read_values(struct removals *removals, const char *path, const struct model *model,
                          const struct candidates *candidates);

/* Of the layers that they are in, the last. */
size_t removals_last_layer(const struct removals *removals);

/*
 * Removes a layer's from coefficient (positions x d_ff), in these rows. Equal contributions: the lower
 * cell. Random ones are a function of the seed, the sentence's number, the position and the layer.
 */
void removals_apply(const struct removals *removals, size_t layer, const struct edited_rows *rows,
                    float *coefficient);

/* Adds them to the map that tells a stream's edits, as ffkv-stream(5) has it. */
void removals_set_json(json_t *edits, const struct removals *removals);

#endif
