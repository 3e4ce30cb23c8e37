#include "analysis/intervention.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "model/model_norm.h"
#include "model/projection.h"
#include "numeric/vector.h"
#include "stream/record_members.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one thread has of one batch. */
struct worker {
    struct intervening *intervening;
    struct projection *projection;
    struct activations_batch batch;  /* the plain one; the edited one is equal */
    float *output[SIDES];            /* rows x d_model: o^L */
    float *other;                    /* rows x d_model */
    float *vectors;                  /* PROJECTION_ROWS x d_model */
    float *log_p[SIDES];             /* PROJECTION_ROWS x vocabulary */
    struct comparisons comparisons;
    struct intervention_sums *sums;
};

/* ---- the two streams ---- */

/* The last layer's output at the batch's rows, to output: the records of a batch whose tokens were read. */
static void read_outputs(struct worker *worker, struct activations_reader *activations,
                         struct activations_batch *batch, float **output)
{
    size_t count = matrix_count(batch->rows, activations->shape.d_model), layer;
    struct record record;
    worker->other = grow_array(worker->other, count, sizeof *worker->other);
    *output = grow_array(*output, count, sizeof **output);
    while (activations_next_layer(activations, batch, &record, &layer)) {
        if (layer + 1 < activations->shape.layers)
            continue;
        if (!batch->has_rows || !record_has(&record, "resid") || !record_has(&record, "ffn"))
            stream_fail(record.reader,
                        "the record lacks resid or ffn: forward-dump --emit resid,ffn gives them");
        activations_copy(activations, batch, &record, "resid", *output);
        activations_copy(activations, batch, &record, "ffn", worker->other);
        for (size_t i = 0; i < count; i++)
            (*output)[i] += worker->other[i];
        activations_check_finite(&record, "resid and ffn", *output, count);
    }
}

static bool is_equal(const void *a, const void *b, size_t count, size_t size)
{
    return !count || !memcmp(a, b, count * size);
}

/* Whether two batches have the same sentences, and the same rows. */
static bool are_equal(const struct activations_batch *a, const struct activations_batch *b)
{
    const struct batch *left = &a->tokens, *right = &b->tokens;
    return left->id == right->id && left->sentences == right->sentences && left->tokens == right->tokens
           && a->rows == b->rows && !left->sentence == !right->sentence
           && (!left->sentence || is_equal(left->sentence, right->sentence, left->sentences, 8))
           && is_equal(left->length, right->length, left->sentences, sizeof *left->length)
           && is_equal(left->token, right->token, left->tokens, sizeof *left->token)
           && is_equal(a->row_sentence, b->row_sentence, a->rows, sizeof *a->row_sentence)
           && is_equal(a->row_position, b->row_position, a->rows, sizeof *a->row_position);
}

static bool take_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct activations_reader *plain = &worker->intervening->common.activations;
    struct activations_reader *edited = &worker->intervening->edited;
    struct activations_batch same;
    bool is_there = activations_next_batch(plain, &worker->batch);
    if (activations_next_batch(edited, &same) != is_there)
        stream_fail(edited->stream, "it has %s batches than the plain model's, %s",
                    is_there ? "fewer" : "more", input_name(stream_input(plain->stream)));
    if (!is_there)
        return false;
    if (!are_equal(&worker->batch, &same))
        stream_fail(edited->stream, "the batch of sentence %llu is not that of the plain model's, %s",
                    (unsigned long long)same.tokens.id, input_name(stream_input(plain->stream)));
    read_outputs(worker, plain, &worker->batch, &worker->output[PLAIN]);
    read_outputs(worker, edited, &same, &worker->output[EDITED]);
    activations_batch_free(&same);
    input_count(stream_input(plain->stream), worker->batch.tokens.sentences, "sentences");
    return true;
}

/* Without what only edits change: the member, and its hash in the last stage's options. */
static json_t *without_edits(const struct stream_reader *reader)
{
    json_t *header = json_deep_copy(stream_header(reader)), *history = json_object_get(header, "history");
    size_t stages = json_array_size(history);
    json_t *last = json_array_get(history, stages ? stages - 1 : 0);
    json_object_del(header, EDITS_MEMBER);
    json_object_del(json_object_get(last, "options"), EDITS_MEMBER);
    return header;
}

