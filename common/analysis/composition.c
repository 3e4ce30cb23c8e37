#include "analysis/composition.h"

#include "base/input.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "stream/activations.h"
#include "stream/fields.h"
#include "stream/header_members.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <stdlib.h>
#include <string.h>

/* Layers of one batch, enough of them for large products: rows are prefixes that count, layer by layer. */
struct task {
    size_t rows;
    size_t *layer_index;        /* rows: of the layer among the stream's */
    uint32_t *position;         /* rows */
    float *coefficient;         /* rows x cells */
    float *ffn;                 /* rows x d_model */
};

/* What one thread has. */
struct worker {
    struct composing *composing;
    struct projection *projection;
    struct task task;
    struct projection_question *question; /* task.rows */
    bool *is_active;                      /* cells */
    uint32_t *tops;                       /* cells */
    struct composition_sums *sums;
};

/* ---- which layers ---- */

/* The next batch of the stream; its tokens are counted. */
static bool next_batch(struct composing *composing)
{
    struct activations_batch *batch = &composing->batch;
    struct activations_reader *activations = &composing->common.activations;
    struct composition_sums *sums = composing->common.sums;
    if (!activations_next_batch(activations, batch))
        return false;
    if (!batch->has_rows)
        stream_fail(activations->stream, "there are no rows: forward-dump --emit coef,ffn gives them");
    for (size_t i = 0; i < batch->tokens.tokens; i++)
        sums->tokens.count[batch->tokens.token[i]]++;
    input_count(stream_input(activations->stream), batch->tokens.sentences, "sentences");
    composing->in_batch = true;
    return true;
}

/* Appends what a layer's record has of the rows at positions that count. */
static void read_layer_rows(const struct composing *composing, const struct record *record, struct task *task)
{
    const struct activations_batch *batch = &composing->batch;
    const struct activations_reader *activations = &composing->common.activations;
    size_t cells = activations->cell_count, d_model = activations->shape.d_model;
    size_t most = task->rows + batch->rows;
    if (!record_has(record, "coef") || !record_has(record, "ffn"))
        stream_fail(record->reader, "the record lacks coef or ffn: forward-dump --emit coef,ffn gives them");
    task->layer_index = grow_array(task->layer_index, most, sizeof *task->layer_index);
    task->position = grow_array(task->position, most, sizeof *task->position);
    task->coefficient = grow_array(task->coefficient, matrix_count(most, cells), sizeof *task->coefficient);
    task->ffn = grow_array(task->ffn, matrix_count(most, d_model), sizeof *task->ffn);
    float *coefficient = task->coefficient + task->rows * cells, *ffn = task->ffn + task->rows * d_model;
    activations_copy(activations, batch, record, "coef", coefficient);
    activations_copy(activations, batch, record, "ffn", ffn);
    size_t kept = 0;
    for (size_t r = 0; r < batch->rows; r++) {
        if (batch->row_position[r] < activations->first)
            continue;
        task->layer_index[task->rows + kept] = batch->layers_seen - 1;
        task->position[task->rows + kept] = batch->row_position[r];
        memmove(coefficient + kept * cells, coefficient + r * cells, cells * sizeof *coefficient);
        memmove(ffn + kept * d_model, ffn + r * d_model, d_model * sizeof *ffn);
        kept++;
    }
    activations_check_finite(record, "coef", coefficient, kept * cells);
    activations_check_finite(record, "ffn", ffn, kept * d_model);
    task->rows += kept;
}

/* The next layers of the batch, or of the next one. */
static bool take_task(void *of_thread)
{
    enum { ENOUGH_ROWS = 128 };
    struct worker *worker = of_thread;
    struct composing *composing = worker->composing;
    struct activations_reader *activations = &composing->common.activations;
    struct task *task = &worker->task;
    struct record record;
    size_t layer;
    bool taken = false;
    task->rows = 0;
    while (!taken && (composing->in_batch || next_batch(composing))) {
        while (task->rows < ENOUGH_ROWS
               && activations_next_layer(activations, &composing->batch, &record, &layer)) {
            read_layer_rows(composing, &record, task);
            taken = true;
        }
        if (composing->batch.layers_seen == activations->layer_count) {
            activations_batch_free(&composing->batch);
            composing->in_batch = false;
        }
    }
    return taken;
}

/* ---- a prefix ---- */

/* Most probable tokens of vectors (count x d_model). */
static void ask_tops(struct projection *projection, const float *vectors,
                     struct projection_question *question, size_t count)
{
    for (size_t i = 0; i < count; i++)
        question[i] = (struct projection_question){.token = NO_TOKEN};
    projection_ask(projection, vectors, count, question);
}

