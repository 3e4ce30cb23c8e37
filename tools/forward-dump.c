/*
 * forward-dump: token batches in, activations out.
 *
 * A thread takes a whole batch, computes it layer by layer, and writes each
 * layer's record at once when it is the batch's turn, else into a buffer of
 * bounded size. Layers above the last one that is asked for are not computed,
 * nor the second half of that one, nor positions behind the last row of a sentence.
 */
#include "analysis/cell_counts.h"
#include "analysis/chosen_rows.h"
#include "analysis/leaders.h"
#include "analysis/maxima.h"
#include "analysis/paths.h"
#include "analysis/plain_predictions.h"
#include "analysis/sentence_keys.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "base/parallel.h"
#include "model/edits.h"
#include "model/family_table.h"
#include "model/forward.h"
#include "model/model_header.h"
#include "model/model_norm.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"
#include "stream/activations.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* What --emit can name, in this order. */
enum {
    EMIT_MAX = LAYER_MAX, EMIT_COEF = LAYER_COEF, EMIT_RESID = LAYER_RESID, EMIT_FFN = LAYER_FFN,
    EMIT_PREDICTION = 16, EMIT_KEY = 32, EMIT_COUNTS = 64, EMIT_MAGNITUDES = 128, EMIT_SIGNS = 256
};
static const char *const emit_words[] = {"max", "coef", "resid", "ffn", "prediction", "key", "counts",
                                         "magnitudes", "signs", NULL};
enum { EMIT_ANY_COUNTS = EMIT_COUNTS | EMIT_MAGNITUDES | EMIT_SIGNS };
enum { EMIT_ROWS = EMIT_COEF | EMIT_RESID | EMIT_FFN | EMIT_PREDICTION };
static const char *const position_words[] = {"all", "random", NULL};
enum { POSITIONS_ALL, POSITIONS_RANDOM };

/* A thread that is ahead of its turn waits when this much is in its buffer. */
enum { MAX_BUFFERED = 32 << 20 };

struct options {
    const char *model, *output, *layers, *cells;
    bool gzip, with_bos, all_tokens, models;
    unsigned emit, rank;
    int positions;
    uint64_t paths, seed, threads;
    struct edit_options edits;
};

/* What all threads share. */
struct dump {
    const struct options *options;
    struct model *model;
    struct candidates candidates; /* of predictions */
    size_t *layers, layer_count; /* that are written, rising */
    size_t *cells, cell_count;   /* of each layer */
    bool all_cells;
    struct ranks ranks;          /* of maxima: a list each */
    size_t changes;              /* that the header names, for EMIT_KEY */
    uint64_t batches;            /* taken so far */
    struct leaders *leaders;     /* NULL unless there are paths */
    struct cell_counts *counts[COUNTED_KINDS]; /* of the kinds that are asked for */
    struct row_rule rule;
    struct edits *edits;         /* NULL: the model as it is */
    size_t product_rows;
    struct stream_writer *writer;
    struct stream_reader *reader;
};

/* What one thread has. */
struct worker {
    struct dump *dump;
    struct forward *forward;
    struct projection *projection;
    msgpack_sbuffer buffer;
    uint64_t buffered;         /* records in buffer */
    uint64_t number;           /* of the batch, from 0 */
    struct turn *turn;         /* of the batch */
    struct activations_batch batch; /* rows: positions that are written one by one */
    struct chosen_rows chosen; /* these positions, and what of the batch is computed */
    struct sentence_keys keys; /* of the batch, for EMIT_KEY */
    struct edited_rows edited; /* where coefficients are edited */
    struct key_coefficients after; /* what became of their coefficients */
    size_t key_capacity;
    float *coefficient, *resid, *ffn; /* rows x what is written, where that is not the whole matrix */
    float *max;                /* sentences x lists x cells, with leaders of each layer */
    uint16_t *argmax;          /* sentences x lists x cells */
    struct paths paths;        /* of a layer */
    float *cell_max;           /* d_ff: of one sentence */
    uint32_t *cell_argmax;
};

static uint32_t first_position(const struct options *options)
{
    return options->with_bos ? 0 : 1;
}

