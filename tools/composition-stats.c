/*
 * composition-stats: how a layer's output is made of its memories (paper, section 5.1).
 *
 * For each layer, over the prefixes that the activations have: the share of memories that
 * are active (figure 7), and the share of prefixes where no active memory's most probable
 * token is that of the layer's output y^l (figure 8); where one's is, how often the token
 * is a stop word and how often the prefix is short. A memory's token is top(v_i), found
 * once for a model by project-values --all, or with --scaled top(m_i v_i), found anew for
 * each prefix. A thread's unit of work is some layers of one batch; sums do not depend on
 * their order, so threads and shards come to the same numbers.
 */
#include "analysis/composition_sums.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/parallel.h"
#include "model/model_header.h"
#include "model/projection.h"
#include "numeric/blas.h"
#include "stream/activations.h"
#include "stream/counts.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/stop_words.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "composition";

struct options {
    const char *model, *values, *output, *active, *stop_words;
    bool gzip, scaled, merge, partial, sums;
    int rank, norm;
    double threshold;
    uint64_t short_tokens, frequent, threads;
};

/* What all threads share. */
struct composing {
    const struct options *options;
    const struct model *model;
    enum projection_norm norm;
    uint32_t *value_top;        /* layers x d_ff; NULL with --scaled */
    struct activations_reader activations;
    struct activations_batch batch;
    bool in_batch;
    struct composition_sums sums;
};

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
    struct composition_sums sums;
};

/* ---- the work ---- */

/* The next batch of the stream; its tokens are counted. */
static bool next_batch(struct composing *composing)
{
    struct activations_batch *batch = &composing->batch;
    if (!activations_next_batch(&composing->activations, batch))
        return false;
    if (!batch->has_rows)
        stream_fail(composing->activations.stream, "there are no rows: forward-dump --emit coef,ffn gives them");
    for (size_t i = 0; i < batch->tokens.tokens; i++)
        composing->sums.tokens.count[batch->tokens.token[i]]++;
    input_count(stream_input(composing->activations.stream), batch->tokens.sentences, "sentences");
    composing->in_batch = true;
    return true;
}

/* Appends what a layer's record has of the rows at positions that count. */
static void read_layer_rows(const struct composing *composing, const struct record *record, struct task *task)
{
    const struct activations_batch *batch = &composing->batch;
    size_t cells = composing->activations.cell_count, d_model = composing->activations.shape.d_model;
    size_t most = task->rows + batch->rows;
    if (!record_has(record, "coef") || !record_has(record, "ffn"))
        stream_fail(record->reader, "the record lacks coef or ffn: forward-dump --emit coef,ffn gives them");
    task->layer_index = grow_array(task->layer_index, most, sizeof *task->layer_index);
    task->position = grow_array(task->position, most, sizeof *task->position);
    task->coefficient = grow_array(task->coefficient, matrix_count(most, cells), sizeof *task->coefficient);
    task->ffn = grow_array(task->ffn, matrix_count(most, d_model), sizeof *task->ffn);
    float *coefficient = task->coefficient + task->rows * cells, *ffn = task->ffn + task->rows * d_model;
    activations_copy(&composing->activations, batch, record, "coef", coefficient);
    activations_copy(&composing->activations, batch, record, "ffn", ffn);
    size_t kept = 0;
    for (size_t r = 0; r < batch->rows; r++) {
        if (batch->row_position[r] < composing->activations.first)
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
    struct task *task = &worker->task;
    struct record record;
    size_t layer;
    bool taken = false;
    task->rows = 0;
    while (!taken && (composing->in_batch || next_batch(composing))) {
        while (task->rows < ENOUGH_ROWS
               && activations_next_layer(&composing->activations, &composing->batch, &record, &layer)) {
            read_layer_rows(composing, &record, task);
            taken = true;
        }
        if (composing->batch.layers_seen == composing->activations.layer_count) {
            activations_batch_free(&composing->batch);
            composing->in_batch = false;
        }
    }
    return taken;
}

/* Most probable tokens of vectors (count x d_model). */
static void ask_tops(struct projection *projection, const float *vectors, struct projection_question *question,
                     size_t count)
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
    const struct model *model = composing->model;
    size_t d_model = model->config.d_model, cells = composing->activations.cell_count;
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
        matrix_column(&model->layer[layer].values, composing->activations.cells[c], vector);
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
    const struct options *options = composing->options;
    const struct task *task = &worker->task;
    struct composition_layer_sums *sums = &worker->sums.layer[task->layer_index[row]];
    bool *is_active = worker->is_active;
    uint32_t *tops = worker->tops;
    const size_t *cell = composing->activations.cells;
    const size_t layer = composing->activations.layers[task->layer_index[row]];
    size_t cells = composing->activations.cell_count, active = 0, agreeing = 0;
    const float *coefficient = task->coefficient + row * cells;
    for (size_t c = 0; c < cells; c++) {
        is_active[c] = (double)rank_score((enum rank)options->rank, coefficient[c]) > options->threshold;
        active += is_active[c];
    }
    if (options->scaled)
        project_scaled(composing, worker->projection, layer, coefficient, is_active, tops);
    const uint32_t *value_top = options->scaled ? NULL : composing->value_top + layer * composing->model->config.d_ff;
    for (size_t c = 0; c < cells; c++)
        agreeing += is_active[c] && (value_top ? value_top[cell[c]] : tops[c]) == top;
    sums->active.count[active]++;
    if (!agreeing)
        return;
    sums->agreement.count[top]++;
    sums->agreeing_memories += agreeing;
    sums->short_prefixes += task->position[row] < options->short_tokens;
}

