/*
 * refinement-stats: how predictions are refined from layer to layer (paper, section 5.2).
 *
 * For each layer, over the prefixes that the activations have: how often the residual
 * already predicts what the model finally does, top(r^l) = top(o^L) (figure 9), and the
 * probability and rank that it gives to that token (figure 10); whether the layer's output
 * predicts what its residual does, what its feed-forward block does, both, or neither
 * (figure 11); the prefixes whose prediction the last layer changes; and the model's own
 * perplexity on the same prefixes. A thread's unit of work is a batch; all but the list of
 * changed predictions are sums that do not depend on their order, and that list is
 * written in the order of the corpus.
 */
#include "analysis/changes.h"
#include "analysis/refinement_sums.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/parallel.h"
#include "model/model_header.h"
#include "model/model_norm.h"
#include "model/projection.h"
#include "numeric/blas.h"
#include "numeric/vector.h"
#include "stream/activations.h"
#include "stream/counts.h"
#include "stream/header.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "refinement";

struct options {
    const char *model, *output, *cases, *last_layer, *settled, *perplexity;
    bool gzip, merge, partial, sums;
    int norm;
    uint64_t threads;
};

/* Where changes go: a table, or a stream of sums, or nowhere. */
struct sink {
    struct table *table;
    struct stream_writer *writer;
    const struct model *model;
    struct tokenizer *tokenizer;
    float *old, *new;      /* d_model: output embeddings */
};

/* What all threads share. */
struct refining {
    const struct options *options;
    const struct model *model;
    struct activations_reader activations;
    struct sink sink;
    struct refinement_sums sums;
};

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
    uint32_t *settled;     /* rows */
    struct refinement_sums sums;
    struct changes changes;
};

/* ---- changes of the last layer ---- */

static struct sink sink_open(const struct options *options, const struct model *model, struct tokenizer *tokenizer,
                             struct stream_writer *writer)
{
    static const char *const columns[] = {"sentence", "position", "prefix", "old", "new", "p_old", "p_new", "cosine",
                                          NULL};
    struct sink sink = {.writer = writer, .model = model, .tokenizer = tokenizer};
    if (!options->last_layer)
        return sink;
    sink.table = table_open(options->last_layer, columns);
    sink.old = new_floats(model->config.d_model);
    sink.new = new_floats(model->config.d_model);
    return sink;
}

static void sink_close(struct sink *sink)
{
    if (sink->table)
        table_finish(sink->table);
    free(sink->old);
    free(sink->new);
}

/* Of two tokens' output embeddings. */
static double cosine(const struct sink *sink, uint32_t old, uint32_t new)
{
    double product = 0, old_square = 0, new_square = 0;
    output_embedding(sink->model, old, sink->old);
    output_embedding(sink->model, new, sink->new);
    for (size_t k = 0; k < sink->model->config.d_model; k++) {
        double a = (double)sink->old[k], b = (double)sink->new[k];
        product += a * b;
        old_square += a * a;
        new_square += b * b;
    }
    return product / sqrt(old_square * new_square);
}

static void sink_write(struct sink *sink, const struct changes *changes)
{
    if (sink->writer && changes->count) {
        msgpack_sbuffer buffer;
        msgpack_sbuffer_init(&buffer);
        fields_pack(&buffer, changes_fields, 0, changes);
        stream_append(sink->writer, &buffer, 1);
        msgpack_sbuffer_destroy(&buffer);
    }
    struct prefix_walk prefix = prefixes_walk(changes->position, changes->prefix, changes->count);
    while (sink->table && prefix_next(&prefix)) {
        size_t i = prefix.index;
        table_number(sink->table, changes->sentence[i]);
        table_number(sink->table, changes->position[i]);
        table_own_text(sink->table, tokenizer_text(sink->tokenizer, prefix.token, prefix.length));
        table_own_text(sink->table, tokenizer_text(sink->tokenizer, &changes->old[i], 1));
        table_own_text(sink->table, tokenizer_text(sink->tokenizer, &changes->new[i], 1));
        table_real(sink->table, (double)changes->p_old[i]);
        table_real(sink->table, (double)changes->p_new[i]);
        table_real(sink->table, cosine(sink, changes->old[i], changes->new[i]));
    }
}