/* Whether tokens are predicted, to be written or for a rule of edits. */
static bool predicts(const struct dump *dump)
{
    return dump->options->emit & EMIT_PREDICTION || (dump->edits && edits_need_predictions(dump->edits));
}

/* ---- what is written ---- */

/* The batch's rows of a matrix of d_model or of cells; see rows_select. */
static const float *select_rows(const struct worker *worker, float **selected, const float *matrix,
                                size_t width, const size_t *cells, size_t cell_count)
{
    return rows_select(&worker->chosen, worker->batch.rows, matrix, width, cells, cell_count, selected);
}

/* The kinds of counts that are asked for, a bit each. */
static unsigned counted_kinds(unsigned emit)
{
    return (emit & EMIT_COUNTS ? 1u << COUNTED_COEFFICIENTS : 0)
           | (emit & EMIT_MAGNITUDES ? 1u << COUNTED_MAGNITUDES : 0)
           | (emit & EMIT_SIGNS ? 1u << COUNTED_SIGNS : 0);
}

/*
 * Per sentence, list and cell the best coefficient by rank and its position, to the record of a layer, which
 * is number index of those that are written.
 */
static void find_maxima(struct worker *worker, size_t index, struct layer_record *record)
{
    const struct dump *dump = worker->dump;
    const struct batch *batch = &worker->batch.tokens;
    size_t d_ff = dump->model->config.d_ff, count = matrix_count(batch->sentences, record->columns);
    size_t before = dump->leaders ? index * count : 0;
    worker->max = grow_array(worker->max, before + count, sizeof *worker->max);
    record->max = worker->max + before;
    record->argmax = worker->argmax = grow_array(worker->argmax, count, sizeof *worker->argmax);
    const float *coefficients = forward_coefficient(worker->forward);
    const uint8_t *signs = forward_signs(worker->forward);
    struct maxima_positions positions = {batch_lowest(batch), first_position(dump->options), 0};
    for (size_t s = 0, row = 0, at = 0; s < batch->sentences; row += sentence_positions(batch, s), s++) {
        positions.end = batch->length[s];
        for (size_t l = 0; l < dump->ranks.count; l++) {
            column_maxima(dump->ranks.rank[l], coefficients + row * d_ff, signs ? signs + row * d_ff : NULL,
                          d_ff, positions, worker->cell_max, worker->cell_argmax);
            for (size_t i = 0; i < dump->cell_count; i++, at++) {
                record->max[at] = worker->cell_max[dump->cells[i]];
                worker->argmax[at] = (uint16_t)worker->cell_argmax[dump->cells[i]];
            }
        }
        }
}

/* The counts of a layer's record: of a batch, or, for the header, of none. */
static struct layer_record layer_counts(const struct dump *dump, const struct activations_batch *batch)
{
    struct layer_record counts = {.cells = dump->cell_count, .d_model = dump->model->config.d_model,
                                  .columns = matrix_count(dump->cell_count, dump->ranks.count)};
    if (batch) {
        counts.sentences = batch->tokens.sentences;
        counts.rows = batch->rows;
    }
    return counts;
}

/* Which of the members of a layer's record are written. */
static unsigned layer_groups(const struct options *options)
{
    return (options->emit & (EMIT_MAX | EMIT_COEF | EMIT_RESID | EMIT_FFN))
           | (options->paths ? LAYER_PATHS : 0);
}

/* index: of the layer, among those that are written. */
static void pack_layer(struct worker *worker, size_t index)
{
    const struct dump *dump = worker->dump;
    const struct forward *forward = worker->forward;
    unsigned emit = dump->options->emit;
    size_t d_model = dump->model->config.d_model, d_ff = dump->model->config.d_ff;
    struct layer_record record = layer_counts(dump, &worker->batch);
    record.layer = dump->layers[index];
    if (emit & EMIT_MAX)
        find_maxima(worker, index, &record);
    if (dump->leaders)
        paths_find(&worker->paths, leaders_least(dump->leaders, worker->number, index), &dump->ranks,
                   &worker->batch.tokens, forward_coefficient(forward), d_ff, dump->cells, &record);
    if (emit & EMIT_COEF)
        record.coefficient = select_rows(worker, &worker->coefficient, forward_coefficient(forward), d_ff,
                                         dump->all_cells ? NULL : dump->cells, dump->cell_count);
    if (emit & EMIT_RESID)
        record.resid = select_rows(worker, &worker->resid, forward_residual(forward), d_model, NULL, 0);
    if (emit & EMIT_FFN)
        record.ffn = select_rows(worker, &worker->ffn, forward_ffn(forward), d_model, NULL, 0);
    fields_pack(&worker->buffer, layer_fields, layer_groups(dump->options), &record);
}

