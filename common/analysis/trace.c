#include "analysis/trace.h"

#include "analysis/refinement_sums.h"
#include "base/input.h"
#include "base/messages.h"
#include "base/order.h"
#include "base/parallel.h"
#include "model/model_norm.h"
#include "numeric/vector.h"
#include "stream/header_members.h"
#include "stream/record_members.h"
#include "stream/stream_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tracer {
    const struct model *model;
    const struct candidates *candidates;
    struct activations_reader *activations;
    const struct trace_options *options;
    struct activations_batch batch;
    size_t *row;           /* trace.rows: the batch's row */
    float *matrix;         /* of a layer's record, batch.rows x d_model or d_ff */
    float *resid, *ffn;    /* cells x d_model */
    float **sizes;         /* layers: of values, NULL until needed */
    size_t taken;          /* vectors and values whose distributions were begun */
    struct trace trace;
};

/* What one thread has. */
struct worker {
    struct tracer *tracer;
    struct projection *projection;
    size_t first, count;      /* of the vectors, with the values behind them */
    float *vectors;           /* PROJECTION_ROWS x d_model */
    float *log_probabilities; /* PROJECTION_ROWS x vocabulary */
};

static size_t cells_of(const struct trace *trace)
{
    return trace->layers * trace->rows;
}

/* ---- reading ---- */

static void choose_rows(struct tracer *tracer)
{
    const struct activations_batch *batch = &tracer->batch;
    struct trace *trace = &tracer->trace;
    trace->rows = 0;
    tracer->row = grow_array(tracer->row, batch->rows, sizeof *tracer->row);
    trace->sentence = grow_array(trace->sentence, batch->rows, sizeof *trace->sentence);
    trace->position = grow_array(trace->position, batch->rows, sizeof *trace->position);
    trace->final = grow_array(trace->final, batch->rows, sizeof *trace->final);
    for (size_t r = 0; r < batch->rows; r++) {
        uint32_t position = batch->row_position[r], s = batch->row_sentence[r];
        if (tracer->options->all ? position < tracer->activations->first
                                 : position + 1 < batch->tokens.length[s])
            continue;
        tracer->row[trace->rows] = r;
        trace->sentence[trace->rows] = s;
        trace->position[trace->rows++] = position;
    }
}

static void reserve(struct tracer *tracer)
{
    struct trace *trace = &tracer->trace;
    size_t cells = matrix_count(trace->layers, trace->rows);
    size_t floats = matrix_count(cells, tracer->model->config.d_model);
    size_t tops = matrix_count(TRACE_VECTORS * trace->tops, cells), width = tracer->model->config.d_ff;
    if (width < tracer->model->config.d_model)
        width = tracer->model->config.d_model;
    size_t memories = matrix_count(cells, trace->memories);
    tracer->matrix = grow_array(tracer->matrix, matrix_count(tracer->batch.rows, width),
                                sizeof *tracer->matrix);
    tracer->resid = grow_array(tracer->resid, floats, sizeof *tracer->resid);
    tracer->ffn = grow_array(tracer->ffn, floats, sizeof *tracer->ffn);
    trace->token = grow_array(trace->token, tops, sizeof *trace->token);
    trace->probability = grow_array(trace->probability, tops, sizeof *trace->probability);
    trace->ffn_logit = grow_array(trace->ffn_logit, cells, sizeof *trace->ffn_logit);
    trace->memory_count = grow_array(trace->memory_count, cells, sizeof *trace->memory_count);
    trace->memory = grow_array(trace->memory, memories, sizeof *trace->memory);
}

/* A record's array to tracer->matrix. */
static void read_matrix(struct tracer *tracer, const struct record *record, const char *name, size_t width)
{
    if (!record_has(record, name))
        stream_fail(record->reader,
                    "the record lacks %s: forward-dump --emit resid,ffn%s gives what is needed", name,
                    tracer->options->memories ? ",coef" : "");
    activations_copy(tracer->activations, &tracer->batch, record, name, tracer->matrix);
    activations_check_finite(record, name, tracer->matrix, tracer->batch.rows * width);
}

