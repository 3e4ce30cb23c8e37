/*
 * project-values: what each value vector promotes.
 *
 * p_i^l = softmax(v_i^l E) (paper, section 4): of each key's value the most
 * probable tokens, and the rank and probability of every trigger's next token
 * and last token. With --all it reads nothing and lists every value. Only
 * PROJECTION_ROWS distributions a thread are in memory at a time.
 */
#include "blas.h"
#include "cli.h"
#include "messages.h"
#include "projection.h"
#include "records.h"
#include "stream.h"
#include "turns.h"
#include "vector.h"

#include <pthread.h>
#include <stdlib.h>

struct options {
    const char *model, *output;
    bool gzip, all;
    int norm;
    uint64_t tops, bottoms, threads;
};

/* What all threads share. */
struct projecting {
    const struct options *options;
    const struct model *model;
    struct stream_writer *writer;
    struct turns *turns;
    pthread_mutex_t input_lock;
    uint32_t bos;                 /* the stream's */
    struct stream_reader *reader; /* NULL with --all */
    struct triggers_reader triggers;
    size_t listed;                /* values taken so far, with --all */
    uint64_t pieces;              /* of work taken so far: the next one's ticket */
};

/* One thread's piece of work: up to PROJECTION_ROWS keys. */
struct piece {
    uint64_t ticket;
    size_t count;
    struct key_triggers key[PROJECTION_ROWS];
    uint64_t *token_counts; /* vocabulary; NULL but behind the last key */
};

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
        projecting->triggers.token_counts = NULL;
        return false;
    }
    if (key->top)
        stream_fail(projecting->reader, "these triggers have projected values already");
    input_count(stream_input(projecting->reader), 1, "keys");
    return true;
}

static bool take_piece(struct projecting *projecting, struct piece *piece)
{
    *piece = (struct piece){0};
    pthread_mutex_lock(&projecting->input_lock);
    while (piece->count < PROJECTION_ROWS
           && (projecting->reader ? read_key(projecting, piece, &piece->key[piece->count])
                                  : list_key(projecting, &piece->key[piece->count])))
        piece->count++;
    bool taken = piece->count || piece->token_counts;
    if (taken)
        piece->ticket = projecting->pieces++;
    pthread_mutex_unlock(&projecting->input_lock);
    return taken;
}

/* v_i, a column of the layer's value matrix, as it is projected. */
static void gather_value(const struct model *model, enum projection_norm norm, size_t layer, size_t cell,
                         float *value)
{
    for (size_t k = 0; k < model->config.d_model; k++)
        value[k] = model->layer[layer].values[k * model->config.d_ff + cell];
    projection_norm(model, norm, value, 1);
}

/* The probabilities of some tokens. The caller frees them. */
static float *probabilities(const float *log_probabilities, const uint32_t *tokens, size_t count)
{
    float *p = new_array(count, sizeof *p);
    for (size_t i = 0; i < count; i++)
        p[i] = exponential(log_probabilities[tokens[i]]);
    return p;
}

static void annotate(struct key_triggers *key, const float *log_probabilities, size_t vocabulary,
                     const struct options *options, uint32_t bos)
{
    key->tops = (size_t)options->tops;
    key->top = new_array(key->tops, sizeof *key->top);
    projection_tops(log_probabilities, vocabulary, key->tops, key->top);
    key->top_probability = probabilities(log_probabilities, key->top, key->tops);
    if (options->bottoms) {
        key->bottoms = (size_t)options->bottoms;
        key->bottom = new_array(key->bottoms, sizeof *key->bottom);
        projection_bottoms(log_probabilities, vocabulary, key->bottoms, key->bottom);
        key->bottom_probability = probabilities(log_probabilities, key->bottom, key->bottoms);
    }

    key->next_rank = new_array(key->count, sizeof *key->next_rank);
    key->last_rank = new_array(key->count, sizeof *key->last_rank);
    key->next_probability = new_array(key->count, sizeof *key->next_probability);
    key->last_probability = new_array(key->count, sizeof *key->last_probability);
    const uint32_t *end = key->prefix;
    for (size_t i = 0; i < key->count; i++) {
        end += key->position[i];
        uint32_t next = key->next[i], last = key->position[i] ? end[-1] : bos;
        key->next_rank[i] = projection_rank(log_probabilities, vocabulary, next);
        key->last_rank[i] = projection_rank(log_probabilities, vocabulary, last);
        key->next_probability[i] = exponential(log_probabilities[next]);
        key->last_probability[i] = exponential(log_probabilities[last]);
    }
}

/* What annotate would find, where only the most probable token is asked for. */
static void annotate_top(struct projection *projection, const float *values, struct piece *piece)
{
    struct projection_question question[PROJECTION_ROWS];
    for (size_t i = 0; i < piece->count; i++)
        question[i] = (struct projection_question){.token = NO_TOKEN};
    projection_ask(projection, values, piece->count, question);
    for (size_t i = 0; i < piece->count; i++) {
        struct key_triggers *key = &piece->key[i];
        key->tops = 1;
        key->top = new_array(1, sizeof *key->top);
        key->top_probability = new_array(1, sizeof *key->top_probability);
        key->top[0] = question[i].top;
        key->top_probability[0] = exponential(question[i].top_log_probability);
    }
}

static void pack_value(msgpack_sbuffer *buffer, const struct key_triggers *key)
{
    pack_map(buffer, key->bottom ? 6 : 4);
    pack_number(buffer, "layer", key->layer);
    pack_number(buffer, "cell", key->cell);
    pack_array(buffer, "top", key->top, key->tops, sizeof *key->top);
    pack_array(buffer, "top_p", key->top_probability, key->tops, sizeof *key->top_probability);
    if (key->bottom) {
        pack_array(buffer, "bottom", key->bottom, key->bottoms, sizeof *key->bottom);
        pack_array(buffer, "bottom_p", key->bottom_probability, key->bottoms, sizeof *key->bottom_probability);
    }
}