void intervention_check_streams(const struct intervening *intervening, const struct stream_reader *plain)
{
    const struct stream_reader *edited = intervening->edited.stream;
    const struct activations_reader *activations = &intervening->common.activations;
    if (json_object_get(stream_header(plain), EDITS_MEMBER))
        stream_fail(plain, "it was made with edits, and is to be the plain model's: --edited names the "
                    "other");
    if (!json_object_get(stream_header(edited), EDITS_MEMBER))
        stream_fail(edited, "it was made without edits: forward-dump --edit makes the edited model's");
    json_t *one = without_edits(plain), *other = without_edits(edited);
    if (!json_equal(one, other))
        stream_fail(edited, "made with another model, corpus or options than the plain model's, %s: give "
                    "forward-dump the same, but for the edits", input_name(stream_input(plain)));
    json_decref(one);
    json_decref(other);
    if (!activations->layer_count
        || activations->layers[activations->layer_count - 1] + 1 < activations->shape.layers)
        stream_fail(plain, "it lacks the last layer, whose output is the model's");
}

void intervention_declare(const void *of_all, json_t *header)
{
    const struct intervening *intervening = of_all;
    const json_t *edits = json_object_get(stream_header(intervening->edited.stream), EDITS_MEMBER);
    json_put(header, EDITS_MEMBER, edits ? json_deep_copy(edits) : json_null());
}

void intervention_prepare(void *of_all)
{
    struct intervening *intervening = of_all;
    struct stream_reader *stream = stream_open(intervening->edited_path, "activations");
    header_check_model(stream, intervening->common.model);
    intervening->edited = activations_open(stream);
}

void intervention_close(struct intervening *intervening)
{
    struct stream_reader *stream = intervening->edited.stream;
    activations_close(&intervening->edited);
    if (stream)
        stream_close(stream);
}

/* ---- comparing ---- */

/*
 * Kullback-Leibler divergence of q from p, of their logarithms (vocabulary). Rounding may take it
 * below 0, where it is none.
 */
static float divergence(const float *log_p, const float *log_q, size_t vocabulary)
{
    double sum = 0;
    for (size_t t = 0; t < vocabulary; t++)
        sum += (double)exponential(log_p[t]) * ((double)log_p[t] - (double)log_q[t]);
    return sum > 0 ? (float)sum : 0;
}

/* The row of the batch, whose two distributions (vocabulary) are there; next: the token behind the prefix. */
static void compare(struct worker *worker, size_t row, uint32_t next, const float *const log_p[SIDES])
{
    const struct intervening *intervening = worker->intervening;
    const struct candidates *candidates = &intervening->common.candidates;
    const struct activations_batch *batch = &worker->batch;
    struct comparisons *comparisons = &worker->comparisons;
    size_t i = comparisons_add(comparisons), columns = comparisons->tokens;
    comparisons->sentence[i] = batch_sentence(&batch->tokens, batch->row_sentence[row]);
    comparisons->position[i] = batch->row_position[row];
    comparisons->next[i] = next;
    comparisons->divergence[i] = divergence(log_p[PLAIN], log_p[EDITED], candidates->vocabulary);
    for (int side = PLAIN; side < SIDES; side++) {
        comparisons->top[side][i] = (uint32_t)projection_top(log_p[side], candidates);
        for (size_t column = 0; column < columns; column++) {
            uint32_t token = column ? intervening->named[column - 1] : next;
            comparisons->log_p[side][i * columns + column] = log_p[side][token];
            comparisons->rank[side][i * columns + column] = projection_rank(log_p[side], candidates, token);
        }
    }
    worker->sums->changed += comparisons->top[PLAIN][i] != comparisons->top[EDITED][i];
    worker->sums->layer[0].prefixes++;
}

/* Rows first .. first + count - 1 of the outputs of a side: their distributions. */
static void project(struct worker *worker, int side, size_t first, size_t count)
{
    const struct model *model = worker->intervening->common.model;
    size_t d_model = model->config.d_model;
    memset(worker->vectors, 0, PROJECTION_ROWS * d_model * sizeof *worker->vectors);
    final_norm(model, worker->output[side] + first * d_model, count, worker->vectors);
    projection_run(worker->projection, worker->vectors, worker->log_p[side]);
}