/* The same of d_model, its rows that are traced to those of a layer. */
static void read_rows(struct tracer *tracer, const struct record *record, const char *name, size_t layer,
                      float *to)
{
    size_t d_model = tracer->model->config.d_model, rows = tracer->trace.rows;
    read_matrix(tracer, record, name, d_model);
    for (size_t r = 0; r < rows; r++)
        memcpy(to + (layer * rows + r) * d_model, tracer->matrix + tracer->row[r] * d_model,
               d_model * sizeof *to);
}

static void read_memories(struct tracer *tracer, const struct record *record, size_t layer)
{
    struct trace *trace = &tracer->trace;
    size_t d_ff = tracer->model->config.d_ff;
    read_matrix(tracer, record, "coef", d_ff);
    if (!tracer->sizes[layer]) {
        tracer->sizes[layer] = new_floats(d_ff);
        value_sizes(tracer->model, layer, tracer->sizes[layer]);
    }
    for (size_t r = 0; r < trace->rows; r++) {
        const float *coefficients = tracer->matrix + tracer->row[r] * d_ff;
        size_t cell = layer * trace->rows + r;
        trace->memory_count[cell] =
            memories_choose(coefficients, tracer->sizes[layer], d_ff,
                            block_scale(tracer->model, layer, coefficients), trace->memories,
                            trace->memory + cell * trace->memories);
    }
}

static bool read_batch(struct tracer *tracer)
{
    struct activations_reader *activations = tracer->activations;
    struct record record;
    size_t layer;
    if (!activations_next_batch(activations, &tracer->batch))
        return false;
    if (!tracer->batch.has_rows)
        stream_fail(activations->stream, "there are no rows: forward-dump --emit resid,ffn,coef gives them");
    choose_rows(tracer);
    reserve(tracer);
    while (activations_next_layer(activations, &tracer->batch, &record, &layer)) {
        read_rows(tracer, &record, "resid", layer, tracer->resid);
        read_rows(tracer, &record, "ffn", layer, tracer->ffn);
        if (tracer->options->memories)
            read_memories(tracer, &record, layer);
    }
    tracer->trace.tokens = tracer->batch.tokens;
    input_count(stream_input(activations->stream), tracer->batch.tokens.sentences, "prompts");
    return true;
}

/* ---- the values of the memories ---- */

static int by_layer_and_cell(const void *a, const void *b)
{
    const struct trace_value *left = a, *right = b;
    int order = compare_numbers(left->layer, right->layer);
    return order ? order : compare_numbers(left->cell, right->cell);
}

static void list_values(struct trace *trace)
{
    size_t cells = cells_of(trace), count = 0;
    trace->value = grow_array(trace->value, matrix_count(cells, trace->memories), sizeof *trace->value);
    for (size_t c = 0; trace->memories && c < cells; c++)
        for (size_t i = 0; i < trace->memory_count[c]; i++)
            trace->value[count++] =
                (struct trace_value){c / trace->rows, trace->memory[c * trace->memories + i].cell};
    if (count)
        qsort(trace->value, count, sizeof *trace->value, by_layer_and_cell);
    trace->values = 0;
    for (size_t i = 0; i < count; i++)
        if (!i || by_layer_and_cell(&trace->value[i], &trace->value[i - 1]))
            trace->value[trace->values++] = trace->value[i];
    size_t tops = matrix_count(trace->values, trace->tops);
    trace->value_top = grow_array(trace->value_top, tops, sizeof *trace->value_top);
    trace->value_bottom = grow_array(trace->value_bottom, tops, sizeof *trace->value_bottom);
}

size_t trace_value_index(const struct trace *trace, size_t layer, size_t cell)
{
    const struct trace_value wanted = {layer, cell};
    const struct trace_value *found =
        bsearch(&wanted, trace->value, trace->values, sizeof wanted, by_layer_and_cell);
    return (size_t)(found - trace->value);
}

/* ---- distributions ---- */