/* The model's own predictions: its most probable token, and what the next one got. */
static void pack_prediction(struct worker *worker)
{
    const struct model *model = worker->dump->model;
    size_t rows = worker->batch.rows, d_model = model->config.d_model;
    float *outputs = new_floats(matrix_count(rows, d_model));
    struct projection_question *question = new_array(rows, sizeof *question);
    struct predictions predictions = {.rows = rows};
    fields_allocate(predictions_fields, 0, &predictions);
    const float *residual = select_rows(worker, &worker->resid, forward_residual(worker->forward), d_model,
                                        NULL, 0);
    final_norm(model, residual, rows, outputs);
    for (size_t r = 0; r < rows; r++)
        question[r].token = worker->chosen.next[r];
    projection_ask(worker->projection, outputs, rows, question);
    for (size_t r = 0; r < rows; r++) {
        predictions.top[r] = question[r].top;
        predictions.top_log_probability[r] = question[r].top_log_probability;
        predictions.next_log_probability[r] = question[r].token_log_probability;
    }
    fields_pack(&worker->buffer, predictions_fields, 0, &predictions);
    fields_free(predictions_fields, &predictions);
    free(outputs);
    free(question);
}

/* ---- one batch ---- */

static void write_buffer(void *of_thread)
{
    struct worker *worker = of_thread;
    stream_append(worker->dump->writer, &worker->buffer, worker->buffered);
    worker->buffered = 0;
}

/* Writes the buffer if it is this batch's turn, or if it may grow no more. */
static void record_done(struct worker *worker)
{
    worker->buffered++;
    if (worker->buffer.size >= MAX_BUFFERED)
        turn_wait(worker->turn);
    else if (!turn_has_come(worker->turn))
        return;
    write_buffer(worker);
}

/* What is left of the batch, in its turn. */
static void finish_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct leaders *leaders = worker->dump->leaders;
    if (leaders)
        leaders_add(leaders, worker->number, worker->max, worker->batch.tokens.sentences);
    batch_free(&worker->batch.tokens);
    write_buffer(worker);
}

static void pack_tokens(struct worker *worker)
{
    bool rows = worker->dump->options->emit & EMIT_ROWS, keys = worker->dump->options->emit & EMIT_KEY;
    const struct batch *tokens = &worker->batch.tokens;
    struct record_part parts[2] = {{batch_fields, batch_groups(tokens), tokens}};
    if (rows || worker->dump->rule.random) /* edits may be at random positions that are not written */
        rows_choose(&worker->dump->rule, &worker->batch, &worker->chosen);
    if (rows || keys)
        parts[1] = rows ? (struct record_part){rows_fields, 0, &worker->batch}
                        : (struct record_part){sentence_keys_fields, 0, &worker->keys};
    record_pack(&worker->buffer, parts, rows || keys ? 2 : 1);
}

/* Where coefficients are edited, and what rules of edits need to know of the batch. */
static void begin_edits(struct worker *worker)
{
    const struct dump *dump = worker->dump;
    rows_edited(&dump->rule, &worker->batch, &worker->chosen, edits_at(dump->edits) == EDIT_LAST,
                &worker->edited);
    if (edits_need_predictions(dump->edits))
        predict_plain(dump->model, worker->forward, worker->projection, worker->chosen.computed,
                      &worker->edited);
}

