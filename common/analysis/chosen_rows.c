#include "analysis/chosen_rows.h"

#include "base/hash.h"
#include "base/messages.h"
#include "stream/fields.h"
#include "stream/records.h"

#include <stdlib.h>
#include <string.h>

/* The positions of a sentence from from on, below to. */
struct range {
    uint32_t from, to;
};

static struct range choose(const struct row_rule *rule, const struct batch *batch, size_t s)
{
    uint32_t length = batch->length[s];
    if (!rule->random)
        return (struct range){batch_lowest(batch), length};
    if (length <= rule->first) /* no prefix in it */
        return (struct range){length, length};
    uint32_t position = rule->first
        + (uint32_t)(hash_random(rule->seed, batch_sentence(batch, s), 0) % (length - rule->first));
    return (struct range){position, position + 1};
}

static void reserve(struct activations_batch *batch, struct chosen_rows *chosen)
{
    size_t most = batch->tokens.tokens;
    fields_reserve(rows_fields, 0, "rows", &chosen->capacity, most, batch);
    chosen->index = grow_array(chosen->index, most, sizeof *chosen->index);
    chosen->next = grow_array(chosen->next, most, sizeof *chosen->next);
}

static void begin_cut(struct chosen_rows *chosen, const struct batch *batch)
{
    struct batch *cut = &chosen->cut;
    cut->length = grow_array(cut->length, batch->sentences, sizeof *cut->length);
    cut->token = grow_array(cut->token, batch->tokens, sizeof *cut->token);
    cut->id = batch->id;
    cut->bos = batch->bos;
    cut->sentences = cut->tokens = 0;
    chosen->computed = cut;
}

/* A sentence up to its position, since a position depends on those before it only. */
static void add_cut(struct batch *cut, const uint32_t *tokens, uint32_t length)
{
    memcpy(cut->token + cut->tokens, tokens, length * sizeof *tokens);
    cut->length[cut->sentences++] = length;
    cut->tokens += length;
}

void rows_choose(const struct row_rule *rule, struct activations_batch *batch, struct chosen_rows *chosen)
{
    const struct batch *all = &batch->tokens;
    const uint32_t *tokens = all->token;
    uint32_t start = 0, lowest = batch_lowest(all); /* the sentence's first row among the computed ones */
    reserve(batch, chosen);
    chosen->computed = all;
    if (rule->cut)
        begin_cut(chosen, all);
    batch->rows = 0;
    for (uint32_t s = 0; s < all->sentences; tokens += all->length[s], s++) {
        struct range range = choose(rule, all, s);
        for (uint32_t j = range.from; j < range.to; j++, batch->rows++) {
            batch->row_sentence[batch->rows] = s;
            batch->row_position[batch->rows] = j;
            chosen->index[batch->rows] = start + j - lowest;
            chosen->next[batch->rows] = tokens[j]; /* w_{j+1} */
        }
        if (rule->cut && range.from < range.to)
            add_cut(&chosen->cut, tokens, range.to);
        start = (uint32_t)(rule->cut ? batch_positions(&chosen->cut) : start + sentence_positions(all, s));
    }
}

static void add_edited(struct edited_rows *rows, size_t row, uint64_t sentence, uint32_t position)
{
    rows->row[rows->count] = (uint32_t)row;
    rows->sentence[rows->count] = sentence;
    rows->position[rows->count++] = position;
}

void rows_edited(const struct row_rule *rule, const struct activations_batch *batch,
                 const struct chosen_rows *chosen, bool last, struct edited_rows *rows)
{
    const struct batch *computed = chosen->computed;
    bool is_cut = computed == &chosen->cut, is_chosen = last && rule->random;
    rows->row = grow_array(rows->row, computed->tokens, sizeof *rows->row);
    rows->sentence = grow_array(rows->sentence, computed->tokens, sizeof *rows->sentence);
    rows->position = grow_array(rows->position, computed->tokens, sizeof *rows->position);
    rows->token = grow_array(rows->token, computed->tokens, sizeof *rows->token);
    rows->count = 0;
    for (size_t r = 0; is_chosen && r < batch->rows; r++)
        add_edited(rows, chosen->index[r], batch_sentence(&batch->tokens, batch->row_sentence[r]),
                   batch->row_position[r]);
    const uint32_t lowest = batch_lowest(computed);
    for (size_t s = 0, row = 0; !is_chosen && s < computed->sentences; s++) {
        uint64_t sentence = batch_sentence(&batch->tokens, is_cut ? batch->row_sentence[s] : s);
        for (uint32_t j = lowest; j < computed->length[s]; j++, row++)
            if (!last || j + 1 == computed->length[s])
                add_edited(rows, row, sentence, j);
    }
}

void edited_rows_free(struct edited_rows *rows)
{
    free(rows->row);
    free(rows->sentence);
    free(rows->position);
    free(rows->token);
}

const float *rows_select(const struct chosen_rows *chosen, size_t count, const float *matrix, size_t width,
                         const size_t *cells, size_t cell_count, float **selected)
{
    if (!cells && count == batch_positions(chosen->computed))
        return matrix;
    size_t columns = cells ? cell_count : width;
    *selected = grow_array(*selected, matrix_count(count, columns), sizeof(float));
    for (size_t r = 0; r < count; r++) {
        const float *from = matrix + chosen->index[r] * width;
        float *to = *selected + r * columns;
        if (!cells)
            memcpy(to, from, width * sizeof *to);
        else
            for (size_t i = 0; i < cell_count; i++)
                to[i] = from[cells[i]];
    }
    return *selected;
}

void chosen_rows_free(struct chosen_rows *chosen)
{
    free(chosen->index);
    free(chosen->next);
    batch_free(&chosen->cut);
}
