/*
 * project-values: what each value vector promotes.
 *
 * p_i^l = softmax(v_i^l E) (paper, section 4): of each key's value the most
 * probable tokens that can follow, and the rank and probability of every trigger's next token
 * and last token. Where the triggers' coefficients are negative the value is read as -v_i^l. With --all
 * it reads nothing and lists every value. Only PROJECTION_ROWS distributions a thread are in memory
 * at a time. These rows are a block, the unit of work, of which a shard takes whole ones; --merge puts those
 * of all shards into the order of the keys.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/parallel.h"
#include "model/model_header.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"
#include "stream/counts.h"
#include "stream/coverage.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define NOT_GIVEN UINT64_MAX
enum { DEFAULT_TOPS = 10 };

struct options {
    const char *model, *shard, *output;
    bool gzip, all, all_tokens, merge, partial;
    int norm;
    uint64_t tops, bottoms, threads;
    int products; /* of enum product_kind */
};

/* What all threads share. */
struct projecting {
    const struct options *options;
    const struct model *model;
    struct candidates candidates;
    struct stream_writer *writer;
    struct stream_reader *reader; /* NULL with --all */
    struct triggers_reader triggers;
    size_t listed;                /* values taken so far, with --all */
    struct coverage coverage;     /* which blocks are this run's */
};

/* A piece of work: up to PROJECTION_ROWS keys. */
struct piece {
    size_t count;
    struct key_triggers key[PROJECTION_ROWS];
    struct token_counts token_counts; /* count NULL but behind the last key */
};

/* What one thread has. */
struct worker {
    struct projecting *projecting;
    struct projection *projection;
    struct piece piece;
    float *values;            /* PROJECTION_ROWS x d_model */
    float *log_probabilities; /* PROJECTION_ROWS x vocabulary; NULL where no distribution is needed */
    msgpack_sbuffer buffer;
};

/* What is added to each key's record, or, with --all, to each value's, besides ranks. */
static unsigned value_groups(const struct options *options)
{
    return KEY_TOPS | (options->bottoms ? KEY_BOTTOMS : 0);
}

/* With --all: the next key of the model. */
static bool list_key(struct projecting *projecting, struct key_triggers *key)
{
    size_t d_ff = projecting->model->config.d_ff;
    if (projecting->listed == projecting->model->config.layers * d_ff)
        return false;
    *key = (struct key_triggers){.layer = projecting->listed / d_ff, .cell = projecting->listed % d_ff};
    projecting->listed++;
    return true;
}

/* The next key of the stream. Counts of tokens, which follow the last key, go to the piece. */
static bool read_key(struct projecting *projecting, struct piece *piece, struct key_triggers *key)
{
    if (!triggers_next(&projecting->triggers, key)) {
        piece->token_counts = projecting->triggers.token_counts;
        projecting->triggers.token_counts = (struct token_counts){0};
        return false;
    }
    if (key->top)
        stream_fail(projecting->reader, "these triggers have projected values already");
    input_count(stream_input(projecting->reader), 1, "keys");
    return true;
}

/* Shards of the same triggers have the same hash, whichever blocks they take. */
static void hash_key(struct hash *hash, const struct key_triggers *key)
{
    const uint64_t numbers[] = {key->layer, key->cell, key->list, key->count};
    hash_add(hash, numbers, sizeof numbers);
    hash_add(hash, key->coefficient, key->count * sizeof *key->coefficient);
    hash_add(hash, key->sentence, key->count * sizeof *key->sentence);
    hash_add(hash, key->position, key->count * sizeof *key->position);
}

/* The next block, whosever it is, into a piece that is empty; false: there is none. */
static bool next_block(struct projecting *projecting, struct piece *piece)
{
    while (piece->count < PROJECTION_ROWS
           && (projecting->reader ? read_key(projecting, piece, &piece->key[piece->count])
                                  : list_key(projecting, &piece->key[piece->count]))) {
        hash_key(projecting->coverage.hash, &piece->key[piece->count]);
        piece->count++;
    }
    return piece->count;
}