/* The last layer that the batch is computed to. */
static size_t last_layer(const struct worker *worker)
{
    const struct dump *dump = worker->dump;
    if (dump->options->emit & EMIT_PREDICTION)
        return dump->model->config.layers - 1;
    if (!(dump->options->emit & EMIT_KEY))
        return dump->layers[dump->layer_count - 1];
    size_t last = 0;
    for (size_t s = 0; s < worker->batch.tokens.sentences; s++)
        last = worker->keys.layer[s] > last ? worker->keys.layer[s] : last;
    return last;
}

/* Of the sentences whose key is of this layer: its coefficient at the last position, if any; else 0. */
static void take_key_coefficients(struct worker *worker, size_t layer)
{
    const float *coefficient = forward_coefficient(worker->forward);
    size_t d_ff = worker->dump->model->config.d_ff, row = 0;
    for (size_t s = 0; s < worker->batch.tokens.sentences; s++) {
        size_t positions = sentence_positions(&worker->batch.tokens, s);
        row += positions;
        if (worker->keys.layer[s] == layer)
            worker->after.coefficient[s] =
                positions ? coefficient[(row - 1) * d_ff + worker->keys.cell[s]] : 0;
    }
}

/* index: of the layer, among those that are written. */
static void count_coefficients(struct worker *worker, size_t index)
{
    const struct dump *dump = worker->dump;
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (dump->counts[kind])
            cell_counts_add(dump->counts[kind], index, &worker->batch.tokens,
                            forward_coefficient(worker->forward), forward_signs(worker->forward),
                            first_position(dump->options));
}

static void compute_batch(void *of_thread, struct turn *turn)
{
    struct worker *worker = of_thread;
    const struct dump *dump = worker->dump;
    bool prediction = dump->options->emit & EMIT_PREDICTION, keys = dump->options->emit & EMIT_KEY;
    size_t last = last_layer(worker);
    bool last_ffn = dump->options->emit & (EMIT_FFN | EMIT_PREDICTION);
    bool any_array = layer_groups(dump->options);
    worker->turn = turn;
    worker->chosen.computed = &worker->batch.tokens;
    if (dump->leaders)
        leaders_wait(dump->leaders, worker->number);
    pack_tokens(worker);
    record_done(worker);
    if (dump->edits)
        begin_edits(worker);
    forward_begin(worker->forward, worker->chosen.computed);
    for (size_t layer = 0, wanted = 0; layer <= last; layer++) {
        forward_attention(worker->forward, layer);
        forward_coefficients(worker->forward, layer);
        if (dump->edits)
            edits_apply(dump->edits, layer, &worker->edited, forward_coefficient(worker->forward));
        if (layer < last || last_ffn)
            forward_values(worker->forward, layer);
        if (keys)
            take_key_coefficients(worker, layer);
        if (wanted == dump->layer_count || dump->layers[wanted] != layer)
            continue;
        count_coefficients(worker, wanted);
        if (any_array) {
            pack_layer(worker, wanted);
            record_done(worker);
        }
        wanted++;
    }
    if (prediction) {
        forward_output(worker->forward);
        pack_prediction(worker);
        record_done(worker);
    }
    if (keys) {
        fields_pack(&worker->buffer, key_coefficients_fields, 0, &worker->after);
        record_done(worker);
    }
    sentence_keys_free(&worker->keys);
}

static bool take_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct dump *dump = worker->dump;
    struct record record;
    if (!stream_next(dump->reader, &record))
        return false;
    worker->batch.tokens = batch_read(&record, dump->model->config.vocabulary);
    worker->number = dump->batches++;
    if (dump->options->emit & EMIT_KEY) {
        worker->keys = sentence_keys_read(&record, worker->batch.tokens.sentences, dump->model->config.layers,
                                          dump->model->config.d_ff, dump->changes);
        worker->after.sentences = worker->batch.tokens.sentences;
        fields_reserve(key_coefficients_fields, 0, "sentences", &worker->key_capacity,
                       worker->after.sentences, &worker->after);
    }
    input_count(stream_input(dump->reader), worker->batch.tokens.tokens, "tokens");
    return true;
}

static bool needs_signs(const struct options *options)
{
    return options->emit & EMIT_SIGNS || options->rank & 1u << RANK_SIGNS;
}

