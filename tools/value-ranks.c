/*
 * value-ranks: where words stand in what each value vector promotes.
 *
 * p_i^l = softmax(v_i^l E) (paper, section 4), as project-values has it: of each value of
 * the model the rank and probability of the tokens that are asked for, as CSV. Reads the
 * model alone. Only PROJECTION_ROWS distributions a thread are in memory at a time, and
 * with --top the best values of each token. These rows are a block, the unit of work, of which a shard takes
 * whole ones: --sums writes their ranks as a stream, and --merge makes the table of those of all shards.
 */
#include "analysis/comparisons.h"
#include "base/cli.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "base/order.h"
#include "base/output.h"
#include "base/parallel.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"
#include "stream/coverage.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/key_records.h"
#include "table/table.h"
#include "text/token_find.h"

#include <stdlib.h>
#include <string.h>

struct options {
    struct sums_options out;
    const char *model, *layers, *ids, *edits, *shard;
    struct option_texts texts;
    bool all_tokens;
    int norm;
    uint64_t top, threads;
    int products; /* of enum product_kind */
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
    struct coverage coverage; /* which blocks of them are this run's */
    struct named_token *token; /* token_count: those that are asked for */
    char **text;             /* token_count: theirs; NULL in a merge, where the header has them */
    size_t token_count;
    size_t vocabulary;
    struct best *best;       /* token_count; NULL without --top */
    size_t capacity;         /* of each best */
    struct table *table;     /* NULL: edits or sums are written */
    struct key_writer *writer; /* NULL: a table or edits are */
};

/* A value with the ranks of all tokens, as a record. */
struct ranked_value {
    size_t layer, cell, tokens;
    uint32_t *rank;     /* tokens */
    float *probability; /* tokens */
};

/* What one thread has: a piece of work, and its results. */
struct worker {
    struct ranking *ranking;
    struct projection *projection;
    size_t first, count;      /* values of the piece */
    float *values;            /* PROJECTION_ROWS x d_model */
    float *log_probabilities; /* PROJECTION_ROWS x vocabulary */
    uint32_t *rank;           /* PROJECTION_ROWS x token_count */
    float *probability;       /* PROJECTION_ROWS x token_count */
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
    table_text(ranking->table, ranking->token[token].text);
    table_number(ranking->table, ranking->token[token].token);
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
    json_t *json = json_readable(ranking->token[found->token].text);
    char *text = json_line(json);
    write_text(output, format_string("%s %s rank %u", first ? "  #" : ",", text, found->place->rank));
    free(text);
    json_decref(json);
}