/* ---- the work ---- */

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
        if (batch->row_position[r] < worker->refining->activations.first)
            continue;
        worker->row[worker->rows] = r;
        worker->next[worker->rows++] = batch->tokens.token[start + batch->row_position[r]]; /* w_{j+1} */
    }
}

static bool take_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct activations_reader *activations = &worker->refining->activations;
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
            stream_fail(record.reader, "the record lacks resid or ffn: forward-dump --emit resid,ffn gives them");
        activations_copy(activations, &worker->batch, &record, "resid", worker->resid + layer * count);
        activations_copy(activations, &worker->batch, &record, "ffn", worker->ffn + layer * count);
        activations_check_finite(&record, "resid", worker->resid + layer * count, count);
        activations_check_finite(&record, "ffn", worker->ffn + layer * count, count);
    }
    input_count(stream_input(activations->stream), worker->batch.tokens.sentences, "sentences");
    return true;
}

/*
 * Gathers the chosen rows of the layers' matrices, plus those of another where that is not
 * NULL, to worker->vectors. Returns how many that makes.
 */
static size_t gather(struct worker *worker, const float *matrix, const float *plus)
{
    size_t d_model = worker->refining->model->config.d_model;
    float *to = worker->vectors;
    for (size_t layer = worker->first; layer < worker->end; layer++)
        for (size_t i = 0; i < worker->rows; i++) {
            size_t from = (layer * worker->batch.rows + worker->row[i]) * d_model;
            for (size_t k = 0; k < d_model; k++)
                *to++ = matrix[from + k] + (plus ? plus[from + k] : 0);
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
static void ask_layers(struct worker *worker, const uint32_t *final_tokens)
{
    const struct model *model = worker->refining->model;
    size_t count = gather(worker, worker->resid, NULL);
    final_norm(model, worker->vectors, count, worker->vectors);
    ask(worker, count, final_tokens, true, worker->residual);
    gather(worker, worker->ffn, NULL);
    projection_norm(model, (enum projection_norm)worker->refining->options->norm, worker->vectors, count);
    ask(worker, count, NULL, false, worker->block);
    gather(worker, worker->resid, worker->ffn);
    final_norm(model, worker->vectors, count, worker->vectors);
    ask(worker, count, NULL, false, worker->output);
}

static int which_case(uint32_t residual, uint32_t block, uint32_t output)
{
    if (output == residual)
        return output == block ? CASE_AGREEMENT : CASE_RESIDUAL;
    return output == block ? CASE_FFN : CASE_COMPOSITION;
}

static void add_layer(struct worker *worker, size_t layer)
{
    struct refinement_layer_sums *sums = &worker->sums.layer[layer];
    for (size_t i = 0; i < worker->rows; i++) {
        size_t at = (layer - worker->first) * worker->rows + i;
        const struct projection_question *residual = &worker->residual[at];
        uint32_t final = worker->final[i].top;
        float probability = exponential(residual->token_log_probability);
        sums->prefixes++;
        sums->residual_is_final += residual->top == final;
        sums->cases[which_case(residual->top, worker->block[at].top, worker->output[at].top)]++;
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
        exact_add(&worker->sums.surprise, fmaxf(0, -final->token_log_probability));
        worker->sums.next_is_top += final->top == final->token;
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

static void compute_batch(void *of_thread, struct turn *turn)
{
    (void)turn;
    enum { ENOUGH_ROWS = 128 };
    struct worker *worker = of_thread;
    const struct model_config *config = &worker->refining->model->config;
    choose_rows(worker);
    const size_t rows = worker->rows, step = rows ? (ENOUGH_ROWS + rows - 1) / rows : 1;
    const size_t most = matrix_count(step, rows);
    worker->vectors = grow_array(worker->vectors, matrix_count(most, config->d_model), sizeof *worker->vectors);
    worker->residual = grow_array(worker->residual, most, sizeof *worker->residual);
    worker->block = grow_array(worker->block, most, sizeof *worker->block);
    worker->output = grow_array(worker->output, most, sizeof *worker->output);
    worker->final = grow_array(worker->final, rows, sizeof *worker->final);
    worker->settled = grow_array(worker->settled, rows, sizeof *worker->settled);
    uint32_t *final_tokens = new_array(rows, sizeof *final_tokens);

    worker->first = config->layers - 1;
    worker->end = config->layers;
    gather(worker, worker->resid, worker->ffn);
    final_norm(worker->refining->model, worker->vectors, rows, worker->vectors);
    ask(worker, rows, worker->next, false, worker->final);
    for (size_t i = 0; i < rows; i++)
        final_tokens[i] = worker->final[i].top;
    add_final(worker);
    for (worker->first = 0; worker->first < config->layers; worker->first = worker->end) {
        worker->end = config->layers - worker->first < step ? config->layers : worker->first + step;
        ask_layers(worker, final_tokens);
        for (size_t layer = worker->first; layer < worker->end; layer++)
            add_layer(worker, layer);
        if (worker->end == config->layers)
            find_changes(worker, worker->residual + (worker->end - 1 - worker->first) * rows);
    }
    for (size_t i = 0; i < rows; i++)
        worker->sums.settled.count[worker->settled[i]]++;
    free(final_tokens);
}

static void write_changes(void *of_thread)
{
    struct worker *worker = of_thread;
    sink_write(&worker->refining->sink, &worker->changes);
    worker->changes.count = worker->changes.prefix_tokens = 0;
    activations_batch_free(&worker->batch);
}

static void *worker_new(void *shared)
{
    struct refining *refining = shared;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->refining = refining;
    worker->projection = projection_new(refining->model);
    worker->sums = refinement_sums_new(&refining->activations.shape);
    return worker;
}

static void worker_end(void *of_thread)
{
    struct worker *worker = of_thread;
    layer_sums_add(&refinement_kind, &worker->refining->sums, &worker->sums);
    layer_sums_free(&refinement_kind, &worker->sums);
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
    free(worker->settled);
    free(worker);
}

/* ---- sums in a stream ---- */

static json_t *make_header(const struct refining *refining)
{
    json_t *header = header_new(KIND, stream_header(refining->activations.stream));
    json_put(header, "arrays", json_object());
    fields_declare(header, changes_fields, 0, NULL);
    layer_sums_declare(&refinement_kind, header);
    json_t *stage = json_make("{s:s}", "norm", projection_norm_words[refining->options->norm]);
    options_set_arithmetic(stage);
    header_add_stage(header, "refinement-stats", stage);
    return header;
}

/* ---- tables ---- */

/* Figures 9 and 10. */
static void write_refinement(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "residual_is_final", "probability", "p25", "p50", "p75",
                                          "rank_p50", NULL};
    static const double quantiles[] = {0.25, 0.50, 0.75};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct refinement_layer_sums *layer = &sums->layer[i];
        table_layer(table, i);
        table_number(table, layer->prefixes);
        table_real(table, share(layer->residual_is_final, layer->prefixes));
        table_real(table, exact_value(&layer->probability) / (double)layer->prefixes);
        for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++)
            table_real(table, histogram_quantile(&layer->probabilities, quantiles[q], unit_value));
        table_real(table, histogram_quantile(&layer->rank, 0.5, whole_number));
    }
    table_finish(table);
}

/* Figure 11. */
static void write_cases(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "residual", "ffn", "agreement", "composition", NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct refinement_layer_sums *layer = &sums->layer[i];
        table_layer(table, i);
        table_number(table, layer->prefixes);
        for (size_t c = 0; c < CASES; c++)
            table_real(table, share(layer->cases[c], layer->prefixes));
    }
    table_finish(table);
}