static void *worker_new(void *shared)
{
    struct dump *dump = shared;
    const struct model_config *config = &dump->model->config;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->dump = dump;
    worker->forward = forward_new(dump->model, dump->product_rows);
    if (needs_signs(dump->options))
        forward_record_signs(worker->forward);
    msgpack_sbuffer_init(&worker->buffer);
    worker->cell_max = new_floats(config->d_ff);
    worker->cell_argmax = new_array(config->d_ff, sizeof *worker->cell_argmax);
    if (predicts(dump))
        worker->projection = projection_new(dump->model, &dump->candidates);
    return worker;
}

static void worker_free(void *of_thread)
{
    struct worker *worker = of_thread;
    if (worker->projection)
        projection_free(worker->projection);
    forward_free(worker->forward);
    msgpack_sbuffer_destroy(&worker->buffer);
    fields_free(key_coefficients_fields, &worker->after);
    activations_batch_free(&worker->batch);
    chosen_rows_free(&worker->chosen);
    edited_rows_free(&worker->edited);
    free(worker->coefficient);
    free(worker->resid);
    free(worker->ffn);
    free(worker->max);
    free(worker->argmax);
    paths_free(&worker->paths);
    free(worker->cell_max);
    free(worker->cell_argmax);
    free(worker);
}

/* ---- header and main ---- */

static json_t *words_as_json(unsigned bits, const char *const *words)
{
    json_t *json = json_make("[]");
    for (unsigned i = 0; words[i]; i++)
        if (bits & 1u << i && json_array_append_new(json, json_string(words[i])) != 0)
            die("out of memory");
    return json;
}

static void declare_arrays(json_t *header, const struct dump *dump)
{
    unsigned emit = dump->options->emit;
    const struct layer_record counts = layer_counts(dump, NULL);
    if (emit & EMIT_ROWS)
        fields_declare(header, rows_fields, 0, NULL);
    fields_declare(header, layer_fields, layer_groups(dump->options), &counts);
    if (emit & EMIT_PREDICTION)
        fields_declare(header, predictions_fields, 0, NULL);
    if (emit & EMIT_KEY)
        fields_declare(header, key_coefficients_fields, 0, NULL);
    struct cell_counts_record record = {0};
    memcpy(record.bins, counted_bins, sizeof record.bins);
    if (emit & EMIT_ANY_COUNTS)
        fields_declare(header, cell_counts_fields, counted_kinds(emit), &record);
}

static json_t *make_header(const struct dump *dump)
{
    const struct options *options = dump->options;
    json_t *header = header_new("activations", stream_header(dump->reader));
    json_t *values = json_make("{s:o, s:o, s:s, s:b}", "emit", words_as_json(options->emit, emit_words),
                               "rank", ranks_json(&dump->ranks), "positions",
                               position_words[options->positions], "with_bos", (int)options->with_bos);
    if (options->positions == POSITIONS_RANDOM)
        json_put(values, "seed", json_integer((json_int_t)options->seed));
    if (options->paths)
        json_put(values, "paths", json_integer((json_int_t)options->paths));
    options_set_arithmetic(values);
    if (options->emit & EMIT_PREDICTION)
        header_set_candidates(header, values, &dump->candidates);
    if (dump->edits)
        header_set_edits(header, values, dump->edits);
    header_set_model(header, dump->model);
    json_put(header, "layers", json_list(dump->layers, dump->layer_count));
    json_put(header, "cells", dump->all_cells ? json_null() : json_list(dump->cells, dump->cell_count));
    json_put(header, "positions", json_string(position_words[options->positions]));
    json_put(header, "first", json_integer(first_position(options)));
    json_put(header, "rank", ranks_json(&dump->ranks));
    if (options->paths)
        json_put(header, "paths", json_integer((json_int_t)options->paths));
    declare_arrays(header, dump);
    header_add_stage(header, "forward-dump", values);
    return header;
}

