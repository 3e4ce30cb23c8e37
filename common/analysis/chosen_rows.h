/*
 * Rows of a batch's activations: the positions that are written one by one, either all or one
 * random position a sentence, and what of the batch must be computed for them.
 */
#ifndef FFKV_CHOSEN_ROWS_H
#define FFKV_CHOSEN_ROWS_H

#include "model/removals.h"
#include "stream/activations.h"

struct row_rule {
    bool random;    /* one position a sentence, a function of seed and the sentence's number only; or all */
    uint32_t first; /* the lowest random position */
    uint64_t seed;
    bool cut;       /* nothing but random positions is wanted: what is behind them need not be computed */
};

struct chosen_rows {
    const struct batch *computed; /* the batch, or, where it is cut, each sentence up to its position */
    uint32_t *index; /* rows: the row of the computed batch's matrices */
    uint32_t *next;  /* rows: the token behind the prefix */
    struct batch cut;
    size_t capacity; /* in the batch's arrays by rows */
};

/* Chooses the rows of a batch whose tokens are there. chosen is 0 before the first batch. */
void rows_choose(const struct row_rule *rule, struct activations_batch *batch, struct chosen_rows *chosen);

/*
 * Positions of the computed batch, which is there, to rows, which keeps its memory: all, or each
 * sentence's last one, or, where positions are random, the chosen one of each.
 */
void rows_edited(const struct row_rule *rule, const struct activations_batch *batch,
                 const struct chosen_rows *chosen, bool last, struct edited_rows *rows);
void edited_rows_free(struct edited_rows *rows);

/*
 * The chosen rows, count of them, of a matrix (the computed batch's positions x width), and of these the
 * chosen cells where cells is not NULL: the matrix itself, or *selected, which grows.
 */
const float *rows_select(const struct chosen_rows *chosen, size_t count, const float *matrix, size_t width,
                         const size_t *cells, size_t cell_count, float **selected);

void chosen_rows_free(struct chosen_rows *chosen);

#endif