/* Counts of tokens are in each shard. */
static bool take_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct projecting *projecting = worker->projecting;
    struct piece *piece = &worker->piece;
    *piece = (struct piece){0};
    while (next_block(projecting, piece) && !coverage_take(&projecting->coverage, true)) {
        while (piece->count)
            key_triggers_free(&piece->key[--piece->count]);
        if (piece->token_counts.count)
            break;
    }
    return piece->count || piece->token_counts.count;
}

/* The probabilities of some tokens. */
static void take_probabilities(const float *log_probabilities, const uint32_t *tokens, size_t count, float *p)
{
    for (size_t i = 0; i < count; i++)
        p[i] = exponential(log_probabilities[tokens[i]]);
}

/* What the value promotes: room for it. */
static void make_room(struct key_triggers *key, const struct options *options)
{
    key->tops = (size_t)options->tops;
    key->bottoms = (size_t)options->bottoms;
    fields_allocate(key_fields, value_groups(options), key);
}

static void annotate(struct key_triggers *key, const float *log_probabilities,
                     const struct projecting *projecting)
{
    const struct candidates *candidates = &projecting->candidates;
    make_room(key, projecting->options);
    projection_tops(log_probabilities, candidates, key->tops, key->top);
    take_probabilities(log_probabilities, key->top, key->tops, key->top_probability);
    if (key->bottoms) {
        projection_bottoms(log_probabilities, candidates, key->bottoms, key->bottom);
        take_probabilities(log_probabilities, key->bottom, key->bottoms, key->bottom_probability);
    }
    if (!key->coefficient)
        return;
    fields_allocate(key_fields, KEY_RANKS, key);
    for (struct prefix_walk prefix = key_prefixes(key, key->count); prefix_next(&prefix);) {
        size_t i = prefix.index;
        uint32_t next = key->next[i], last = prefix_last(&prefix, projecting->triggers.bos);
        key->next_rank[i] = projection_rank(log_probabilities, candidates, next);
        key->last_rank[i] = projection_rank(log_probabilities, candidates, last);
        key->next_probability[i] = exponential(log_probabilities[next]);
        key->last_probability[i] = exponential(log_probabilities[last]);
    }
}

/* What annotate would find, where only the most probable token is asked for. */
static void annotate_top(struct projection *projection, const float *values, struct piece *piece,
                         const struct options *options)
{
    struct projection_question question[PROJECTION_ROWS];
    for (size_t i = 0; i < piece->count; i++)
        question[i] = (struct projection_question){.token = NO_TOKEN};
    projection_ask(projection, values, piece->count, question);
    for (size_t i = 0; i < piece->count; i++) {
        struct key_triggers *key = &piece->key[i];
        make_room(key, options);
        key->top[0] = question[i].top;
        key->top_probability[0] = exponential(question[i].top_log_probability);
    }
}

static void pack_piece(struct piece *piece, msgpack_sbuffer *buffer)
{
    for (size_t i = 0; i < piece->count; i++) {
        fields_pack(buffer, key_fields, key_triggers_groups(&piece->key[i]), &piece->key[i]);
        key_triggers_free(&piece->key[i]);
    }
    if (piece->token_counts.count)
        fields_pack(buffer, token_counts_fields, 0, &piece->token_counts);
}

static void *worker_new(void *shared)
{
    struct projecting *projecting = shared;
    const struct options *options = projecting->options;
    const struct model_config *config = &projecting->model->config;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->projecting = projecting;
    worker->projection = projection_new(projecting->model, &projecting->candidates);
    worker->values = new_floats(matrix_count(PROJECTION_ROWS, config->d_model));
    if (projecting->reader || options->tops > 1 || options->bottoms)
        worker->log_probabilities = new_floats(matrix_count(PROJECTION_ROWS, config->vocabulary));
    msgpack_sbuffer_init(&worker->buffer);
    return worker;
}