/* A line for each memory, however many tokens it is among the best of. */
static void write_edits(const struct ranking *ranking)
{
    struct output *output = output_open(ranking->options->out.output, OUTPUT_TEXT);
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

/* ---- values ---- */

/* Of a run: the values of the layers that are asked for, and one of them, not ranked yet. */
static size_t value_count(const struct ranking *ranking)
{
    return matrix_count(ranking->layer_count, ranking->model->config.d_ff);
}

static struct ranked_value value_at(const struct ranking *ranking, size_t index)
{
    const size_t d_ff = ranking->model->config.d_ff;
    return (struct ranked_value){.layer = ranking->layers[index / d_ff], .cell = index % d_ff,
                                 .tokens = ranking->token_count};
}

static void tell_value(void *of_all, const void *of_value)
{
    struct ranking *ranking = of_all;
    const struct ranked_value *value = of_value;
    for (size_t token = 0; token < value->tokens; token++) {
        const struct place place = {value->layer, value->cell, value->rank[token], value->probability[token]};
        if (ranking->best)
            offer(ranking, token, &place);
        else
            write_place(ranking, token, &place);
    }
}

/* Room, and the table, for so many values. */
static void open_results(struct ranking *ranking, size_t values)
{
    static const char *const columns[] = {"layer", "cell", "token", "id", "rank", "probability", NULL};
    make_room(ranking, values);
    ranking->table = ranking->options->edits ? NULL : table_open(ranking->options->out.output, columns);
}

static void write_results(struct ranking *ranking)
{
    if (ranking->table && ranking->best)
        write_best(ranking);
    if (ranking->table)
        table_finish(ranking->table);
    else
        write_edits(ranking);
}

/* ---- records of values, for --sums and --merge ---- */

static const struct field value_fields[] = {
    FIELD_INTEGER(struct ranked_value, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct ranked_value, cell, "cell", FIELD_NUMBER),
    FIELD_ARRAY(struct ranked_value, rank, "rank", "named tokens", tokens, 0),
    FIELD_ARRAY(struct ranked_value, probability, "p", "named tokens", tokens, 0),
    FIELD_END,
};

static unsigned value_groups(const void *value)
{
    (void)value;
    return 0;
}

static void begin_merge(void *of_all, const struct stream_reader *first)
{
    struct ranking *ranking = of_all;
    struct model_shape shape = shape_read(first);
    ranking->vocabulary = shape.vocabulary;
    ranking->token_count = named_tokens_read(first, shape.vocabulary, &ranking->token);
    if (!ranking->token_count)
        stream_fail(first, "the header names no token");
    if (!ranking->options->out.sums)
        open_results(ranking, (size_t)header_number(first, NULL, "keys", shape.layers * shape.d_ff));
}

static void prepare_value(const void *of_all, void *value)
{
    ((struct ranked_value *)value)->tokens = ((const struct ranking *)of_all)->token_count;
}

static void check_value(void *of_all, const struct record *record, unsigned groups, void *of_value)
{
    (void)groups;
    const struct ranking *ranking = of_all;
    const struct ranked_value *value = of_value;
    for (size_t i = 0; i < value->tokens; i++)
        if (value->rank[i] < 1 || value->rank[i] > ranking->vocabulary
            || !is_probability(value->probability[i]))
            stream_fail(record->reader, "a rank or probability of layer %zu cell %zu is out of range",
                        layer_shown(value->layer), value->cell);
}

static void end_merge(void *of_all, const struct stream_reader *first,
                      const struct token_counts *token_counts)
{
    (void)first;
    (void)token_counts;
    write_results(of_all);
}

static const struct key_records_kind kind = {
    .stream = "ranks", .fields = value_fields, .size = sizeof(struct ranked_value), .groups = value_groups,
    .begin = begin_merge, .prepare = prepare_value, .check = check_value, .tell = tell_value,
    .end = end_merge,
};

static json_t *make_header(const struct ranking *ranking)
{
    const struct options *options = ranking->options;
    json_t *header = header_new(kind.stream, NULL), *tokens = json_make("[]"), *layers = json_make("[]");
    json_t *stage = json_make("{s:s}", "norm", projection_norm_words[options->norm]);
    header_set_model(header, ranking->model);
    for (size_t i = 0; i < ranking->token_count; i++)
        json_add(tokens, json_make("[I, s]", (json_int_t)ranking->token[i].token, ranking->token[i].text));
    for (size_t i = 0; i < ranking->layer_count; i++)
        json_add(layers, json_integer((json_int_t)ranking->layers[i]));
    json_put(header, "layers", layers);
    json_put(header, "keys", json_integer((json_int_t)value_count(ranking)));
    json_put(header, NAMED_TOKENS, tokens);
    options_set_arithmetic(stage);
    header_set_candidates(header, stage, &ranking->candidates);
    header_add_stage(header, "value-ranks", stage);
    return header;
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
    const size_t ranks = matrix_count(PROJECTION_ROWS, ranking->token_count);
    worker->rank = new_array(ranks, sizeof *worker->rank);
    worker->probability = new_floats(ranks);
    return worker;
}

static bool take_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct ranking *ranking = worker->ranking;
    do {
        size_t left = value_count(ranking) - ranking->taken;
        worker->first = ranking->taken;
        worker->count = left < PROJECTION_ROWS ? left : PROJECTION_ROWS;
        ranking->taken += worker->count;
        for (size_t i = 0; i < worker->count; i++) {
            struct ranked_value value = value_at(ranking, worker->first + i);
            const uint64_t numbers[] = {value.layer, value.cell};
            hash_add(ranking->coverage.hash, numbers, sizeof numbers);
        }
    } while (worker->count && !coverage_take(&ranking->coverage, true));
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
        struct ranked_value value = value_at(ranking, worker->first + i);
        projection_value(ranking->model, (enum projection_norm)ranking->options->norm, value.layer,
                         value.cell, false, worker->values + i * config->d_model);
    }
    projection_run(worker->projection, worker->values, worker->log_probabilities);
    for (size_t i = 0; i < worker->count; i++)
        for (size_t token = 0; token < tokens; token++) {
            const float *row = worker->log_probabilities + i * config->vocabulary;
            const uint32_t number = ranking->token[token].token;
            worker->rank[i * tokens + token] = projection_rank(row, &ranking->candidates, number);
            worker->probability[i * tokens + token] = exponential(row[number]);
        }
}

static void write_piece(void *of_thread)
{
    struct worker *worker = of_thread;
    struct ranking *ranking = worker->ranking;
    for (size_t i = 0; i < worker->count; i++) {
        struct ranked_value value = value_at(ranking, worker->first + i);
        value.rank = worker->rank + i * value.tokens;
        value.probability = worker->probability + i * value.tokens;
        if (ranking->writer)
            key_writer_put(ranking->writer, &value);
        else
            tell_value(ranking, &value);
    }
}

