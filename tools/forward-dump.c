/*
 * forward-dump: token batches in, activations out.
 *
 * A thread takes a whole batch, computes it layer by layer, and writes each
 * layer's record at once when it is the batch's turn, else into a buffer of
 * bounded size. Layers above the last one that is asked for are not computed,
 * nor the second half of that one, nor positions behind the last row of a sentence.
 */
#include "analysis/cell_counts.h"
#include "analysis/leaders.h"
#include "analysis/maxima.h"
#include "analysis/passing_batch.h"
#include "analysis/paths.h"
#include "analysis/predictions.h"
#include "analysis/window_memory.h"
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
#include "model/window.h"
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
    uint64_t paths, seed, threads, memory;
    int products; /* of enum product_kind */
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
    struct window_size window;   /* without slots all layers stay in memory, and there is none */
    struct passing_batch *piece; /* of each slot */
    struct waiting_file *waiting; /* records of a window */
    struct stream_writer *writer;
    struct stream_reader *reader;
};

/* What one thread has. */
struct worker {
    struct dump *dump;
    struct forward *forward;
    struct projection *projection;
    struct passing_batch *piece; /* that it works on */
    struct turn *turn;         /* of the piece; NULL in a window */
    msgpack_sbuffer buffer;
    uint64_t buffered;         /* records in buffer */
    float *coefficient, *resid, *ffn; /* rows x what is written, where that is not the whole matrix */
    float *max;                /* sentences x lists x cells */
    uint16_t *argmax;          /* sentences x lists x cells */
    struct paths paths;        /* of a layer */
    float *cell_max;           /* d_ff: of one sentence */
    uint32_t *cell_argmax;
};

static uint32_t first_position(const struct options *options)
{
    return options->with_bos ? 0 : 1;
}

/* Whether a rule of edits asks for what the model predicts without any. */
static bool needs_plain_pass(const struct dump *dump)
{
    return dump->edits && edits_need_predictions(dump->edits);
}

/* Whether tokens are predicted, to be written or for a rule of edits. */
static bool predicts(const struct dump *dump)
{
    return dump->options->emit & EMIT_PREDICTION || needs_plain_pass(dump);
}

/* ---- what is written ---- */

/* The batch's rows of a matrix of d_model or of cells; see rows_select. */
static const float *select_rows(const struct worker *worker, float **selected, const float *matrix,
                                size_t width, const size_t *cells, size_t cell_count)
{
    return rows_select(&worker->piece->chosen, worker->piece->batch.rows, matrix, width, cells, cell_count,
                       selected);
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
    const struct batch *batch = &worker->piece->batch.tokens;
    size_t d_ff = dump->model->config.d_ff, count = matrix_count(batch->sentences, record->columns);
    size_t before = dump->leaders ? index * count : 0;
    float **max = dump->leaders ? &worker->piece->best : &worker->max;
    *max = grow_array(*max, before + count, sizeof **max);
    record->max = *max + before;
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
    struct layer_record record = layer_counts(dump, &worker->piece->batch);
    record.layer = dump->layers[index];
    if (emit & EMIT_MAX)
        find_maxima(worker, index, &record);
    if (dump->leaders)
        paths_find(&worker->paths, leaders_least(dump->leaders, worker->piece->number, index), &dump->ranks,
                   &worker->piece->batch.tokens, forward_coefficient(forward), d_ff, dump->cells, &record);
    if (emit & EMIT_COEF)
        record.coefficient = select_rows(worker, &worker->coefficient, forward_coefficient(forward), d_ff,
                                         dump->all_cells ? NULL : dump->cells, dump->cell_count);
    if (emit & EMIT_RESID)
        record.resid = select_rows(worker, &worker->resid, forward_residual(forward), d_model, NULL, 0);
    if (emit & EMIT_FFN)
        record.ffn = select_rows(worker, &worker->ffn, forward_ffn(forward), d_model, NULL, 0);
    fields_pack(&worker->buffer, layer_fields, layer_groups(dump->options), &record);
}

/* ---- one batch ---- */

static void write_buffer(void *of_thread)
{
    struct worker *worker = of_thread;
    stream_append(worker->dump->writer, &worker->buffer, worker->buffered);
    worker->buffered = 0;
}

/* Writes the buffer if it is this batch's turn, or if it may grow no more; in a window, has it wait. */
static void record_done(struct worker *worker)
{
    worker->buffered++;
    if (!worker->turn) {
        waiting_add(worker->dump->waiting, &worker->piece->waiting, &worker->buffer, worker->buffered);
        worker->buffered = 0;
        return;
    }
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
    struct passing_batch *piece = worker->piece;
    struct leaders *leaders = worker->dump->leaders;
    if (leaders)
        leaders_add(leaders, piece->number, piece->best, piece->batch.tokens.sentences);
    batch_free(&piece->batch.tokens);
    write_buffer(worker);
}