static void worker_free(void *of_thread)
{
    struct worker *worker = of_thread;
    msgpack_sbuffer_destroy(&worker->buffer);
    projection_free(worker->projection);
    free(worker->values);
    free(worker->log_probabilities);
    free(worker);
}

/* Whether the value is read as -v_i: its list of triggers is one of negative coefficients. */
static bool is_negative(const struct projecting *projecting, const struct key_triggers *key)
{
    return projecting->reader && rank_is_negative(triggers_rank(&projecting->triggers, key));
}

static void compute_piece(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct projecting *projecting = worker->projecting;
    const struct model *model = projecting->model;
    const size_t d_model = model->config.d_model, vocabulary = model->config.vocabulary;
    struct piece *piece = &worker->piece;
    for (size_t i = 0; i < piece->count; i++)
        projection_value(model, (enum projection_norm)projecting->options->norm, piece->key[i].layer,
                         piece->key[i].cell, is_negative(projecting, &piece->key[i]),
                         worker->values + i * d_model);
    if (worker->log_probabilities) {
        projection_run(worker->projection, worker->values, worker->log_probabilities);
        for (size_t i = 0; i < piece->count; i++)
            annotate(&piece->key[i], worker->log_probabilities + i * vocabulary, projecting);
    } else {
        annotate_top(worker->projection, worker->values, piece, projecting->options);
    }
    pack_piece(piece, &worker->buffer);
}

static void write_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct piece *piece = &worker->piece;
    size_t records = piece->count + (piece->token_counts.count != NULL);
    stream_append(worker->projecting->writer, &worker->buffer, records);
    fields_free(token_counts_fields, &piece->token_counts);
}

static json_t *make_header(const struct projecting *projecting)
{
    const struct options *options = projecting->options;
    const struct stream_reader *reader = projecting->reader;
    json_t *header = header_new(reader ? "triggers" : "values", reader ? stream_header(reader) : NULL);
    header_set_model(header, projecting->model);
    json_put(header, "norm", json_string(projection_norm_words[options->norm]));
    fields_declare(header, key_fields, reader ? KEY_TRIGGERS | KEY_TOPS | KEY_RANKS : KEY_TOPS, NULL);
    json_t *stage = json_make("{s:I, s:s}", "tops", (json_int_t)options->tops, "norm",
                              projection_norm_words[options->norm]);
    options_set_arithmetic(stage);
    header_set_candidates(header, stage, &projecting->candidates);
    if (options->bottoms) {
        fields_declare(header, key_fields, KEY_BOTTOMS, NULL);
        json_put(stage, "bottoms", json_integer((json_int_t)options->bottoms));
    }
    header_add_stage(header, "project-values", stage);
    return header;
}

static void project_all(struct projecting *projecting)
{
    static const struct ordered_work work = {worker_new, take_piece, compute_piece, write_piece, worker_free};
    json_t *header = make_header(projecting);
    json_t *counts = json_make("{}");
    projecting->writer = stream_create(projecting->options->output, projecting->options->gzip, header);
    run_ordered((size_t)projecting->options->threads, &work, projecting);
    if (projecting->reader)
        counts_pass(counts, stream_trailer(projecting->reader));
    coverage_end(&projecting->coverage, &whole_keys, counts);
    stream_finish(projecting->writer, counts);
    json_decref(counts);
    json_decref(header);
}

/* ---- merging ---- */

/* Shards of one kind, triggers or values. */
struct merge {
    const struct options *options;
    bool of_values;
    struct triggers_reader *inputs; /* count: those that were begun; of values only stream and shape */
    size_t count, capacity;
    struct stream_writer *writer;
    msgpack_sbuffer buffer;
    uint64_t written;               /* keys' lists, or values */
};

static void begin_merge(void *merging, struct stream_reader *first)
{
    struct merge *merge = merging;
    const char *kind = json_string_value(json_object_get(stream_header(first), "kind"));
    merge->of_values = !strcmp(kind, "values");
    if (!merge->of_values && strcmp(kind, "triggers"))
        stream_fail(first, "a stream of kind '%s', where 'triggers' or 'values' is needed", kind);
    merge->writer = stream_create(merge->options->output, merge->options->gzip, stream_header(first));
    msgpack_sbuffer_init(&merge->buffer);
}