/* The tokens must have been made with this model's tokenizer, which tells what can be predicted. */
static void read_tokenizer(struct dump *dump)
{
    const struct model_config *config = &dump->model->config;
    struct tokenizer *tokenizer = tokenizer_read(config);
    tokenizer_check(tokenizer, config, dump->reader);
    if (header_bos(dump->reader, config->vocabulary) == NO_TOKEN && dump->options->with_bos)
        stream_fail(dump->reader, "its sentences are read without BOS, so that no prefix is empty: leave out "
                                  "--with-bos, or see --bos of tokenize");
    dump->candidates = dump->options->all_tokens ? candidates_all(config->vocabulary)
                                                 : tokenizer_candidates(tokenizer, config);
    tokenizer_free(tokenizer);
}

/* How often the coefficients of each layer's cells occur, behind all batches. */
static void write_counts(struct dump *dump)
{
    struct cell_counts_record record = {.cells = dump->cell_count};
    unsigned kinds = counted_kinds(dump->options->emit);
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    memcpy(record.bins, counted_bins, sizeof record.bins);
    fields_allocate(cell_counts_fields, kinds, &record);
    for (size_t l = 0; l < dump->layer_count; l++) {
        record.layer = dump->layers[l];
        for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
            for (size_t i = 0, bins = counted_bins[kind]; record.count[kind] && i < dump->cell_count; i++)
                memcpy(record.count[kind] + i * bins,
                       cell_counts_of(dump->counts[kind], l) + dump->cells[i] * bins,
                       bins * sizeof *record.count[kind]);
        fields_pack(&buffer, cell_counts_fields, kinds, &record);
        stream_append(dump->writer, &buffer, 1);
    }
    fields_free(cell_counts_fields, &record);
    msgpack_sbuffer_destroy(&buffer);
}

static void dump_all(struct dump *dump)
{
    static const struct ordered_work work = {worker_new, take_batch, compute_batch, finish_batch,
                                             worker_free};
    json_t *header = make_header(dump);
    dump->writer = stream_create(dump->options->output, dump->options->gzip, header);
    run_ordered((size_t)dump->options->threads, &work, dump);
    if (dump->options->emit & EMIT_ANY_COUNTS)
        write_counts(dump);
    stream_finish(dump->writer, stream_trailer(dump->reader));
    json_decref(header);
}

static void check_options(const struct options *options)
{
    if (!options->model)
        die_usage("--model DIR is needed");
    if (options->emit & EMIT_KEY
        && (options->emit != EMIT_KEY || options->layers || options->cells || options->positions
            || options->with_bos))
        die_usage(
            "--emit key gives one coefficient a sentence: nothing else of --emit goes with it, nor --layers, "
            "--cells, --positions, --with-bos");
    if (options->paths && !(options->emit & EMIT_MAX))
        die_usage("--paths goes with --emit max: it is the way to a sentence's best coefficient");
}

/* Edits, of layers that are computed: those of a key's batches are known only when they are read. */
static void read_edits(struct dump *dump)
{
    const struct options *options = dump->options;
    size_t last = options->emit & EMIT_PREDICTION ? dump->model->config.layers - 1
                                                  : dump->layers[dump->layer_count - 1];
    dump->edits = edits_read(&options->edits, dump->model, options->seed);
    if (options->all_tokens && !predicts(dump))
        die_usage("--all-tokens goes with --emit prediction, or with --remove and its rule agreeing");
    if (dump->edits && edits_last_layer(dump->edits) > last)
        die_usage("layer %zu is above the last one that is computed, %zu: its edits would change nothing",
                  layer_shown(edits_last_layer(dump->edits)), layer_shown(last));
}