static void compute_task(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct composing *composing = worker->composing;
    struct task *task = &worker->task;
    worker->question = grow_array(worker->question, task->rows, sizeof *worker->question);
    projection_norm(composing->model, composing->norm, task->ffn, task->rows);
    ask_tops(worker->projection, task->ffn, worker->question, task->rows);
    for (size_t r = 0; r < task->rows; r++)
        add_prefix(worker, r, worker->question[r].top);
}

static void *worker_new(void *shared)
{
    struct composing *composing = shared;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->composing = composing;
    worker->projection = projection_new(composing->model);
    worker->sums = composition_sums_new(&composing->activations);
    worker->is_active = new_array(worker->sums.cells, sizeof *worker->is_active);
    worker->tops = new_array(worker->sums.cells, sizeof *worker->tops);
    return worker;
}

static void worker_end(void *of_thread)
{
    struct worker *worker = of_thread;
    layer_sums_add(&composition_kind, &worker->composing->sums, &worker->sums);
    layer_sums_free(&composition_kind, &worker->sums);
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

/* ---- what each value promotes ---- */

/* Reads the top token of every value of the model: layers x d_ff. Sets norm to how they were projected. */
static uint32_t *read_values(const char *path, const struct model *model, enum projection_norm *norm)
{
    struct stream_reader *reader = stream_open(path, "values");
    size_t values = matrix_count(model->config.layers, model->config.d_ff), seen = 0;
    uint32_t *value_top = new_array(values, sizeof *value_top);
    struct record record;
    header_check_model(reader, model);
    *norm = (enum projection_norm)header_choice(reader, "norm", projection_norm_words);
    for (; stream_next(reader, &record); seen++) {
        struct key_triggers value = {0};
        fields_read(&record, key_fields, KEY_TOPS, &value);
        number_check(reader, "layer", value.layer, model->config.layers - 1);
        number_check(reader, "cell", value.cell, model->config.d_ff - 1);
        if (value.layer * model->config.d_ff + value.cell != seen)
            stream_fail(reader, "layer %zu cell %zu is not in order", value.layer, value.cell);
        if (!value.tops || value.top[0] >= model->config.vocabulary)
            stream_fail(reader, "layer %zu cell %zu has no token", value.layer, value.cell);
        value_top[seen] = value.top[0];
        key_triggers_free(&value);
    }
    if (seen != values)
        stream_fail(reader, "%zu values; the model has %zu: project-values --all gives them", seen, values);
    stream_close(reader);
    return value_top;
}

/* ---- sums in a stream ---- */

static json_t *make_header(const struct composing *composing)
{
    const struct options *options = composing->options;
    json_t *header = header_new(KIND, stream_header(composing->activations.stream));
    json_put(header, "arrays", json_object());
    layer_sums_declare(&composition_kind, header);
    json_t *stage = json_make("{s:b, s:s, s:s, s:f, s:I}", "scaled", (int)options->scaled, "norm",
                              projection_norm_words[composing->norm], "rank", rank_words[options->rank],
                              "threshold", options->threshold, "short", (json_int_t)options->short_tokens);
    options_set_arithmetic(stage);
    header_add_stage(header, "composition-stats", stage);
    return header;
}

static void write_sums(const struct options *options, const json_t *header, const struct composition_sums *sums,
                       const json_t *counts)
{
    struct stream_writer *writer = stream_create(options->output, options->gzip, header);
    layer_sums_write(&composition_kind, writer, sums);
    stream_finish(writer, counts);
}

/* ---- tables ---- */

/* Figure 7. */
static void write_active(const struct composition_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "mean", "p25", "p50", "p75", NULL};
    static const double quantiles[] = {0.25, 0.50, 0.75};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct histogram *active = &sums->layer[i].active;
        uint64_t prefixes = histogram_total(active);
        table_layer(table, sums->layer[i].layer);
        table_number(table, prefixes);
        table_real(table, histogram_sum(active) / ((double)prefixes * (double)sums->cells));
        for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++)
            table_real(table, histogram_quantile(active, quantiles[q], whole_number) / (double)sums->cells);
    }
    table_finish(table);
}