/* The reader of an input, which is begun when it is first asked for. */
static struct triggers_reader *reader_of(struct merge *merge, struct stream_reader *input)
{
    for (size_t i = 0; i < merge->count; i++)
        if (merge->inputs[i].stream == input)
            return &merge->inputs[i];
    merge->inputs = reserve_array(merge->inputs, &merge->capacity, merge->count + 1, sizeof *merge->inputs);
    merge->inputs[merge->count] = merge->of_values
        ? (struct triggers_reader){.stream = input, .shape = shape_read(input)} : triggers_open_part(input);
    return &merge->inputs[merge->count++];
}

static bool next_value(struct triggers_reader *reader, struct key_triggers *value)
{
    struct record record;
    *value = (struct key_triggers){.lists = 1};
    if (!stream_next(reader->stream, &record))
        return false;
    fields_read(&record, key_fields, KEY_TOPS | (fields_found(&record, key_fields) & KEY_BOTTOMS), value);
    number_check(reader->stream, "layer", value->layer, reader->shape.layers - 1);
    number_check(reader->stream, "cell", value->cell, reader->shape.d_ff - 1);
    return true;
}

static struct listed next_listed(void *merging, struct stream_reader *input, uint64_t so_far)
{
    (void)so_far;
    struct merge *merge = merging;
    struct triggers_reader *reader = reader_of(merge, input);
    struct key_triggers *key = new_array(1, sizeof *key);
    if (!(merge->of_values ? next_value(reader, key) : triggers_next(reader, key))) {
        free(key);
        return (struct listed){0};
    }
    if (!key->top)
        stream_fail(input, "triggers without projected values: topk-keys --merge joins those");
    uint64_t number = key_record(key, reader->shape.d_ff);
    return (struct listed){key, 1, number, number};
}

static void take_listed(void *merging, const struct listed *listed)
{
    struct merge *merge = merging;
    struct key_triggers *key = listed->records;
    fields_pack(&merge->buffer, key_fields, key_triggers_groups(key), key);
    stream_append(merge->writer, &merge->buffer, 1);
    merge->written++;
    key_triggers_free(key);
    free(key);
}

static char *name_key(const void *merging, uint64_t number)
{
    const struct merge *merge = merging;
    size_t lists = merge->of_values ? 1 : merge->inputs[0].ranks.count, d_ff = merge->inputs[0].shape.d_ff;
    return key_name(number / lists, d_ff);
}

static void write_token_counts(struct merge *merge)
{
    const struct token_counts *counts = &merge->inputs[0].token_counts;
    for (size_t i = 1; i < merge->count; i++)
        if (!token_counts_equal(&merge->inputs[i].token_counts, counts))
            token_counts_fail(merge->inputs[i].stream);
    if (!counts->count)
        return;
    fields_pack(&merge->buffer, token_counts_fields, 0, counts);
    stream_append(merge->writer, &merge->buffer, 1);
}

static void end_merge(void *merging, const struct stream_reader *first, const json_t *counts)
{
    struct merge *merge = merging;
    const struct triggers_reader *reader = &merge->inputs[0];
    uint64_t all = merge->of_values ? (uint64_t)reader->shape.layers * reader->shape.d_ff
                                    : (uint64_t)reader->keys * reader->ranks.count;
    if (!json_object_get(counts, COVERAGE_KEY_BLOCKS) && merge->written != all)
        stream_fail(first, "all inputs together have %llu %s, not %llu", (unsigned long long)merge->written,
                    merge->of_values ? "values" : "lists of keys", (unsigned long long)all);
    write_token_counts(merge);
    stream_finish(merge->writer, counts);
    msgpack_sbuffer_destroy(&merge->buffer);
    for (size_t i = 0; i < merge->count; i++)
        triggers_close(&merge->inputs[i]);
    free(merge->inputs);
}

