/*
 * value-ranks: where words stand in what each value vector promotes.
 *
 * p_i^l = softmax(v_i^l E) (paper, section 4), as project-values has it: of each value of
 * the model the rank and probability of the tokens that are asked for, as CSV. Reads the
 * model alone. Only PROJECTION_ROWS distributions a thread are in memory at a time, and
 * with --top the best values of each token.
 */
#include "base/cli.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "base/order.h"
#include "base/output.h"
#include "base/parallel.h"
#include "model/edits.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"
#include "table/table.h"
#include "text/token_find.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *model, *layers, *ids, *edits, *output;
    struct option_texts texts;
    bool all_tokens;
    int norm;
    uint64_t top, threads;
};

/* Where a token is in the distribution of one value. */
struct place {
    size_t layer, cell;
    uint32_t rank;
    float probability;
};

/* The best places of a token: a heap with the worst of them on top. */
struct best {
    struct place *place; /* ranking's capacity */
    size_t count;
};

/* What all threads share. */
struct ranking {
    const struct options *options;
    const struct model *model;
    struct candidates candidates;
    size_t *layers, layer_count;
    size_t taken;            /* values so far, of these layers */
    uint32_t *token;         /* token_count: those that are asked for */
    char **text;             /* token_count */
    size_t token_count;
    struct best *best;       /* token_count; NULL without --top */
    size_t capacity;         /* of each best */
    struct table *table;     /* NULL: edits are written */
};

/* What one thread has: a piece of work, and its results. */
struct worker {
    struct ranking *ranking;
    struct projection *projection;
    size_t first, count;      /* values of the piece */
    float *values;            /* PROJECTION_ROWS x d_model */
    float *log_probabilities; /* PROJECTION_ROWS x vocabulary */
    struct place *place;      /* PROJECTION_ROWS x token_count */
};

/* ---- the best ---- */

/* By rank, then falling probability, then layer and cell: two are never equal. */
static int by_rank(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    int order = compare_numbers(left->rank, right->rank);
    if (!order && left->probability != right->probability)
        order = left->probability > right->probability ? -1 : 1;
    order = order ? order : compare_numbers(left->layer, right->layer);
    return order ? order : compare_numbers(left->cell, right->cell);
}

static bool is_worse(const struct place *a, const struct place *b)
{
    return by_rank(a, b) > 0;
}

DEFINE_HEAP(worst, struct place, is_worse);

static void offer(struct ranking *ranking, size_t token, const struct place *place)
{
    struct best *best = &ranking->best[token];
    if (best->count < ranking->capacity)
        worst_push(best->place, best->count++, *place);
    else if (is_worse(&best->place[0], place))
        worst_replace(best->place, best->count, *place);
}

/* Room for the best of each token, of which there are no more than values. */
static void make_room(struct ranking *ranking, size_t values)
{
    uint64_t top = ranking->options->top;
    if (!top)
        return;
    ranking->capacity = top < values ? (size_t)top : values;
    ranking->best = new_array(ranking->token_count, sizeof *ranking->best);
    for (size_t i = 0; i < ranking->token_count; i++)
        ranking->best[i].place = new_array(ranking->capacity, sizeof *ranking->best[i].place);
}

/* ---- the table ---- */

static void write_place(const struct ranking *ranking, size_t token, const struct place *place)
{
    table_layer(ranking->table, place->layer);
    table_number(ranking->table, place->cell);
    table_text(ranking->table, ranking->text[token]);
    table_number(ranking->table, ranking->token[token]);
    table_number(ranking->table, place->rank);
    table_real(ranking->table, (double)place->probability);
}

static void write_best(struct ranking *ranking)
{
    for (size_t token = 0; token < ranking->token_count; token++) {
        struct best *best = &ranking->best[token];
        qsort(best->place, best->count, sizeof *best->place, by_rank);
        for (size_t i = 0; i < best->count; i++)
            write_place(ranking, token, &best->place[i]);
    }
}

static void free_best(struct ranking *ranking)
{
    for (size_t token = 0; ranking->best && token < ranking->token_count; token++)
        free(ranking->best[token].place);
    free(ranking->best);
}

/* ---- edits ---- */

/* One of a token's best places. */
struct found {
    const struct place *place;
    size_t token; /* which of those that are asked for */
};

static int by_memory(const void *a, const void *b)
{
    const struct found *left = a, *right = b;
    int order = compare_numbers(left->place->layer, right->place->layer);
    order = order ? order : compare_numbers(left->place->cell, right->place->cell);
    return order ? order : compare_numbers(left->token, right->token);
}