/* The layer from whose residual on the prediction stays; one more than there are: the last block made it. */
static void write_settled(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "share", "cumulative", NULL};
    struct table *table = table_open(path, columns);
    uint64_t total = histogram_total(&sums->settled), so_far = 0;
    for (size_t i = 0; i <= sums->layers; i++) {
        so_far += sums->settled.count[i];
        table_layer(table, i);
        table_number(table, sums->settled.count[i]);
        table_real(table, share(sums->settled.count[i], total));
        table_real(table, share(so_far, total));
    }
    table_finish(table);
}

static void write_perplexity(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"prefixes", "perplexity", "next_is_top", NULL};
    struct table *table = table_open(path, columns);
    uint64_t prefixes = histogram_total(&sums->settled);
    table_number(table, prefixes);
    table_real(table, exp(exact_value(&sums->surprise) / (double)prefixes));
    table_real(table, share(sums->next_is_top, prefixes));
    table_finish(table);
}

static void write_tables(const struct options *options, const struct refinement_sums *sums)
{
    if (options->cases)
        write_cases(sums, options->cases);
    if (options->settled)
        write_settled(sums, options->settled);
    if (options->perplexity)
        write_perplexity(sums, options->perplexity);
    write_refinement(sums, options->output);
}

/* ---- main ---- */