/* With the model, and the stream at path. */
static struct dump dump_open(const struct options *options, const char *path)
{
    struct model *model = model_load(options->model);
    struct dump dump = {.options = options, .model = model, .all_cells = !options->cells,
                        .ranks = ranks_chosen(options->rank)};
    if (needs_signs(options) && !model->config.gated)
        die_usage("--%s signs: %s has no gates; gated layers alone have the signs of gate and input",
                  options->emit & EMIT_SIGNS ? "emit" : "rank", options->model);
    dump.layers = cli_layers(options->layers, model->config.layers, &dump.layer_count);
    dump.cells = cli_list(options->cells, model->config.d_ff, "cells", &dump.cell_count);
    bool random = options->positions == POSITIONS_RANDOM;
    dump.rule = (struct row_rule){.random = random, .first = first_position(options), .seed = options->seed,
                                  .cut = random && !(options->emit & (EMIT_MAX | EMIT_ANY_COUNTS))};
    read_edits(&dump);
    dump.reader = stream_open_prompts(path, "tokens");
    if (stream_of_prompts(dump.reader) && options->emit & EMIT_PREDICTION)
        stream_fail(dump.reader, "a stream of prompts, behind which no token is known: leave prediction out "
                                 "of --emit");
    read_tokenizer(&dump);
    if (dump.edits && edits_need_predictions(dump.edits))
        edits_read_values(dump.edits, options->edits.values, model, &dump.candidates);
    header_check_edits(dump.reader, dump.edits, options->emit & EMIT_KEY);
    if (options->emit & EMIT_KEY) {
        dump.changes = json_array_size(header_changes(dump.reader));
        dump.layer_count = 0; /* no record is a layer's */
        header_check_model(dump.reader, model);
    }
    if (options->paths)
        dump.leaders = leaders_new(dump.layer_count, &dump.ranks, dump.cell_count, (size_t)options->paths);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (counted_kinds(options->emit) >> kind & 1)
            dump.counts[kind] = cell_counts_new(kind, dump.layer_count, model->config.d_ff);
    dump.product_rows = (size_t)header_number(dump.reader, "batch", "positions", MAX_BATCH_POSITIONS);
    if (!dump.product_rows)
        stream_fail(dump.reader, "the header's batch.positions is 0");
    return dump;
}

int main(int argc, char **argv)
{
    struct options options = {.emit = EMIT_MAX, .seed = 1, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "emit", "LIST",
         "of max (default: each sentence's best coefficient and its position), coef, resid, ffn, prediction, "
         "counts (how often coefficients occur), magnitudes (the same of |m|, finer), signs (how often "
         "which signs of gate and input do); or key",
         OPTION_CHOICES, &options.emit, 0, 0, emit_words},
        {0, "rank", "LIST",
         "of max: largest coefficients (default: value), absolute values (abs), the lowest (min), those of "
         "each combination of signs of gate and input (signs), or several, such as value,min",
         OPTION_CHOICES, &options.rank, 0, 0, ranks_option_words},
        {0, "paths", "N",
         "of max: the coefficients along the prefixes that may be among a key's N best (default: none)",
         OPTION_NUMBER, &options.paths, 1, MAX_TRIGGERS, NULL},
        OPTION_LAYERS(&options.layers, "compute"),
        OPTION_CELLS(&options.cells, "write"),
        {0, "positions", "WHICH",
         "all (default), or one random position a sentence, for coef, resid, ffn, prediction", OPTION_CHOICE,
         &options.positions, 0, 0, position_words},
        OPTION_SEED(&options.seed),
        {0, "with-bos", NULL, "let the empty prefix, BOS alone, be a maximum or a random position",
         OPTION_FLAG, &options.with_bos, 0, 0, NULL},
        OPTION_ALL_TOKENS(&options.all_tokens),
        {0, "models", NULL, "write the families of models that are known, as CSV, and nothing else",
         OPTION_FLAG, &options.models, 0, 0, NULL},
        OPTIONS_EDITS(&options.edits),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"forward-dump", "Runs the model over token batches and writes activations.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (options.models) {
        if (options.model || first < argc)
            die_usage("--models reads nothing: give it without a model and a file");
        family_table_write(options.output);
        return STATUS_DONE;
    }
    check_options(&options);
    matrix_start((size_t)options.threads);
    struct dump dump = dump_open(&options, cli_input(argc, argv, first));
    dump_all(&dump);
    stream_close(dump.reader);
    if (dump.leaders)
        leaders_free(dump.leaders);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (dump.counts[kind])
            cell_counts_free(dump.counts[kind]);
    free(dump.layers);
    free(dump.cells);
    candidates_free(&dump.candidates);
    edits_free(dump.edits, &options.edits);
    model_free(dump.model);
    return STATUS_DONE;
}