static void worker_free(void *of_thread)
{
    struct worker *worker = of_thread;
    projection_free(worker->projection);
    free(worker->values);
    free(worker->log_probabilities);
    free(worker->rank);
    free(worker->probability);
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
    ranking->vocabulary = vocabulary;
    ranking->token = new_array(ranking->token_count, sizeof *ranking->token);
    ranking->text = new_array(ranking->token_count, sizeof *ranking->text);
    for (size_t i = 0; i < ranking->token_count; i++) {
        const uint32_t token = i < options->texts.count
            ? token_find(tokenizer, vocabulary, options->texts.text[i], "token")
            : (uint32_t)ids[i - options->texts.count];
        ranking->text[i] = tokenizer_text(tokenizer, &token, 1);
        ranking->token[i] = (struct named_token){token, ranking->text[i]};
    }
    ranking->candidates = options->all_tokens ? candidates_all(vocabulary)
                                              : tokenizer_candidates(tokenizer, &ranking->model->config);
    free(ids);
    tokenizer_free(tokenizer);
}

static void check_options(const struct options *options, size_t operands)
{
    const struct sums_options *out = &options->out;
    cli_check_sums(out, operands);
    if (out->merge
        && (options->model || options->texts.count || options->ids || options->layers || options->norm >= 0
            || options->all_tokens || options->products || options->shard))
        die_usage("--merge keeps what its inputs were made with; of the options only --top, --as-edits, "
                  "--sums, --partial, -o and -z go with it");
    if (!out->merge && operands)
        die_usage("it reads the model alone, and no file but what --merge joins");
    if (!out->merge && !options->model)
        die_usage("--model DIR is needed");
    if (!out->merge && !options->texts.count && !options->ids)
        die_usage("--token TEXT or --ids LIST is needed");
    if (out->sums && (options->top || options->edits))
        die_usage("--sums keeps the ranks of all values: --top and --as-edits go with --merge");
    if (options->shard && !out->sums)
        die_usage("--shard goes with --sums, for --merge");
    if (options->edits && !options->top)
        die_usage("--as-edits goes with --top");
    if (options->edits && !is_edit_value(options->edits))
        die_usage("--as-edits takes what a coefficient becomes: 5, '*3' or +0.5, not '%.100s'",
                  options->edits);
}

static void rank_all(struct ranking *ranking)
{
    static const struct ordered_work work = {worker_new, take_piece, compute_piece, write_piece, worker_free};
    const struct options *options = ranking->options;
    if (options->out.sums)
        ranking->writer = key_writer_create(&kind, &options->out, make_header(ranking), 0, NULL, NULL);
    else
        open_results(ranking, value_count(ranking));
    run_ordered((size_t)options->threads, &work, ranking);
    json_t *counts = json_object();
    coverage_end(&ranking->coverage, &whole_keys, counts);
    if (options->out.sums)
        key_writer_finish(ranking->writer, counts);
    else
        write_results(ranking);
    json_decref(counts);
}

static void run(struct options *options, struct ranking *ranking)
{
    if (options->norm < 0)
        options->norm = PROJECTION_NORM_NONE;
    ranking->coverage = coverage_begin(options->shard);
    matrix_start((size_t)options->threads, (enum product_kind)options->products);
    struct model *model = model_load(options->model);
    projection_norm_check(model, (enum projection_norm)options->norm);
    ranking->model = model;
    ranking->layers = cli_layers(options->layers, model->config.layers, &ranking->layer_count);
    find_tokens(ranking);
    rank_all(ranking);
    for (size_t i = 0; i < ranking->token_count; i++)
        free(ranking->text[i]);
    free(ranking->text);
    free(ranking->layers);
    candidates_free(&ranking->candidates);
    model_free(model);
}

int main(int argc, char **argv)
{
    struct options options = {.norm = -1, .threads = cli_threads()};
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
        OPTION_SHARD(&options.shard, "block of values"),
        OPTIONS_SUMS(&options.out),
        OPTION_PRODUCTS(&options.products),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.out.output),
        OPTION_GZIP(&options.out.gzip),
        OPTION_END,
    };
    const struct tool tool = {"value-ranks",
                              "Tells which values promote a token, and where it ranks in each.",
                              "[--merge FILE...]", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options, (size_t)(argc - first));
    struct ranking ranking = {.options = &options};
    if (options.out.merge)
        key_records_merge(&kind, &options.out, argv + first, (size_t)(argc - first), &ranking);
    else
        run(&options, &ranking);
    free_best(&ranking);
    free(ranking.token);
    free(options.texts.text);
    return STATUS_DONE;
}