/* The last layer that the batch is computed to. */
static size_t last_layer(const struct worker *worker)
{
    const struct dump *dump = worker->dump;
    if (dump->options->emit & EMIT_PREDICTION)
        return dump->model->config.layers - 1;
    if (!(dump->options->emit & EMIT_KEY))
        return dump->layers[dump->layer_count - 1];
    return passing_last_key(worker->piece);
}

/* What is written before the layers, and where coefficients are edited. */
static void begin_batch(struct worker *worker)
{
    const struct dump *dump = worker->dump;
    passing_begin(worker->piece, &dump->rule, dump->options->emit & EMIT_ROWS,
                  dump->options->emit & EMIT_KEY, &worker->buffer);
    record_done(worker);
    if (dump->edits)
        passing_find_edited(worker->piece, &dump->rule, dump->edits);
}

static void compute_layer(struct worker *worker, size_t layer, bool last)
{
    const struct dump *dump = worker->dump;
    struct passing_batch *piece = worker->piece;
    forward_attention(worker->forward, layer);
    forward_coefficients(worker->forward, layer);
    if (dump->edits)
        edits_apply(dump->edits, layer, &piece->edited, forward_coefficient(worker->forward));
    if (!last || dump->options->emit & (EMIT_FFN | EMIT_PREDICTION))
        forward_values(worker->forward, layer);
    if (dump->options->emit & EMIT_KEY)
        passing_take_keys(piece, worker->forward, layer, dump->model->config.d_ff);
    if (piece->written == dump->layer_count || dump->layers[piece->written] != layer)
        return;
    cell_counts_add_kinds(dump->counts, piece->written, &piece->batch.tokens,
                          forward_coefficient(worker->forward), forward_signs(worker->forward),
                          first_position(dump->options));
    if (layer_groups(dump->options)) {
        pack_layer(worker, piece->written);
        record_done(worker);
    }
    piece->written++;
}

/* What is written behind the layers. */
static void end_batch(struct worker *worker)
{
    const struct dump *dump = worker->dump;
    if (dump->options->emit & EMIT_PREDICTION) {
        forward_output(worker->forward);
        const float *outputs = select_rows(worker, &worker->resid, forward_residual(worker->forward),
                                           dump->model->config.d_model, NULL, 0);
        predictions_pack(dump->model, worker->projection, outputs, worker->piece->chosen.next,
                         worker->piece->batch.rows, &worker->buffer);
        record_done(worker);
    }
    if (dump->options->emit & EMIT_KEY) {
        fields_pack(&worker->buffer, key_coefficients_fields, 0, &worker->piece->after);
        record_done(worker);
    }
    sentence_keys_free(&worker->piece->keys);
}

static void compute_batch(void *of_thread, struct turn *turn)
{
    struct worker *worker = of_thread;
    struct passing_batch *piece = worker->piece;
    size_t last = last_layer(worker);
    worker->turn = turn;
    if (worker->dump->leaders)
        leaders_wait(worker->dump->leaders, piece->number);
    begin_batch(worker);
    if (needs_plain_pass(worker->dump))
        predict_plain(worker->dump->model, worker->forward, worker->projection, piece->chosen.computed,
                      &piece->edited);
    forward_begin(worker->forward, piece->chosen.computed);
    for (size_t layer = 0; layer <= last; layer++)
        compute_layer(worker, layer, layer == last);
    end_batch(worker);
}

static bool take_batch(void *of_thread)
{
    struct worker *worker = of_thread;
    struct dump *dump = worker->dump;
    struct passing_batch *piece = worker->piece;
    struct record record;
    if (!stream_next(dump->reader, &record))
        return false;
    passing_read(piece, &record, &dump->model->config, dump->batches++, dump->options->emit & EMIT_KEY,
                 dump->changes);
    input_count(stream_input(dump->reader), piece->batch.tokens.tokens, "tokens");
    return true;
}

/* ---- a window of batches ---- */

/* A batch may have to wait for what leaders tell it when the window before it is done. */
static bool take_slot(void *of_thread, size_t slot)
{
    struct worker *worker = of_thread;
    struct dump *dump = worker->dump;
    worker->piece = &dump->piece[slot];
    return (!dump->leaders || leaders_known(dump->leaders, dump->batches)) && take_batch(worker);
}

/* The first pass is one without edits, where they ask for what that predicts. */
static size_t slot_layers(void *of_thread, size_t slot, size_t pass)
{
    struct worker *worker = of_thread;
    worker->piece = &worker->dump->piece[slot];
    return !pass && needs_plain_pass(worker->dump) ? worker->dump->model->config.layers
                                                   : last_layer(worker) + 1;
}