/* r^l, y^l or o^l of a cell as it is projected. */
static void take_vector(const struct tracer *tracer, int vector, size_t cell, float *to)
{
    const struct model *model = tracer->model;
    size_t d_model = model->config.d_model;
    const float *resid = tracer->resid + cell * d_model, *ffn = tracer->ffn + cell * d_model;
    memcpy(to, vector == TRACE_FFN ? ffn : resid, d_model * sizeof *to);
    if (vector == TRACE_FFN) {
        projection_norm(model, tracer->options->norm, to, 1);
        return;
    }
    if (vector == TRACE_OUTPUT) {
        add_floats(to, ffn, d_model);
        layer_sum_norm(model, cell / tracer->trace.rows, 1, to);
    }
    final_norm(model, to, 1, to);
}

static bool take_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct tracer *tracer = worker->tracer;
    size_t left = TRACE_VECTORS * cells_of(&tracer->trace) + tracer->trace.values - tracer->taken;
    worker->first = tracer->taken;
    worker->count = left < PROJECTION_ROWS ? left : PROJECTION_ROWS;
    tracer->taken += worker->count;
    return worker->count;
}

/* The distribution of vector or value number index. */
static void answer(const struct tracer *tracer, size_t index, const float *log_probabilities)
{
    const struct trace *trace = &tracer->trace;
    size_t vectors = TRACE_VECTORS * cells_of(trace), tops = trace->tops;
    if (index >= vectors) {
        size_t value = index - vectors;
        projection_tops(log_probabilities, tracer->candidates, tops, trace->value_top + value * tops);
        projection_bottoms(log_probabilities, tracer->candidates, tops, trace->value_bottom + value * tops);
        return;
    }
    uint32_t *token = trace->token + index * tops;
    projection_tops(log_probabilities, tracer->candidates, tops, token);
    for (size_t i = 0; i < tops; i++)
        trace->probability[index * tops + i] = exponential(log_probabilities[token[i]]);
}

static void compute_piece(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct tracer *tracer = worker->tracer;
    const struct trace *trace = &tracer->trace;
    size_t d_model = tracer->model->config.d_model, cells = cells_of(trace);
    memset(worker->vectors, 0, PROJECTION_ROWS * d_model * sizeof *worker->vectors);
    for (size_t i = 0; i < worker->count; i++) {
        size_t index = worker->first + i;
        float *vector = worker->vectors + i * d_model;
        if (index < TRACE_VECTORS * cells) {
            take_vector(tracer, (int)(index / cells), index % cells, vector);
        } else {
            const struct trace_value *value = &trace->value[index - TRACE_VECTORS * cells];
            projection_value(tracer->model, tracer->options->norm, value->layer, value->cell, false,
                             vector);
        }
    }
    projection_run(worker->projection, worker->vectors, worker->log_probabilities);
    for (size_t i = 0; i < worker->count; i++)
        answer(tracer, worker->first + i,
               worker->log_probabilities + i * tracer->model->config.vocabulary);
}

static void *worker_new(void *shared)
{
    struct tracer *tracer = shared;
    const struct model_config *config = &tracer->model->config;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->tracer = tracer;
    worker->projection = projection_new(tracer->model, tracer->candidates);
    worker->vectors = new_floats(matrix_count(PROJECTION_ROWS, config->d_model));
    worker->log_probabilities = new_floats(matrix_count(PROJECTION_ROWS, config->vocabulary));
    return worker;
}

static void worker_free(void *of_thread)
{
    struct worker *worker = of_thread;
    projection_free(worker->projection);
    free(worker->vectors);
    free(worker->log_probabilities);
    free(worker);
}

/* ---- the final token ---- */

