#include "analysis/passing_batch.h"

#include "base/messages.h"
#include "stream/fields.h"

#include <stdlib.h>

void passing_free(struct passing_batch *passing)
{
    fields_free(key_coefficients_fields, &passing->after);
    activations_batch_free(&passing->batch);
    chosen_rows_free(&passing->chosen);
    edited_rows_free(&passing->edited);
    waiting_free(&passing->waiting);
    free(passing->best);
    free(passing->residual);
}

void passing_read(struct passing_batch *passing, const struct record *record,
                  const struct model_config *config, uint64_t number, bool keys, size_t changes)
{
    passing->batch.tokens = batch_read(record, config->vocabulary);
    passing->number = number;
    if (!keys)
        return;
    size_t sentences = passing->batch.tokens.sentences;
    passing->keys = sentence_keys_read(record, sentences, config->layers, config->d_ff, changes);
    passing->after.sentences = sentences;
    fields_reserve(key_coefficients_fields, 0, "sentences", &passing->key_capacity, sentences,
                   &passing->after);
}

void passing_begin(struct passing_batch *passing, const struct row_rule *rule, bool rows, bool keys,
                   msgpack_sbuffer *buffer)
{
    const struct batch *tokens = &passing->batch.tokens;
    struct record_part parts[2] = {{batch_fields, batch_groups(tokens), tokens}};
    passing->chosen.computed = tokens;
    passing->written = 0;
    if (rows || rule->random) /* edits may be at random positions that are not written */
        rows_choose(rule, &passing->batch, &passing->chosen);
    if (rows || keys)
        parts[1] = rows ? (struct record_part){rows_fields, 0, &passing->batch}
                        : (struct record_part){sentence_keys_fields, 0, &passing->keys};
    record_pack(buffer, parts, rows || keys ? 2 : 1);
}

void passing_find_edited(struct passing_batch *passing, const struct row_rule *rule,
                         const struct edits *edits)
{
    rows_edited(rule, &passing->batch, &passing->chosen, edits_at(edits) == EDIT_LAST, &passing->edited);
}

size_t passing_last_key(const struct passing_batch *passing)
{
    size_t last = 0;
    for (size_t s = 0; s < passing->batch.tokens.sentences; s++)
        last = passing->keys.layer[s] > last ? passing->keys.layer[s] : last;
    return last;
}

void passing_take_keys(struct passing_batch *passing, const struct forward *forward, size_t layer,
                       size_t d_ff)
{
    const float *coefficient = forward_coefficient(forward);
    const struct batch *tokens = &passing->batch.tokens;
    size_t row = 0;
    for (size_t s = 0; s < tokens->sentences; s++) {
        size_t positions = sentence_positions(tokens, s);
        row += positions;
        if (passing->keys.layer[s] == layer)
            passing->after.coefficient[s] =
                positions ? coefficient[(row - 1) * d_ff + passing->keys.cell[s]] : 0;
    }
}

void passing_enter(struct passing_batch *passing, struct forward *forward, size_t layer)
{
    if (layer == 0)
        forward_begin(forward, passing->chosen.computed);
    else
        forward_resume(forward, passing->chosen.computed, passing->residual);
}

void passing_leave(struct passing_batch *passing, struct forward *forward, size_t layer, size_t d_model)
{
    size_t count = matrix_count(batch_positions(passing->chosen.computed), d_model);
    passing->residual = grow_array(passing->residual, count, sizeof *passing->residual);
    forward_pause(forward, layer, passing->residual);
}