/* Prefixes with an agreeing memory whose token is one of these. */
static uint64_t agreement_on(const struct composition_layer_sums *layer, const bool *is_one)
{
    uint64_t prefixes = 0;
    for (size_t token = 0; token < layer->agreement.bins; token++)
        prefixes += is_one[token] ? layer->agreement.count[token] : 0;
    return prefixes;
}

/* Figure 8 and the text around it. is_stop_word: vocabulary, or NULL. */
static void write_composition(const struct composition_sums *sums, const bool *is_stop_word, const bool *is_frequent,
                              const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "zero_agreement", "stop_word", "frequent",
                                          "short_prefix", "memories", NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct composition_layer_sums *layer = &sums->layer[i];
        uint64_t prefixes = histogram_total(&layer->active), agreeing = histogram_total(&layer->agreement);
        table_layer(table, sums->layer[i].layer);
        table_number(table, prefixes);
        table_real(table, share(prefixes - agreeing, prefixes));
        table_real(table, is_stop_word ? share(agreement_on(layer, is_stop_word), agreeing) : (double)NAN);
        table_real(table, share(agreement_on(layer, is_frequent), agreeing));
        table_real(table, share(layer->short_prefixes, agreeing));
        table_real(table, share(layer->agreeing_memories, agreeing));
    }
    table_finish(table);
}

static void write_tables(const struct options *options, struct stream_reader *reader,
                         const struct composition_sums *sums)
{
    bool *is_stop_word = NULL;
    if (options->stop_words) {
        struct tokenizer *tokenizer = tokenizer_open(options->model, reader);
        is_stop_word = stop_words_read(options->stop_words, tokenizer, sums->tokens.vocabulary);
        tokenizer_free(tokenizer);
    }
    bool *is_frequent = frequent_tokens(sums->tokens.count, sums->tokens.vocabulary,
                                        (size_t)options->frequent);
    if (options->active)
        write_active(sums, options->active);
    write_composition(sums, is_stop_word, is_frequent, options->output);
    free(is_stop_word);
    free(is_frequent);
}

/* ---- main ---- */

static void run(const struct options *options, const char *path)
{
    blas_start((size_t)options->threads);
    struct model *model = model_load(options->model);
    struct composing composing = {.options = options, .model = model, .norm = (enum projection_norm)options->norm};
    if (options->values)
        composing.value_top = read_values(options->values, model, &composing.norm);
    projection_norm_check(model, composing.norm);
    struct stream_reader *stream = stream_open(path, "activations");
    header_check_model(stream, model);
    if (!options->sums)
        stream_need_sentences(stream);
    composing.activations = activations_open(stream);
    composing.sums = composition_sums_new(&composing.activations);
    run_ordered((size_t)options->threads, &(struct ordered_work){worker_new, take_task, compute_task, NULL, worker_end},
                &composing);

    if (options->sums) {
        json_t *header = make_header(&composing);
        write_sums(options, header, &composing.sums, stream_trailer(stream));
        json_decref(header);
    } else {
        write_tables(options, stream, &composing.sums);
    }
    layer_sums_free(&composition_kind, &composing.sums);
    activations_close(&composing.activations);
    stream_close(stream);
    free(composing.value_top);
    model_free(model);
}