/* Of one row: the final token, and what blocks and memories add to its logit. */
static void find_logits(struct tracer *tracer, size_t row, float *output, float *direction, float *value)
{
    const struct model *model = tracer->model;
    struct trace *trace = &tracer->trace;
    size_t d_model = model->config.d_model, last = (trace->layers - 1) * trace->rows + row;
    trace->final[row] = *trace_tokens(trace, TRACE_OUTPUT, last);
    memcpy(output, tracer->resid + last * d_model, d_model * sizeof *output);
    add_floats(output, tracer->ffn + last * d_model, d_model);
    bool defined = logit_direction(model, output, trace->final[row], direction);
    for (size_t layer = 0; layer < trace->layers; layer++) {
        size_t cell = layer * trace->rows + row;
        double sum = 0;
        for (size_t k = 0; k < d_model; k++)
            sum += (double)tracer->ffn[cell * d_model + k] * (double)direction[k];
        trace->ffn_logit[cell] = defined ? sum : NAN;
        for (size_t i = 0; defined && trace->memories && i < trace->memory_count[cell]; i++) {
            struct trace_memory *memory = &trace->memory[cell * trace->memories + i];
            memory->logit = memory_logit(model, layer, memory, direction, value);
        }
    }
}

static void find_all_logits(struct tracer *tracer)
{
    size_t d_model = tracer->model->config.d_model;
    float *vectors = new_floats(matrix_count(3, d_model));
    for (size_t row = 0; row < tracer->trace.rows; row++)
        find_logits(tracer, row, vectors, vectors + d_model, vectors + 2 * d_model);
    free(vectors);
}

/* ---- */

static void check_stream(const struct activations_reader *activations, bool memories)
{
    const struct stream_reader *stream = activations->stream;
    if (!stream_of_prompts(stream))
        stream_fail(stream, "its sentences are no prompts: tokenize --prompt makes these");
    if (strcmp(header_text(stream, NULL, "positions"), "all"))
        stream_fail(stream, "it has only random positions: leave out --positions of forward-dump");
    if (activations->layer_count != activations->shape.layers)
        stream_fail(stream, "it has %zu of %zu layers, and all are needed", activations->layer_count,
                    activations->shape.layers);
    if (memories && activations->cell_count != activations->shape.d_ff)
        stream_fail(stream, "it has only some cells, and a memory's share is of all: leave out --cells of "
                            "forward-dump");
}

struct tracer *tracer_new(const struct model *model, const struct candidates *candidates,
                          struct activations_reader *activations, const struct trace_options *options)
{
    check_stream(activations, options->memories);
    struct tracer *tracer = new_array(1, sizeof *tracer);
    *tracer = (struct tracer){.model = model, .candidates = candidates, .activations = activations,
                              .options = options};
    tracer->sizes = new_array(model->config.layers, sizeof *tracer->sizes);
    tracer->trace.layers = model->config.layers;
    tracer->trace.tops = options->tops;
    tracer->trace.memories = options->memories;
    return tracer;
}

const struct trace *tracer_next(struct tracer *tracer)
{
    static const struct ordered_work work = {worker_new, take_piece, compute_piece, NULL, worker_free};
    activations_batch_free(&tracer->batch);
    if (!read_batch(tracer))
        return NULL;
    list_values(&tracer->trace);
    tracer->taken = 0;
    run_ordered(tracer->options->threads, &work, tracer);
    find_all_logits(tracer);
    return &tracer->trace;
}

void tracer_free(struct tracer *tracer)
{
    struct trace *trace = &tracer->trace;
    void *const arrays[] = {tracer->row, tracer->matrix, tracer->resid, tracer->ffn, trace->sentence,
                            trace->position, trace->final, trace->token, trace->probability,
                            trace->ffn_logit, trace->memory_count, trace->memory, trace->value,
                            trace->value_top, trace->value_bottom};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    for (size_t layer = 0; layer < trace->layers; layer++)
        free(tracer->sizes[layer]);
    free(tracer->sizes);
    activations_batch_free(&tracer->batch);
    free(tracer);
}

const uint32_t *trace_tokens(const struct trace *trace, int vector, size_t cell)
{
    return trace->token + ((size_t)vector * cells_of(trace) + cell) * trace->tops;
}

const float *trace_probabilities(const struct trace *trace, int vector, size_t cell)
{
    return trace->probability + ((size_t)vector * cells_of(trace) + cell) * trace->tops;
}

int trace_case(const struct trace *trace, size_t cell)
{
    return refinement_case(*trace_tokens(trace, TRACE_RESIDUAL, cell), *trace_tokens(trace, TRACE_FFN, cell),
                           *trace_tokens(trace, TRACE_OUTPUT, cell));
}