static void compute_batch(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct activations_batch *batch = &worker->batch;
    const size_t vocabulary = worker->intervening->common.model->config.vocabulary;
    size_t start = 0, s = 0;
    for (size_t first = 0; first < batch->rows; first += PROJECTION_ROWS) {
        size_t left = batch->rows - first, count = left < PROJECTION_ROWS ? left : PROJECTION_ROWS;
        for (int side = PLAIN; side < SIDES; side++)
            project(worker, side, first, count);
        for (size_t row = first; row < first + count; row++) {
            const float *log_p[SIDES] = {worker->log_p[PLAIN] + (row - first) * vocabulary,
                                         worker->log_p[EDITED] + (row - first) * vocabulary};
            for (; s < batch->row_sentence[row]; s++)
                start += batch->tokens.length[s];
            if (batch->row_position[row] >= worker->intervening->common.activations.first)
                compare(worker, row, batch->tokens.token[start + batch->row_position[row]], log_p);
        }
    }
}

static void write_comparisons(void *of_thread)
{
    struct worker *worker = of_thread;
    if (worker->comparisons.count)
        statistic_put(&worker->intervening->common, &worker->comparisons, worker->comparisons.count);
    worker->comparisons.count = 0;
    activations_batch_free(&worker->batch);
}

static void *worker_new(void *shared)
{
    struct intervening *intervening = shared;
    const struct model_config *config = &intervening->common.model->config;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->intervening = intervening;
    worker->projection = projection_new(intervening->common.model, &intervening->common.candidates);
    worker->vectors = new_floats(matrix_count(PROJECTION_ROWS, config->d_model));
    for (int side = PLAIN; side < SIDES; side++)
        worker->log_p[side] = new_floats(matrix_count(PROJECTION_ROWS, config->vocabulary));
    worker->comparisons.tokens = 1 + intervening->named_count;
    worker->sums = intervention_sums_new(&intervening->common.activations);
    return worker;
}

static void worker_end(void *of_thread)
{
    struct worker *worker = of_thread;
    statistic_add(&worker->intervening->common, worker->sums);
    projection_free(worker->projection);
    comparisons_free(&worker->comparisons);
    for (int side = PLAIN; side < SIDES; side++) {
        free(worker->output[side]);
        free(worker->log_p[side]);
    }
    free(worker->other);
    free(worker->vectors);
    free(worker);
}

const struct ordered_work intervention_work = {
    worker_new, take_batch, compute_batch, write_comparisons, worker_end
};

/* ---- the sums ---- */

static const struct field of_layer[] = {
    FIELD_INTEGER(struct intervention_layer_sums, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct intervention_layer_sums, prefixes, "prefixes", FIELD_COUNT),
    FIELD_END,
};

static const struct field of_all[] = {
    FIELD_INTEGER(struct intervention_sums, changed, "changed", FIELD_COUNT),
    FIELD_END,
};

static void check_layer(const struct record *record, const void *layer, const void *first)
{
    (void)record; /* what is listed must be as many */
    (void)layer;
    (void)first;
}

static void check_all(const struct record *record, const void *checked)
{
    const struct intervention_sums *sums = checked;
    number_check(record->reader, "changed", sums->changed, sums->layer[0].prefixes);
}

const struct sums_kind intervention_kind = {
    of_layer, sizeof(struct intervention_layer_sums),
    of_all, offsetof(struct intervention_sums, layers), offsetof(struct intervention_sums, layer),
    check_layer, check_all,
};

void *intervention_sums_new(const struct activations_reader *activations)
{
    struct intervention_sums *sums = new_array(1, sizeof *sums);
    layer_sums_allocate(&intervention_kind, sums, &(size_t){activations->shape.layers - 1}, 1);
    return sums;
}

uint64_t intervention_listed(const void *asked)
{
    const struct intervention_sums *sums = asked;
    return sums->layer[0].prefixes;
}