static void merge(const struct options *options, char **paths, size_t count)
{
    struct merging *merging = merging_new(KIND, paths, count);
    struct activations_reader shape = {0};
    struct composition_sums sums = {0};
    struct stream_reader *reader;
    while ((reader = merging_next(merging))) {
        bool first = reader == merging_first(merging);
        if (first)
            shape = activations_open(reader);
        struct composition_sums more = composition_sums_new(&shape);
        layer_sums_read_all(&composition_kind, reader, &more);
        if (first) {
            sums = more;
        } else {
            layer_sums_add(&composition_kind, &sums, &more);
            layer_sums_free(&composition_kind, &more);
        }
        merging_add(merging, reader);
        merging_close(merging, reader);
    }
    const json_t *counts = merging_counts(merging, options->partial);
    if (!options->sums)
        counts_need_sentences(counts, "the inputs");
    if (options->sums)
        write_sums(options, stream_header(merging_first(merging)), &sums, counts);
    else
        write_tables(options, merging_first(merging), &sums);
    merging_free(merging);
    activations_close(&shape);
    layer_sums_free(&composition_kind, &sums);
}

int main(int argc, char **argv)
{
    struct options options = {.short_tokens = 5, .frequent = 100, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "values", "FILE", "what project-values --all wrote: the memories' most probable tokens", OPTION_IN,
         &options.values, 0, 0, NULL},
        {0, "scaled", NULL, "instead of --values: project each active memory m_i v_i of each prefix", OPTION_FLAG,
         &options.scaled, 0, 0, NULL},
        {0, "norm", "HOW", "with --scaled, of memories and outputs: none (default), gain or full; else that of --values",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "rank", "HOW", "active are coefficients whose value (default), absolute value (abs) or negative (min)",
         OPTION_CHOICE, &options.rank, 0, 0, rank_words},
        {0, "threshold", "X", "is above X (default 0)", OPTION_REAL, &options.threshold, 0, 0, NULL},
        {0, "stop-words", "FILE", "words, one a line, for the column stop_word; needs --model", OPTION_IN,
         &options.stop_words, 0, 0, NULL},
        {0, "frequent", "N", "tokens that count as frequent: the N most frequent of the text (default 100)",
         OPTION_NUMBER, &options.frequent, 0, 1 << 26, NULL},
        {0, "short", "N", "prefixes of fewer than N tokens count as short (default 5)", OPTION_NUMBER,
         &options.short_tokens, 0, MAX_SENTENCE_TOKENS, NULL},
        {0, "active", "FILE", "write the shares of active memories to FILE", OPTION_OUT_TOO, &options.active, 0, 0, NULL},
        {0, "sums", NULL, "write sums for --merge, a stream, instead of tables", OPTION_FLAG, &options.sums, 0, 0, NULL},
        {0, "merge", NULL, "join the sums of several shards, FILE..., to the tables of one run", OPTION_FLAG,
         &options.merge, 0, 0, NULL},
        OPTION_PARTIAL(&options.partial),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"composition-stats",
                              "Tells how layers' outputs are composed of their memories.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    if (!options.merge && argc - first > 1)
        die_usage("more than one input; --merge joins the sums of several runs");
    if (options.merge && (options.values || options.scaled || options.rank || options.threshold > 0 || options.norm))
        die_usage("--merge keeps what its inputs were made with: --values, --scaled, --norm, --rank and --threshold do not go with it");
    cli_check_partial(options.partial, options.merge);
    if (!options.merge && !options.model)
        die_usage("--model DIR is needed");
    if (!options.merge && !options.values == !options.scaled)
        die_usage("give --values FILE, from project-values --all, or --scaled");
    if (options.values && options.norm)
        die_usage("--norm goes with --scaled; the values of --values have one");
    if (options.stop_words && !options.model)
        die_usage("--stop-words needs --model DIR for the words");
    if (options.sums && (options.active || options.stop_words))
        die_usage("--sums writes no tables: --active and --stop-words do not go with it");
    if (options.gzip && !options.sums)
        die_usage("--gzip goes with --sums; tables are not compressed");
    if (options.merge)
        merge(&options, argv + first, (size_t)(argc - first));
    else
        run(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
