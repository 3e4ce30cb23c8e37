#include "analysis/refinement.h"

#include "base/input.h"
#include "base/messages.h"
#include "model/model_norm.h"
#include "numeric/vector.h"
#include "stream/activations.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one thread has of one batch. */
struct worker {
    struct refining *refining;
    struct projection *projection;
    struct activations_batch batch;
    size_t capacity;       /* floats in resid and ffn */
    float *resid, *ffn;    /* layers x rows x d_model */
    size_t rows;           /* at positions that count */
    size_t *row;           /* rows: the batch's row */
    uint32_t *next;        /* rows: the token behind the prefix */
    size_t first, end;     /* layers that are asked about together: enough rows for large products */
    float *vectors;        /* (end - first) x rows x d_model */
    struct projection_question *residual, *block, *output; /* (end - first) x rows: of r^l, y^l, o^l */
    struct projection_question *final; /* rows: of o^L */
    uint32_t *final_token;  /* rows: its tops */
    uint32_t *settled;     /* rows */
    struct refinement_sums *sums;
    struct changes changes;
};

/* The rows at positions that count, and the tokens behind their prefixes. */
static void choose_rows(struct worker *worker)
{
    const struct activations_batch *batch = &worker->batch;
    worker->row = grow_array(worker->row, batch->rows, sizeof *worker->row);
    worker->next = grow_array(worker->next, batch->rows, sizeof *worker->next);
    worker->rows = 0;
    size_t start = 0, s = 0;
    for (size_t r = 0; r < batch->rows; r++) {
        for (; s < batch->row_sentence[r]; s++)
            start += batch->tokens.length[s];
        if (batch->row_position[r] < worker->refining->common.activations.first)
            continue;
        worker->row[worker->rows] = r;
        worker->next[worker->rows++] = batch->tokens.token[start + batch->row_position[r]]; /* w_{j+1} */
    }
}

static bool take_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct activations_reader *activations = &worker->refining->common.activations;
    struct record record;
    size_t layer;
    if (!activations_next_batch(activations, &worker->batch))
        return false;
    size_t count = matrix_count(worker->batch.rows, activations->shape.d_model);
    size_t all = matrix_count(activations->layer_count, count);
    worker->resid = grow_array(worker->resid, all, sizeof *worker->resid);
    worker->ffn = grow_array(worker->ffn, all, sizeof *worker->ffn);
    while (activations_next_layer(activations, &worker->batch, &record, &layer)) {
        if (!worker->batch.has_rows || !record_has(&record, "resid") || !record_has(&record, "ffn"))
            stream_fail(record.reader,
                        "the record lacks resid or ffn: forward-dump --emit resid,ffn gives them");
        activations_copy(activations, &worker->batch, &record, "resid", worker->resid + layer * count);
        activations_copy(activations, &worker->batch, &record, "ffn", worker->ffn + layer * count);
        activations_check_finite(&record, "resid", worker->resid + layer * count, count);
        activations_check_finite(&record, "ffn", worker->ffn + layer * count, count);
    }
    input_count(stream_input(activations->stream), worker->batch.tokens.sentences, "sentences");
    return true;
}

/* Gathers the chosen rows of the layers' matrices to worker->vectors. Returns how many that makes. */
static size_t gather(struct worker *worker, const float *matrix)
{
    size_t d_model = worker->refining->common.model->config.d_model;
    float *to = worker->vectors;
    for (size_t layer = worker->first; layer < worker->end; layer++)
        for (size_t i = 0; i < worker->rows; i++, to += d_model) {
            size_t from = (layer * worker->batch.rows + worker->row[i]) * d_model;
            memcpy(to, matrix + from, d_model * sizeof *to);
        }
    return (worker->end - worker->first) * worker->rows;
}

/* The same of the layers' outputs, o^l. */
static size_t gather_outputs(struct worker *worker)
{
    const struct model *model = worker->refining->common.model;
    size_t d_model = model->config.d_model;
    float *to = worker->vectors;
    gather(worker, worker->resid);
    for (size_t layer = worker->first; layer < worker->end; layer++) {
        for (size_t i = 0; i < worker->rows; i++)
            add_floats(to + i * d_model,
                       worker->ffn + (layer * worker->batch.rows + worker->row[i]) * d_model, d_model);
        layer_sum_norm(model, layer, worker->rows, to);
        to += worker->rows * d_model;
    }
    return (worker->end - worker->first) * worker->rows;
}

/* Asks about the gathered vectors; tokens: NULL, or of each row the token that is asked about. */
static void ask(struct worker *worker, size_t count, const uint32_t *tokens, bool ranked,
                struct projection_question *question)
{
    for (size_t i = 0; i < count; i++)
        question[i] = (struct projection_question){.token = tokens ? tokens[i % worker->rows] : NO_TOKEN,
                                                   .ranked = ranked};
    projection_ask(worker->projection, worker->vectors, count, question);
}

/* The layers' questions: residuals and outputs as the model reads them, blocks as --norm says. */
static void ask_layers(struct worker *worker)
{
    const struct model *model = worker->refining->common.model;
    size_t count = gather(worker, worker->resid);
    final_norm(model, worker->vectors, count, worker->vectors);
    ask(worker, count, worker->final_token, true, worker->residual);
    gather(worker, worker->ffn);
    projection_norm(model, worker->refining->norm, worker->vectors, count);
    ask(worker, count, NULL, false, worker->block);
    gather_outputs(worker);
    final_norm(model, worker->vectors, count, worker->vectors);
    ask(worker, count, NULL, false, worker->output);
}