/* top(m_i v_i) of the active memories of a prefix, each at its column of tops. */
static void project_scaled(const struct composing *composing, struct projection *projection, size_t layer,
                           const float *coefficient, const bool *is_active, uint32_t *tops)
{
    enum { AT_ONCE = 128 };
    const struct model *model = composing->common.model;
    size_t d_model = model->config.d_model, cells = composing->common.activations.cell_count;
    float *vectors = new_floats(matrix_count(AT_ONCE, d_model));
    struct projection_question question[AT_ONCE];
    size_t column[AT_ONCE], count = 0;
    for (size_t c = 0; c <= cells; c++) {
        if (count == AT_ONCE || (c == cells && count)) {
            projection_norm(model, composing->norm, vectors, count);
            ask_tops(projection, vectors, question, count);
            for (size_t i = 0; i < count; i++)
                tops[column[i]] = question[i].top;
            count = 0;
        }
        if (c == cells || !is_active[c])
            continue;
        float *vector = vectors + count * d_model;
        model_value(model, layer, composing->common.activations.cells[c], vector);
        for (size_t k = 0; k < d_model; k++)
            vector[k] *= coefficient[c];
        column[count++] = c;
    }
    free(vectors);
}

/* One prefix: its active memories, and which of them agree with top, the layer's own token. */
static void add_prefix(struct worker *worker, size_t row, uint32_t top)
{
    const struct composing *composing = worker->composing;
    const struct task *task = &worker->task;
    struct composition_layer_sums *sums = &worker->sums->layer[task->layer_index[row]];
    bool *is_active = worker->is_active;
    uint32_t *tops = worker->tops;
    const size_t *cell = composing->common.activations.cells;
    const size_t layer = composing->common.activations.layers[task->layer_index[row]];
    size_t cells = composing->common.activations.cell_count, agreeing = 0;
    const float *coefficient = task->coefficient + row * cells;
    size_t active = activity_mark(&composing->active, layer, cell, coefficient, cells, is_active);
    if (!composing->values)
        project_scaled(composing, worker->projection, layer, coefficient, is_active, tops);
    size_t first = layer * composing->common.model->config.d_ff;
    for (size_t c = 0; composing->values && c < cells; c++)
        if (is_active[c])
            tops[c] = value_tokens_promoted(&composing->value_tokens, first + cell[c], coefficient[c]);
    for (size_t c = 0; c < cells; c++)
        agreeing += is_active[c] && tops[c] == top;
    sums->active.count[active]++;
    if (!agreeing)
        return;
    sums->agreement.count[top]++;
    sums->memories.count[agreeing]++;
    sums->short_prefixes += task->position[row] < composing->short_tokens;
}

static void compute_task(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct composing *composing = worker->composing;
    struct task *task = &worker->task;
    worker->question = grow_array(worker->question, task->rows, sizeof *worker->question);
    projection_norm(composing->common.model, composing->norm, task->ffn, task->rows);
    ask_tops(worker->projection, task->ffn, worker->question, task->rows);
    for (size_t r = 0; r < task->rows; r++)
        add_prefix(worker, r, worker->question[r].top);
}

static void *worker_new(void *shared)
{
    struct composing *composing = shared;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->composing = composing;
    worker->projection = projection_new(composing->common.model, &composing->common.candidates);
    worker->sums = composition_sums_new(&composing->common.activations);
    worker->is_active = new_array(worker->sums->cells, sizeof *worker->is_active);
    worker->tops = new_array(worker->sums->cells, sizeof *worker->tops);
    return worker;
}

static void worker_end(void *of_thread)
{
    struct worker *worker = of_thread;
    statistic_add(&worker->composing->common, worker->sums);
    projection_free(worker->projection);
    free(worker->question);
    free(worker->is_active);
    free(worker->tops);
    free(worker->task.layer_index);
    free(worker->task.position);
    free(worker->task.coefficient);
    free(worker->task.ffn);
    free(worker);
}

const struct ordered_work composition_work = {worker_new, take_task, compute_task, NULL, worker_end};

/* ---- before the work ---- */

static void choose_active(struct composing *composing)
{
    struct activity usual = activity_default(composing->common.model->config.gated);
    if (composing->thresholds) {
        composing->of_keys = thresholds_read(composing->thresholds, composing->common.model,
                                             composing->percentile);
        composing->active.thresholds = &composing->of_keys;
        usual = (struct activity){.rank = RANK_ABS};
    }
    if (!composing->rank_given)
        composing->active.rank = usual.rank;
    if (!composing->size_given) {
        composing->active.threshold = usual.threshold;
        composing->active.relative = usual.relative;
    }
}

void composition_prepare(void *of_all)
{
    struct composing *composing = of_all;
    const struct model *model = composing->common.model;
    if (composing->values) {
        composing->value_tokens = value_tokens_read(composing->values, model, &composing->common.candidates);
        composing->norm = composing->value_tokens.norm;
    }
    projection_norm_check(model, composing->norm);
    choose_active(composing);
}

void composition_begin(void *of_all, struct stream_reader *input)
{
    const struct composing *composing = of_all;
    const struct activations_reader *activations = &composing->common.activations;
    if (composing->thresholds)
        header_check_same_edits(input, composing->of_keys.edits, "the triggers of --thresholds");
    if (composing->active.relative > 0 && activations->cell_count != activations->shape.d_ff)
        stream_fail(input, "it has only some cells, and active is what is not small beside the layer's "
                    "largest coefficient: dump all cells, or give --threshold");
}