static void merge_shards(const struct options *options, char **paths, size_t count)
{
    static const struct merge_work work = {.whole = &whole_keys, .begin = begin_merge, .next = next_listed,
                                           .take = take_listed, .name = name_key, .end = end_merge};
    merge_inputs(&work, paths, count, options->partial, &(struct merge){.options = options});
}

/* ---- main ---- */

static void check_count(const char *option, uint64_t count, const struct candidates *candidates)
{
    if (count > candidates->count)
        die_usage("--%s %llu is more than the %zu tokens that can follow", option, (unsigned long long)count,
                  candidates->count);
}

static void check_options(const struct options *options, int operands)
{
    cli_check_partial(options->partial, options->merge);
    if (options->merge
        && (options->model || options->all || options->all_tokens || options->shard || options->tops
            || options->products || options->bottoms != NOT_GIVEN || options->norm >= 0))
        die_usage("--merge keeps what its inputs have; of the options only --partial, -o and -z go with it");
    if (!options->merge && !options->model)
        die_usage("--model DIR is needed");
    if (!options->merge && operands > 1)
        die_usage("more than one input; --merge joins the outputs of several shards");
    if (options->all && operands)
        die_usage("--all reads no input, but one is given");
}

static void project(struct options *options, const char *path)
{
    matrix_start((size_t)options->threads, (enum product_kind)options->products);
    struct model *model = model_load(options->model);
    if (options->norm < 0)
        options->norm = PROJECTION_NORM_NONE;
    if (!options->tops)
        options->tops = DEFAULT_TOPS;
    struct projecting projecting = {.options = options, .model = model,
                                    .coverage = coverage_begin(options->shard)};
    projection_norm_check(model, (enum projection_norm)options->norm);
    projecting.candidates = candidates_read(&model->config, options->all_tokens);
    /* A gated layer's negative coefficient promotes what its value demotes. */
    if (options->bottoms == NOT_GIVEN)
        options->bottoms = options->all && model->config.gated ? 1 : 0;
    check_count("tops", options->tops, &projecting.candidates);
    check_count("bottoms", options->bottoms, &projecting.candidates);
    if (!options->all) {
        projecting.reader = stream_open(path, "triggers");
        header_check_model(projecting.reader, model);
        projecting.triggers = triggers_open(projecting.reader);
    }
    project_all(&projecting);
    if (projecting.reader)
        stream_close(projecting.reader);
    candidates_free(&projecting.candidates);
    model_free(model);
}

int main(int argc, char **argv)
{
    struct options options = {.bottoms = NOT_GIVEN, .norm = -1, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'k', "tops", "N", "tokens listed of each value (default 10)", OPTION_NUMBER, &options.tops, 1,
         MAX_LISTED_TOKENS, NULL},
        {0, "bottoms", "N",
         "least probable tokens listed of each value (default 0; 1 with --all of gated layers)",
         OPTION_NUMBER, &options.bottoms, 0, MAX_LISTED_TOKENS, NULL},
        {0, "norm", "HOW",
         "the final norm on values: none (default, as in the paper), its gain only, or full", OPTION_CHOICE,
         &options.norm, 0, 0, projection_norm_words},
        {0, "all", NULL, "read nothing; list every value of the model", OPTION_FLAG, &options.all, 0, 0,
         NULL},
        OPTION_ALL_TOKENS(&options.all_tokens),
        OPTION_SHARD(&options.shard, "block of keys or values"),
        {0, "merge", NULL, "join the outputs of several shards, FILE..., into that of one run", OPTION_FLAG,
         &options.merge, 0, 0, NULL},
        OPTION_PARTIAL(&options.partial),
        OPTION_PRODUCTS(&options.products),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"project-values",
                              "Annotates triggers with their values' distributions over the vocabulary.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options, argc - first);
    if (options.merge)
        merge_shards(&options, argv + first, (size_t)(argc - first));
    else
        project(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