static void pack_piece(const struct projecting *projecting, struct piece *piece, msgpack_sbuffer *buffer)
{
    for (size_t i = 0; i < piece->count; i++) {
        if (projecting->reader)
            key_triggers_pack(buffer, &piece->key[i]);
        else
            pack_value(buffer, &piece->key[i]);
        key_triggers_free(&piece->key[i]);
    }
    if (piece->token_counts)
        token_counts_pack(buffer, piece->token_counts, projecting->model->config.vocabulary);
}

static void work(void *shared)
{
    struct projecting *projecting = shared;
    const struct model *model = projecting->model;
    const size_t d_model = model->config.d_model, vocabulary = model->config.vocabulary;
    const struct options *options = projecting->options;
    bool whole = projecting->reader || options->tops > 1 || options->bottoms; /* distributions are needed */
    struct projection *projection = projection_new(model);
    float *values = new_floats(matrix_count(PROJECTION_ROWS, d_model));
    float *log_probabilities = whole ? new_floats(matrix_count(PROJECTION_ROWS, vocabulary)) : NULL;
    struct piece piece;
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    while (take_piece(projecting, &piece)) {
        for (size_t i = 0; i < piece.count; i++)
            gather_value(model, (enum projection_norm)options->norm, piece.key[i].layer,
                         piece.key[i].cell, values + i * d_model);
        if (whole) {
            projection_run(projection, values, log_probabilities);
            for (size_t i = 0; i < piece.count; i++)
                annotate(&piece.key[i], log_probabilities + i * vocabulary, vocabulary, options, projecting->bos);
        } else {
            annotate_top(projection, values, &piece);
        }
        pack_piece(projecting, &piece, &buffer);
        turns_wait(projecting->turns, piece.ticket);
        stream_append(projecting->writer, &buffer, piece.count + (piece.token_counts != NULL));
        turns_pass(projecting->turns);
        free(piece.token_counts);
    }
    msgpack_sbuffer_destroy(&buffer);
    projection_free(projection);
    free(values);
    free(log_probabilities);
}

static json_t *make_header(const struct projecting *projecting)
{
    const struct options *options = projecting->options;
    const struct stream_reader *reader = projecting->reader;
    json_t *header = header_new(reader ? "triggers" : "values", reader ? stream_header(reader) : NULL);
    header_set_model(header, projecting->model);
    json_put(header, "norm", json_string(projection_norm_words[options->norm]));
    if (reader) {
        header_declare_triggers(header, true);
    } else {
        header_declare(header, "top", "uint32", json_make("[s]", "tops"));
        header_declare(header, "top_p", "float32", json_make("[s]", "tops"));
    }
    json_t *stage = json_make("{s:I, s:s, s:s}", "tops", (json_int_t)options->tops, "norm",
                              projection_norm_words[options->norm], "blas", blas_name());
    if (options->bottoms) {
        header_declare(header, "bottom", "uint32", json_make("[s]", "bottoms"));
        header_declare(header, "bottom_p", "float32", json_make("[s]", "bottoms"));
        json_put(stage, "bottoms", json_integer((json_int_t)options->bottoms));
    }
    header_add_stage(header, "project-values", stage);
    return header;
}

static void project_all(struct projecting *projecting)
{
    json_t *header = make_header(projecting);
    json_t *none = json_make("{}");
    projecting->writer = stream_create(projecting->options->output, projecting->options->gzip, header);
    projecting->turns = turns_new();
    if (pthread_mutex_init(&projecting->input_lock, NULL) != 0)
        die("cannot make a lock");
    run_threads((size_t)projecting->options->threads, work, projecting);
    stream_finish(projecting->writer, projecting->reader ? stream_trailer(projecting->reader) : none);
    pthread_mutex_destroy(&projecting->input_lock);
    turns_free(projecting->turns);
    json_decref(none);
    json_decref(header);
}

int main(int argc, char **argv)
{
    struct options options = {.tops = 10, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'k', "tops", "N", "tokens listed of each value (default 10)", OPTION_NUMBER, &options.tops, 1, 1 << 16, NULL},
        {0, "bottoms", "N", "least probable tokens listed of each value (default 0)", OPTION_NUMBER, &options.bottoms,
         0, 1 << 16, NULL},
        {0, "norm", "HOW", "the final norm on values: none (default, as in the paper), its gain only, or full",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "all", NULL, "read nothing; list every value of the model", OPTION_FLAG, &options.all, 0, 0, NULL},
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

    blas_start((size_t)options.threads);
    struct model *model = model_load(options.model);
    struct projecting projecting = {.options = &options, .model = model};
    projection_norm_check(model, (enum projection_norm)options.norm);
    if (options.tops > model->config.vocabulary)
        die_usage("--tops %llu is more than the vocabulary has", (unsigned long long)options.tops);
    if (options.bottoms > model->config.vocabulary)
        die_usage("--bottoms %llu is more than the vocabulary has", (unsigned long long)options.bottoms);
    if (!options.all) {
        projecting.reader = stream_open(cli_input(argc, argv, first), "triggers");
        header_check_model(projecting.reader, model);
        projecting.triggers = triggers_open(projecting.reader);
        projecting.bos = (uint32_t)header_number(projecting.reader, "tokenizer", "bos", model->config.vocabulary - 1);
    }
    project_all(&projecting);
    if (projecting.reader)
        stream_close(projecting.reader);
    model_free(model);
    return STATUS_DONE;
}
