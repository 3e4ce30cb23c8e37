/*
 * project-values: what each value vector promotes.
 *
 * p_i^l = softmax(v_i^l E) (paper, section 4): of each key's value the most
 * probable tokens that can follow, and the rank and probability of every trigger's next token
 * and last token. Where the triggers' coefficients are negative the value is read as -v_i^l. With --all
 * it reads nothing and lists every value. Only PROJECTION_ROWS distributions a thread are in memory
 * at a time.
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
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "text/tokenizer.h"

#include <stdlib.h>

#define NOT_GIVEN UINT64_MAX

struct options {
    const char *model, *output;
    bool gzip, all, all_tokens;
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

static bool take_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct projecting *projecting = worker->projecting;
    struct piece *piece = &worker->piece;
    *piece = (struct piece){0};
    while (piece->count < PROJECTION_ROWS
           && (projecting->reader ? read_key(projecting, piece, &piece->key[piece->count])
                                  : list_key(projecting, &piece->key[piece->count])))
        piece->count++;
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
    json_t *none = json_make("{}");
    projecting->writer = stream_create(projecting->options->output, projecting->options->gzip, header);
    run_ordered((size_t)projecting->options->threads, &work, projecting);
    stream_finish(projecting->writer, projecting->reader ? stream_trailer(projecting->reader) : none);
    json_decref(none);
    json_decref(header);
}

static void check_count(const char *option, uint64_t count, const struct candidates *candidates)
{
    if (count > candidates->count)
        die_usage("--%s %llu is more than the %zu tokens that can follow", option, (unsigned long long)count,
                  candidates->count);
}

int main(int argc, char **argv)
{
    struct options options = {.tops = 10, .bottoms = NOT_GIVEN, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'k', "tops", "N", "tokens listed of each value (default 10)", OPTION_NUMBER, &options.tops, 1,
         1 << 16, NULL},
        {0, "bottoms", "N",
         "least probable tokens listed of each value (default 0; 1 with --all of gated layers)",
         OPTION_NUMBER, &options.bottoms, 0, 1 << 16, NULL},
        {0, "norm", "HOW",
         "the final norm on values: none (default, as in the paper), its gain only, or full", OPTION_CHOICE,
         &options.norm, 0, 0, projection_norm_words},
        {0, "all", NULL, "read nothing; list every value of the model", OPTION_FLAG, &options.all, 0, 0,
         NULL},
        OPTION_ALL_TOKENS(&options.all_tokens),
        OPTION_PRODUCTS(&options.products),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"project-values",
                              "Annotates triggers with their values' distributions over the vocabulary.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (!options.model)
        die_usage("--model DIR is needed");
    if (options.all && first < argc)
        die_usage("--all reads no input, but '%s' is given", argv[first]);

    matrix_start((size_t)options.threads, (enum product_kind)options.products);
    struct model *model = model_load(options.model);
    struct projecting projecting = {.options = &options, .model = model};
    projection_norm_check(model, (enum projection_norm)options.norm);
    projecting.candidates = candidates_read(&model->config, options.all_tokens);
    /* A gated layer's negative coefficient promotes what its value demotes. */
    if (options.bottoms == NOT_GIVEN)
        options.bottoms = options.all && model->config.gated ? 1 : 0;
    check_count("tops", options.tops, &projecting.candidates);
    check_count("bottoms", options.bottoms, &projecting.candidates);
    if (!options.all) {
        projecting.reader = stream_open(cli_input(argc, argv, first), "triggers");
        header_check_model(projecting.reader, model);
        projecting.triggers = triggers_open(projecting.reader);
    }
    project_all(&projecting);
    if (projecting.reader)
        stream_close(projecting.reader);
    candidates_free(&projecting.candidates);
    model_free(model);
    return STATUS_DONE;
}