static void run(const struct options *options, const char *path)
{
    blas_start((size_t)options->threads);
    struct model *model = model_load(options->model);
    projection_norm_check(model, (enum projection_norm)options->norm);
    struct stream_reader *stream = stream_open(path, "activations");
    header_check_model(stream, model);
    if (!options->sums)
        stream_need_sentences(stream);
    struct refining refining = {.options = options, .model = model, .activations = activations_open(stream)};
    if (refining.activations.layer_count != model->config.layers)
        stream_fail(stream, "it has %zu of %zu layers, and all are needed", refining.activations.layer_count,
                    model->config.layers);
    json_t *header = make_header(&refining);
    struct stream_writer *writer = options->sums ? stream_create(options->output, options->gzip, header) : NULL;
    struct tokenizer *tokenizer = options->last_layer ? tokenizer_open(options->model, stream) : NULL;
    refining.sink = sink_open(options, model, tokenizer, writer);
    refining.sums = refinement_sums_new(&refining.activations.shape);
    run_ordered((size_t)options->threads,
                &(struct ordered_work){worker_new, take_batch, compute_batch, write_changes, worker_end}, &refining);

    sink_close(&refining.sink);
    if (writer) {
        layer_sums_write(&refinement_kind, writer, &refining.sums);
        stream_finish(writer, stream_trailer(stream));
    } else {
        write_tables(options, &refining.sums);
    }
    layer_sums_free(&refinement_kind, &refining.sums);
    activations_close(&refining.activations);
    stream_close(stream);
    json_decref(header);
    if (tokenizer)
        tokenizer_free(tokenizer);
    model_free(model);
}

/* An input of a merge: its changes come first, a batch a record, then its sums. */
struct part {
    struct stream_reader *reader;
    uint64_t changed;       /* so far */
    struct changes changes; /* count 0: no more */
};

/* Reads the part's next changes, or, behind them, all of its sums. */
static void part_next(struct part *part, const struct model_shape *shape, struct refinement_sums *sums)
{
    struct record record;
    changes_free(&part->changes);
    part->changes = (struct changes){0};
    if (!stream_next(part->reader, &record))
        stream_fail(part->reader, "there are no sums in it");
    if (record_has(&record, "sentence")) {
        part->changes = changes_read(&record, shape);
        part->changed += part->changes.count;
        return;
    }
    struct refinement_sums more = refinement_sums_new(shape);
    layer_sums_read(&refinement_kind, part->reader, &record, &more);
    uint64_t changed = more.settled.count[more.layers];
    if (changed != part->changed)
        stream_fail(part->reader, "it has %llu changed predictions, its sums say %llu",
                    (unsigned long long)part->changed, (unsigned long long)changed);
    layer_sums_add(&refinement_kind, sums, &more);
    layer_sums_free(&refinement_kind, &more);
}