static void compute_slot(void *of_thread, size_t slot, size_t pass, size_t layer)
{
    struct worker *worker = of_thread;
    struct dump *dump = worker->dump;
    bool plain = !pass && needs_plain_pass(dump), last = layer + 1 == slot_layers(worker, slot, pass);
    struct passing_batch *piece = worker->piece;
    struct forward *forward = worker->forward;
    if (layer == 0 && pass == 0)
        begin_batch(worker);
    passing_enter(piece, forward, layer);
    if (plain)
        forward_layer(forward, layer);
    else
        compute_layer(worker, layer, last);
    if (!last)
        passing_leave(piece, forward, layer, dump->model->config.d_model);
    else if (plain)
        predict_rows(dump->model, forward, worker->projection, &piece->edited);
    else
        end_batch(worker);
}

static void write_slot(void *of_thread, size_t slot)
{
    struct worker *worker = of_thread;
    worker->piece = &worker->dump->piece[slot];
    waiting_write(worker->dump->waiting, &worker->piece->waiting, worker->dump->writer);
    finish_batch(worker);
}

/* ---- threads ---- */

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
    if (!dump->window.slots)
        worker->piece = new_array(1, sizeof *worker->piece);
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
    if (!worker->dump->window.slots) {
        passing_free(worker->piece);
        free(worker->piece);
    }
    forward_free(worker->forward);
    msgpack_sbuffer_destroy(&worker->buffer);
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
    json_t *values = json_make("{s:o, s:o, s:s, s:b}", "emit", json_words(options->emit, emit_words),
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

/* With an estimate of what the results take in memory. */
static struct window_size choose_window(const struct dump *dump)
{
    const struct options *options = dump->options;
    const struct model_config *config = &dump->model->config;
    double positions = (double)dump->product_rows, layers = (double)dump->layer_count;
    double columns = (double)dump->cell_count * (double)dump->ranks.count;
    struct memory_case memory = memory_of_model(dump->model);
    memory.positions = dump->product_rows;
    memory.threads = (size_t)options->threads;
    memory.predicts = predicts(dump);
    if (options->emit & EMIT_MAX)
        memory.thread += memory_of_maxima(dump->product_rows, columns);
    if (options->emit & EMIT_COEF)
        memory.thread += 2 * positions * (double)dump->cell_count * sizeof(float);
    if (options->emit & (EMIT_RESID | EMIT_FFN))
        memory.thread += 4 * positions * (double)config->d_model * sizeof(float);
    if (needs_signs(options))
        memory.thread += positions * (double)config->d_ff;
    memory.whole = cell_counts_bytes(counted_kinds(options->emit), dump->layer_count, config->d_ff);
    if (dump->leaders) {
        memory.whole += layers * columns * (4 * (double)options->paths + 20);
        memory.batch = layers * memory_of_maxima(dump->product_rows, columns) / 3;
    }
    return window_choose(&memory, options->memory);
}

static void run_in_window(struct dump *dump)
{
    static const struct window_work work = {worker_new, take_slot, slot_layers, compute_slot, write_slot,
                                            worker_free};
    const struct window window = {.model = dump->model, .slots = dump->window.slots,
                                  .passes = needs_plain_pass(dump) ? 2 : 1,
                                  .threads = (size_t)dump->options->threads, .ahead = dump->window.ahead};
    dump->piece = new_array(window.slots, sizeof *dump->piece);
    dump->waiting = waiting_open();
    model_set_room(dump->model, 0);
    run_window(&window, &work, dump);
    waiting_close(dump->waiting);
    for (size_t i = 0; i < window.slots; i++)
        passing_free(&dump->piece[i]);
    free(dump->piece);
}

static void dump_all(struct dump *dump)
{
    static const struct ordered_work work = {worker_new, take_batch, compute_batch, finish_batch,
                                             worker_free};
    json_t *header = make_header(dump);
    dump->window = choose_window(dump);
    dump->writer = stream_create(dump->options->output, dump->options->gzip, header);
    if (dump->window.slots) {
        run_in_window(dump);
    } else {
        model_all_ready(dump->model);
        run_ordered((size_t)dump->options->threads, &work, dump);
    }
    if (dump->options->emit & EMIT_ANY_COUNTS)
        cell_counts_write(dump->counts, dump->layers, dump->layer_count, dump->cells, dump->cell_count,
                          dump->writer);
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
    bool all = options->emit & EMIT_PREDICTION;
    size_t last = all ? dump->model->config.layers - 1 : dump->layers[dump->layer_count - 1];
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
    cell_counts_open(counted_kinds(options->emit), dump.layer_count, model->config.d_ff, dump.counts);
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
        OPTION_MEMORY(&options.memory),
        OPTION_PRODUCTS(&options.products),
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
    matrix_start((size_t)options.threads, (enum product_kind)options.products);
    struct dump dump = dump_open(&options, cli_input(argc, argv, first));
    dump_all(&dump);
    stream_close(dump.reader);
    if (dump.leaders)
        leaders_free(dump.leaders);
    cell_counts_close(dump.counts);
    free(dump.layers);
    free(dump.cells);
    candidates_free(&dump.candidates);
    edits_free(dump.edits, &options.edits);
    model_free(dump.model);
    return STATUS_DONE;
}