static void add_layer(struct worker *worker, size_t layer)
{
    struct refinement_layer_sums *sums = &worker->sums->layer[layer];
    for (size_t i = 0; i < worker->rows; i++) {
        size_t at = (layer - worker->first) * worker->rows + i;
        const struct projection_question *residual = &worker->residual[at];
        uint32_t final = worker->final[i].top;
        float probability = exponential(residual->token_log_probability);
        sums->prefixes++;
        sums->residual_is_final += residual->top == final;
        sums->cases[refinement_case(residual->top, worker->block[at].top, worker->output[at].top)]++;
        exact_add(&sums->probability, probability);
        sums->probabilities.count[unit_bin(probability)]++;
        sums->rank.count[residual->token_rank]++;
        if (residual->top != final)
            worker->settled[i] = (uint32_t)layer + 1; /* not before the next one */
    }
}

/* What follows from the model's output o^L. */
static void add_final(struct worker *worker)
{
    for (size_t i = 0; i < worker->rows; i++) {
        const struct projection_question *final = &worker->final[i];
        exact_add(&worker->sums->surprise, fmaxf(0, -final->token_log_probability));
        worker->sums->next_is_top += final->top == final->token;
        worker->settled[i] = 0;
    }
}

/* last: rows, of the last layer's residual. */
static void find_changes(struct worker *worker, const struct projection_question *last)
{
    const struct activations_batch *batch = &worker->batch;
    size_t start = 0, s = 0;
    for (size_t i = 0; i < worker->rows; i++) {
        size_t row = worker->row[i];
        for (; s < batch->row_sentence[row]; s++)
            start += batch->tokens.length[s];
        if (last[i].top != worker->final[i].top)
            changes_add(&worker->changes, batch_sentence(&batch->tokens, s), batch->row_position[row],
                        batch->tokens.token + start, &last[i], &worker->final[i]);
    }
}

/* Memory for the rows' questions, asked of so many layers at once. */
static void reserve(struct worker *worker, size_t layers)
{
    size_t rows = worker->rows, most = matrix_count(layers, rows);
    size_t floats = matrix_count(most, worker->refining->common.model->config.d_model);
    worker->vectors = grow_array(worker->vectors, floats, sizeof *worker->vectors);
    worker->residual = grow_array(worker->residual, most, sizeof *worker->residual);
    worker->block = grow_array(worker->block, most, sizeof *worker->block);
    worker->output = grow_array(worker->output, most, sizeof *worker->output);
    worker->final = grow_array(worker->final, rows, sizeof *worker->final);
    worker->final_token = grow_array(worker->final_token, rows, sizeof *worker->final_token);
    worker->settled = grow_array(worker->settled, rows, sizeof *worker->settled);
}

/* The model's output o^L of each row. */
static void ask_final(struct worker *worker)
{
    const struct model *model = worker->refining->common.model;
    worker->first = model->config.layers - 1;
    worker->end = model->config.layers;
    gather_outputs(worker);
    final_norm(model, worker->vectors, worker->rows, worker->vectors);
    ask(worker, worker->rows, worker->next, false, worker->final);
    for (size_t i = 0; i < worker->rows; i++)
        worker->final_token[i] = worker->final[i].top;
}

static void compute_batch(void *of_thread, struct turn *turn)
{
    (void)turn;
    enum { ENOUGH_ROWS = 128 };
    struct worker *worker = of_thread;
    const size_t layers = worker->refining->common.model->config.layers;
    choose_rows(worker);
    const size_t rows = worker->rows, step = rows ? (ENOUGH_ROWS + rows - 1) / rows : 1;
    reserve(worker, step);
    ask_final(worker);
    add_final(worker);
    for (worker->first = 0; worker->first < layers; worker->first = worker->end) {
        worker->end = layers - worker->first < step ? layers : worker->first + step;
        ask_layers(worker);
        for (size_t layer = worker->first; layer < worker->end; layer++)
            add_layer(worker, layer);
        if (worker->end == layers)
            find_changes(worker, worker->residual + (worker->end - 1 - worker->first) * rows);
    }
    for (size_t i = 0; i < rows; i++)
        worker->sums->settled.count[worker->settled[i]]++;
}

static void write_changes(void *of_thread)
{
    struct worker *worker = of_thread;
    statistic_put(&worker->refining->common, &worker->changes, worker->changes.count);
    worker->changes.count = worker->changes.prefix_tokens = 0;
    activations_batch_free(&worker->batch);
}

static void *worker_new(void *shared)
{
    struct refining *refining = shared;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->refining = refining;
    worker->projection = projection_new(refining->common.model, &refining->common.candidates);
    worker->sums = refinement_sums_new(&refining->common.activations);
    return worker;
}

static void worker_end(void *of_thread)
{
    struct worker *worker = of_thread;
    statistic_add(&worker->refining->common, worker->sums);
    changes_free(&worker->changes);
    projection_free(worker->projection);
    free(worker->resid);
    free(worker->ffn);
    free(worker->row);
    free(worker->next);
    free(worker->vectors);
    free(worker->residual);
    free(worker->block);
    free(worker->output);
    free(worker->final);
    free(worker->final_token);
    free(worker->settled);
    free(worker);
}

const struct ordered_work refinement_work = {
    worker_new, take_batch, compute_batch, write_changes, worker_end
};

void refinement_prepare(void *of_all)
{
    struct refining *refining = of_all;
    projection_norm_check(refining->common.model, refining->norm);
}

void refinement_check_layers(const struct refining *refining, const struct stream_reader *input)
{
    const struct activations_reader *activations = &refining->common.activations;
    if (activations->layer_count != activations->shape.layers)
        stream_fail(input, "it has %zu of %zu layers, and all are needed", activations->layer_count,
                    activations->shape.layers);
}