/* The places of all tokens, by layer and cell. */
static struct found *find_memories(const struct ranking *ranking, size_t *count)
{
    struct found *found = new_array(matrix_count(ranking->token_count, ranking->capacity), sizeof *found);
    *count = 0;
    for (size_t token = 0; token < ranking->token_count; token++)
        for (size_t i = 0; i < ranking->best[token].count; i++)
            found[(*count)++] = (struct found){&ranking->best[token].place[i], token};
    qsort(found, *count, sizeof *found, by_memory);
    return found;
}

static void write_text(struct output *output, char *text)
{
    output_write(output, text, strlen(text));
    free(text);
}

/* A comment's part: the token, as JSON has it, so that it is on one line, and its rank. */
static void write_token(const struct ranking *ranking, struct output *output, const struct found *found,
                        bool first)
{
    json_t *json = json_readable(ranking->text[found->token]);
    char *text = json_line(json);
    write_text(output, format_string("%s %s rank %u", first ? "  #" : ",", text, found->place->rank));
    free(text);
    json_decref(json);
}

/* A line for each memory, however many tokens it is among the best of. */
static void write_edits(const struct ranking *ranking)
{
    struct output *output = output_open(ranking->options->output, OUTPUT_TEXT);
    size_t count;
    struct found *found = find_memories(ranking, &count);
    for (size_t i = 0; i < count; i++) {
        const struct place *place = found[i].place, *last = found[i - (i > 0)].place;
        bool same = i && place->layer == last->layer && place->cell == last->cell;
        if (!same)
            write_text(output, format_string("%s%zu:%zu=%s", i ? "\n" : "", layer_shown(place->layer),
                                             place->cell, ranking->options->edits));
        write_token(ranking, output, &found[i], !same);
    }
    output_write(output, "\n", 1);
    output_finish(output);
    free(found);
}

/* ---- the work ---- */

static void *worker_new(void *shared)
{
    struct ranking *ranking = shared;
    const struct model_config *config = &ranking->model->config;
    struct worker *worker = new_array(1, sizeof *worker);
    worker->ranking = ranking;
    worker->projection = projection_new(ranking->model, &ranking->candidates);
    worker->values = new_floats(matrix_count(PROJECTION_ROWS, config->d_model));
    worker->log_probabilities = new_floats(matrix_count(PROJECTION_ROWS, config->vocabulary));
    worker->place = new_array(matrix_count(PROJECTION_ROWS, ranking->token_count), sizeof *worker->place);
    return worker;
}

static bool take_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct ranking *ranking = worker->ranking;
    size_t left = ranking->layer_count * ranking->model->config.d_ff - ranking->taken;
    worker->first = ranking->taken;
    worker->count = left < PROJECTION_ROWS ? left : PROJECTION_ROWS;
    ranking->taken += worker->count;
    return worker->count > 0;
}

static void compute_piece(void *of_thread, struct turn *turn)
{
    (void)turn;
    struct worker *worker = of_thread;
    const struct ranking *ranking = worker->ranking;
    const struct model_config *config = &ranking->model->config;
    const size_t tokens = ranking->token_count;
    for (size_t i = 0; i < worker->count; i++) {
        size_t layer = ranking->layers[(worker->first + i) / config->d_ff];
        size_t cell = (worker->first + i) % config->d_ff;
        projection_value(ranking->model, (enum projection_norm)ranking->options->norm, layer, cell, false,
                         worker->values + i * config->d_model);
        for (size_t token = 0; token < tokens; token++)
            worker->place[i * tokens + token] = (struct place){.layer = layer, .cell = cell};
    }
    projection_run(worker->projection, worker->values, worker->log_probabilities);
    for (size_t i = 0; i < worker->count; i++)
        for (size_t token = 0; token < tokens; token++) {
            const float *row = worker->log_probabilities + i * config->vocabulary;
            struct place *place = &worker->place[i * tokens + token];
            place->rank = projection_rank(row, &ranking->candidates, ranking->token[token]);
            place->probability = exponential(row[ranking->token[token]]);
        }
}

static void write_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct ranking *ranking = worker->ranking;
    for (size_t i = 0; i < worker->count; i++)
        for (size_t token = 0; token < ranking->token_count; token++) {
            const struct place *place = &worker->place[i * ranking->token_count + token];
            if (ranking->best)
                offer(ranking, token, place);
            else
                write_place(ranking, token, place);
        }
}