/* Writes the parts' changes in the order of the corpus, while all the rest adds up in sums. */
static void merge_parts(struct part *parts, size_t count, const struct model_shape *shape, struct sink *sink,
                        struct refinement_sums *sums)
{
    uint64_t free_from = 0; /* the sentence behind the last one that was written */
    for (size_t i = 0; i < count; i++)
        part_next(&parts[i], shape, sums);
    for (;;) {
        struct part *first = NULL;
        for (size_t i = 0; i < count; i++)
            if (parts[i].changes.count && (!first || parts[i].changes.sentence[0] < first->changes.sentence[0]))
                first = &parts[i];
        if (!first)
            return;
        const struct changes *changes = &first->changes;
        if (changes->sentence[0] < free_from)
            stream_fail(first->reader, "sentence %llu is in two of the inputs: their shards overlap",
                        (unsigned long long)changes->sentence[0]);
        sink_write(sink, changes);
        free_from = changes->sentence[changes->count - 1] + 1;
        part_next(first, shape, sums);
    }
}

static void merge(const struct options *options, char **paths, size_t count)
{
    struct merging *merging = merging_new(KIND, paths, count);
    struct part *parts = new_array(count, sizeof *parts);
    for (size_t i = 0; i < count; i++)
        parts[i].reader = merging_next(merging);
    struct stream_reader *first = merging_first(merging);
    struct model_shape shape = shape_read(first);
    struct refinement_sums sums = refinement_sums_new(&shape);
    struct model *model = options->last_layer ? model_load(options->model) : NULL;
    struct tokenizer *tokenizer = options->last_layer ? tokenizer_open(options->model, first) : NULL;
    if (model)
        header_check_model(first, model);
    struct stream_writer *writer = options->sums
        ? stream_create(options->output, options->gzip, stream_header(first)) : NULL;
    struct sink sink = sink_open(options, model, tokenizer, writer);
    merge_parts(parts, count, &shape, &sink, &sums);
    sink_close(&sink);

    for (size_t i = 0; i < count; i++)
        merging_add(merging, parts[i].reader);
    const json_t *counts = merging_counts(merging, options->partial);
    if (!options->sums)
        counts_need_sentences(counts, "the inputs");
    if (writer) {
        layer_sums_write(&refinement_kind, writer, &sums);
        stream_finish(writer, counts);
    } else {
        write_tables(options, &sums);
    }
    merging_free(merging);
    free(parts);
    layer_sums_free(&refinement_kind, &sums);
    if (tokenizer)
        tokenizer_free(tokenizer);
    if (model)
        model_free(model);
}

int main(int argc, char **argv)
{
    struct options options = {.threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "norm", "HOW", "the final norm on the blocks' outputs: none (default), its gain only, or full; residuals always have it",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "cases", "FILE", "write what layers' outputs predict to FILE: residual, ffn, both or neither", OPTION_OUT_TOO,
         &options.cases, 0, 0, NULL},
        {0, "last-layer", "FILE", "write the predictions that the last layer changed to FILE; needs --model", OPTION_OUT_TOO,
         &options.last_layer, 0, 0, NULL},
        {0, "settled", "FILE", "write from which layer on predictions stay to FILE", OPTION_OUT_TOO, &options.settled, 0, 0,
         NULL},
        {0, "perplexity", "FILE", "write the model's own perplexity on these prefixes to FILE", OPTION_OUT_TOO,
         &options.perplexity, 0, 0, NULL},
        {0, "sums", NULL, "write sums for --merge, a stream, instead of tables", OPTION_FLAG, &options.sums, 0, 0, NULL},
        {0, "merge", NULL, "join the sums of several shards, FILE..., to the tables of one run", OPTION_FLAG,
         &options.merge, 0, 0, NULL},
        OPTION_PARTIAL(&options.partial),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"refinement-stats", "Tells how predictions are refined from layer to layer.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    if (!options.merge && argc - first > 1)
        die_usage("more than one input; --merge joins the sums of several runs");
    if (options.merge && options.norm)
        die_usage("--merge keeps what its inputs were made with: --norm does not go with it");
    cli_check_partial(options.partial, options.merge);
    if ((!options.merge || options.last_layer) && !options.model)
        die_usage("--model DIR is needed");
    if (options.sums && (options.cases || options.last_layer || options.settled || options.perplexity))
        die_usage("--sums writes no tables: --cases, --last-layer, --settled and --perplexity do not go with it");
    if (options.gzip && !options.sums)
        die_usage("--gzip goes with --sums; tables are not compressed");
    if (options.merge)
        merge(&options, argv + first, (size_t)(argc - first));
    else
        run(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