static void worker_free(void *of_thread)
{
    struct worker *worker = of_thread;
    projection_free(worker->projection);
    free(worker->values);
    free(worker->log_probabilities);
    free(worker->place);
    free(worker);
}

/* ---- main ---- */

/* The tokens that are asked for, by text in the order of the command line, then by number; the candidates. */
static void find_tokens(struct ranking *ranking)
{
    const struct options *options = ranking->options;
    const size_t vocabulary = ranking->model->config.vocabulary;
    struct tokenizer *tokenizer = tokenizer_read(&ranking->model->config);
    size_t id_count = 0, *ids = options->ids ? cli_list(options->ids, vocabulary, "ids", &id_count) : NULL;
    ranking->token_count = options->texts.count + id_count;
    ranking->token = new_array(ranking->token_count, sizeof *ranking->token);
    ranking->text = new_array(ranking->token_count, sizeof *ranking->text);
    for (size_t i = 0; i < ranking->token_count; i++) {
        ranking->token[i] = i < options->texts.count
            ? token_find(tokenizer, vocabulary, options->texts.text[i], "token")
            : (uint32_t)ids[i - options->texts.count];
        ranking->text[i] = tokenizer_text(tokenizer, &ranking->token[i], 1);
    }
    ranking->candidates = options->all_tokens ? candidates_all(vocabulary)
                                              : tokenizer_candidates(tokenizer, &ranking->model->config);
    free(ids);
    tokenizer_free(tokenizer);
}

static void check_edits(const struct options *options)
{
    if (options->edits && !options->top)
        die_usage("--as-edits goes with --top");
    if (options->edits && !is_edit_value(options->edits))
        die_usage("--as-edits takes what a coefficient becomes: 5, '*3' or +0.5, not '%.100s'",
                  options->edits);
}

static void rank_all(struct ranking *ranking)
{
    static const struct ordered_work work = {worker_new, take_piece, compute_piece, write_piece, worker_free};
    static const char *const columns[] = {"layer", "cell", "token", "id", "rank", "probability", NULL};
    make_room(ranking, ranking->layer_count * ranking->model->config.d_ff);
    ranking->table = ranking->options->edits ? NULL : table_open(ranking->options->output, columns);
    run_ordered((size_t)ranking->options->threads, &work, ranking);
    if (ranking->table && ranking->best)
        write_best(ranking);
    if (ranking->table)
        table_finish(ranking->table);
    else
        write_edits(ranking);
    free_best(ranking);
}

int main(int argc, char **argv)
{
    struct options options = {.threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "token", "TEXT",
         "rank the token of this text; with and without a blank before it are two; may be repeated",
         OPTION_TEXTS, &options.texts, 0, 0, NULL},
        {0, "ids", "LIST", "rank these tokens, by their numbers: 5 or 0-3,7", OPTION_TEXT, &options.ids,
         0, 0, NULL},
        {0, "top", "N", "write the N best values of each token, best first (default: all values, in order)",
         OPTION_NUMBER, &options.top, 1, MAX_RANKED_VALUES, NULL},
        {0, "as-edits", "VALUE", "of --top: write the values as edits LAYER:CELL=VALUE, such as '*3' or 5",
         OPTION_TEXT, &options.edits, 0, 0, NULL},
        OPTION_LAYERS(&options.layers, "rank in the values of"),
        {0, "norm", "HOW",
         "the final norm on values: none (default, as in the paper), its gain only, or full",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        OPTION_ALL_TOKENS(&options.all_tokens),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"value-ranks",
                              "Tells which values promote a token, and where it ranks in each.", "",
                              specs, 0};
    cli_parse(&tool, argc, argv);
    if (!options.model)
        die_usage("--model DIR is needed");
    if (!options.texts.count && !options.ids)
        die_usage("--token TEXT or --ids LIST is needed");
    check_edits(&options);

    matrix_start((size_t)options.threads);
    struct model *model = model_load(options.model);
    projection_norm_check(model, (enum projection_norm)options.norm);
    struct ranking ranking = {.options = &options, .model = model};
    ranking.layers = cli_layers(options.layers, model->config.layers, &ranking.layer_count);
    find_tokens(&ranking);
    rank_all(&ranking);

    for (size_t i = 0; i < ranking.token_count; i++)
        free(ranking.text[i]);
    free(ranking.text);
    free(ranking.token);
    free(ranking.layers);
    candidates_free(&ranking.candidates);
    free(options.texts.text);
    model_free(model);
    return STATUS_DONE;
}
