/*
 * intervention-stats: what edits of memories do to a model's predictions.
 *
 * Two streams of activations of the same batches, without and with forward-dump --edit, are read
 * side by side. Over the prefixes that they have: how often the most probable token is another one,
 * the divergence of the output distributions, and what becomes of the probability and rank of
 * the next token and of tokens that are named. Prefixes of one sentence are alike, so that sentences count
 * as independent observations. analysis/intervention.h has the work.
 */
#include "analysis/intervention.h"
#include "base/cli.h"
#include "base/json.h"
#include "base/messages.h"
#include "numeric/vector.h"
#include "stream/sums.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/token_find.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct statistic_options common;
    const char *edited, *tokens, *sentences, *ids;
    struct option_texts texts;
};

/* Sums over prefixes of a token's numbers, clustered by sentence. */
struct token_totals {
    struct clusters p[SIDES], is_top[SIDES], change, log_change;
    struct histogram rank[SIDES];
};

/* The same of one sentence. */
struct token_sums {
    double p[SIDES], log_change, rank[SIDES], is_top[SIDES];
};

struct intervention_tool {
    struct intervening intervening;
    const struct options *options;
    size_t vocabulary;

    /* What is compared: the next token, which has no text, and the named ones. */
    struct named_token *named; /* token_count - 1 */
    size_t token_count;
    json_t *names;             /* of a run, for the header */
    uint32_t *ids;             /* of a run */
    struct comparisons columns; /* of a run: none, with the number of their columns */

    struct clusters changed, divergence;
    struct histogram divergences;
    struct token_totals *token; /* token_count; NULL before begin */
    struct token_sums *sums;    /* token_count */
    struct table *sentences;    /* NULL: not asked for */
};

/* ---- bins of divergences ---- */

/* They are counted as numbers from 0 to 1, with the same precision; more than this counts as this. */
#define MAX_DIVERGENCE 4096.0f

static size_t divergence_bin(float divergence)
{
    return unit_bin(divergence / MAX_DIVERGENCE);
}

static double divergence_value(size_t bin)
{
    return (double)MAX_DIVERGENCE * unit_value(bin);
}

/* ---- what is listed ---- */

/* The prefix i of its sentence's prefixes: to its sums, and to histograms. */
static void add_tokens(struct intervention_tool *tool, const struct comparisons *comparisons, size_t i)
{
    for (size_t t = 0; t < tool->token_count; t++) {
        struct token_sums *sums = &tool->sums[t];
        const size_t at = i * tool->token_count + t;
        const uint32_t token = t ? tool->named[t - 1].token : comparisons->next[i];
        sums->log_change += (double)comparisons->log_p[EDITED][at] - (double)comparisons->log_p[PLAIN][at];
        for (int side = PLAIN; side < SIDES; side++) {
            uint32_t rank = comparisons->rank[side][at];
            sums->p[side] += exp((double)comparisons->log_p[side][at]);
            sums->is_top[side] += comparisons->top[side][i] == token;
            sums->rank[side] += (double)rank;
            tool->token[t].rank[side].count[rank]++;
        }
    }
}

/* A sentence's row of a token: empty fields where that is the next token. */
static void write_sentence_token(struct table *table, const struct named_token *named,
                                 const struct token_sums *sums, double prefixes)
{
    table_text(table, named ? named->text : "");
    table_real(table, named ? (double)named->token : (double)NAN);
    for (int side = PLAIN; side < SIDES; side++)
        table_real(table, sums->p[side] / prefixes);
    table_real(table, sums->log_change / prefixes);
    for (int side = PLAIN; side < SIDES; side++)
        table_real(table, sums->rank[side] / prefixes);
}

/* A sentence's prefixes, and what they add up to besides its tokens. */
struct sentence_sums {
    uint64_t sentence, prefixes, changed;
    double divergence;
};

static void write_sentence(const struct intervention_tool *tool, const struct sentence_sums *sentence)
{
    const double prefixes = (double)sentence->prefixes;
    for (size_t t = 0; t < tool->token_count; t++) {
        table_number(tool->sentences, sentence->sentence);
        table_number(tool->sentences, sentence->prefixes);
        table_number(tool->sentences, sentence->changed);
        table_real(tool->sentences, sentence->divergence / prefixes);
        write_sentence_token(tool->sentences, t ? &tool->named[t - 1] : NULL, &tool->sums[t], prefixes);
    }
}

/* What a sentence's prefixes add up to, to the totals; its tokens' sums are 0 then. */
static void add_sentence(struct intervention_tool *tool, const struct sentence_sums *sentence)
{
    const double prefixes = (double)sentence->prefixes;
    clusters_add(&tool->changed, (double)sentence->changed, prefixes);
    clusters_add(&tool->divergence, sentence->divergence, prefixes);
    for (size_t t = 0; t < tool->token_count; t++) {
        const struct token_sums *sums = &tool->sums[t];
        struct token_totals *totals = &tool->token[t];
        for (int side = PLAIN; side < SIDES; side++) {
            clusters_add(&totals->p[side], sums->p[side], prefixes);
            clusters_add(&totals->is_top[side], sums->is_top[side], prefixes);
        }
        clusters_add(&totals->change, sums->p[EDITED] - sums->p[PLAIN], prefixes);
        clusters_add(&totals->log_change, sums->log_change, prefixes);
    }
    memset(tool->sums, 0, tool->token_count * sizeof *tool->sums);
}

static void tell_comparisons(void *statistic, const void *records)
{
    struct intervention_tool *tool = statistic;
    const struct comparisons *comparisons = records;
    for (size_t i = 0; i < comparisons->count;) {
        struct sentence_sums sums = {.sentence = comparisons->sentence[i]};
        for (; i < comparisons->count && comparisons->sentence[i] == sums.sentence; i++) {
            sums.prefixes++;
            sums.changed += comparisons->top[PLAIN][i] != comparisons->top[EDITED][i];
            sums.divergence += (double)comparisons->divergence[i];
            tool->divergences.count[divergence_bin(comparisons->divergence[i])]++;
            add_tokens(tool, comparisons, i);
        }
        if (tool->sentences)
            write_sentence(tool, &sums);
        add_sentence(tool, &sums);
    }
}

/* ---- tables ---- */

static void write_total(const struct intervention_tool *tool, const struct intervention_sums *sums)
{
    static const char *const columns[] = {"prefixes", "sentences", "changed", "kl", QUARTILE_COLUMNS("kl"),
                                          INTERVAL_COLUMNS("changed"), INTERVAL_COLUMNS("kl"), NULL};
    static const double quantiles[] = {0.25, 0.50, 0.75};
    struct table *table = table_open(tool->options->common.out.output, columns);
    table_number(table, sums->layer[0].prefixes);
    table_number(table, tool->changed.count);
    table_real(table, clusters_share(&tool->changed));
    table_real(table, clusters_share(&tool->divergence));
    for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++)
        table_real(table, histogram_quantile(&tool->divergences, quantiles[q], divergence_value));
    table_interval(table, clusters_interval(&tool->changed, (double)sums->layer[0].prefixes));
    table_interval(table, clusters_mean_interval(&tool->divergence));
    table_finish(table);
}

static void write_token(struct table *table, const struct named_token *named,
                        const struct token_totals *totals, uint64_t prefixes)
{
    table_text(table, named ? named->text : "");
    table_real(table, named ? (double)named->token : (double)NAN);
    table_number(table, prefixes);
    for (int side = PLAIN; side < SIDES; side++)
        table_real(table, clusters_share(&totals->p[side]));
    table_real(table, clusters_share(&totals->change));
    table_real(table, clusters_share(&totals->log_change));
    for (int side = PLAIN; side < SIDES; side++)
        table_real(table, clusters_share(&totals->is_top[side]));
    for (int side = PLAIN; side < SIDES; side++)
        table_real(table, histogram_quantile(&totals->rank[side], 0.5, histogram_whole_number));
    table_interval(table, clusters_mean_interval(&totals->change));
    table_interval(table, clusters_mean_interval(&totals->log_change));
    for (int side = PLAIN; side < SIDES; side++)
        table_interval(table, clusters_interval(&totals->is_top[side], (double)prefixes));
}

static void write_tokens(const struct intervention_tool *tool, uint64_t prefixes)
{
    static const char *const columns[] = {
        "token", "id", "prefixes", "probability", "edited_probability", "change", "log_change", "top",
        "edited_top", "rank_p50", "edited_rank_p50", INTERVAL_COLUMNS("change"),
        INTERVAL_COLUMNS("log_change"), INTERVAL_COLUMNS("top"), INTERVAL_COLUMNS("edited_top"), NULL};
    struct table *table = table_open(tool->options->tokens, columns);
    for (size_t t = 0; t < tool->token_count; t++)
        write_token(table, t ? &tool->named[t - 1] : NULL, &tool->token[t], prefixes);
    table_finish(table);
}

static void write_tables(void *statistic, const struct stream_reader *input)
{
    (void)input;
    struct intervention_tool *tool = statistic;
    const struct intervention_sums *sums = tool->intervening.common.sums;
    if (tool->sentences)
        table_finish(tool->sentences);
    if (tool->options->tokens)
        write_tokens(tool, sums->layer[0].prefixes);
    write_total(tool, sums);
}

/* ---- begin and end ---- */

/* The tokens that are named, by text in the order of the command line, then by number. */
static void find_tokens(struct intervention_tool *tool)
{
    const struct options *options = tool->options;
    const struct model_config *config = &tool->intervening.common.model->config;
    struct tokenizer *tokenizer = tokenizer_read(config);
    size_t id_count = 0;
    size_t *ids = options->ids ? cli_list(options->ids, config->vocabulary, "ids", &id_count) : NULL;
    size_t count = options->texts.count + id_count;
    tool->ids = new_array(count, sizeof *tool->ids);
    tool->names = json_make("[]");
    for (size_t i = 0; i < count; i++) {
        tool->ids[i] = i < options->texts.count
            ? token_find(tokenizer, config->vocabulary, options->texts.text[i], "token")
            : (uint32_t)ids[i - options->texts.count];
        char *text = tokenizer_text(tokenizer, &tool->ids[i], 1);
        json_add(tool->names, json_make("[I, s]", (json_int_t)tool->ids[i], text));
        free(text);
    }
    tool->intervening.named = tool->ids;
    tool->intervening.named_count = count;
    tool->columns.tokens = 1 + count;
    free(ids);
    tokenizer_free(tokenizer);
}

static void prepare(void *statistic)
{
    find_tokens(statistic);
    intervention_prepare(statistic);
}

static json_t *shaping_options(const void *statistic)
{
    (void)statistic;
    return json_object();
}

static void declare(const void *statistic, json_t *header)
{
    const struct intervention_tool *tool = statistic;
    json_put(header, NAMED_TOKENS, json_incref(tool->names));
    intervention_declare(&tool->intervening, header);
}

/* The named tokens: of a run as they were asked for, of a merge as the header has them. */
static void read_named(struct intervention_tool *tool, const struct stream_reader *input)
{
    if (!tool->names) {
        tool->token_count = 1 + named_tokens_read(input, tool->vocabulary, &tool->named);
        return;
    }
    tool->token_count = 1 + tool->intervening.named_count;
    tool->named = new_array(tool->token_count, sizeof *tool->named);
    for (size_t i = 0; i + 1 < tool->token_count; i++)
        tool->named[i] = (struct named_token){
            tool->ids[i], json_string_value(json_array_get(json_array_get(tool->names, i), 1))};
}

static void begin(void *statistic, struct stream_reader *input)
{
    static const char *const columns[] = {"sentence", "prefixes", "changed", "kl", "token", "id",
                                          "probability", "edited_probability", "log_change", "rank",
                                          "edited_rank", NULL};
    struct intervention_tool *tool = statistic;
    if (tool->names)
        intervention_check_streams(&tool->intervening, input);
    tool->vocabulary = tool->intervening.common.activations.shape.vocabulary;
    read_named(tool, input);
    tool->divergences = histogram_new(UNIT_BINS);
    tool->sums = new_array(tool->token_count, sizeof *tool->sums);
    tool->token = new_array(tool->token_count, sizeof *tool->token);
    for (size_t t = 0; t < tool->token_count; t++)
        for (int side = PLAIN; side < SIDES; side++)
            tool->token[t].rank[side] = histogram_new(tool->vocabulary + 1);
    if (tool->options->sentences)
        tool->sentences = table_open(tool->options->sentences, columns);
}

static void tool_free(struct intervention_tool *tool)
{
    intervention_close(&tool->intervening);
    for (size_t t = 0; t < tool->token_count; t++)
        for (int side = PLAIN; side < SIDES; side++)
            histogram_free(&tool->token[t].rank[side]);
    histogram_free(&tool->divergences);
    free(tool->token);
    free(tool->sums);
    free(tool->named);
    free(tool->ids);
    json_decref(tool->names);
    free(tool->options->texts.text);
}

/* ---- main ---- */

static const void *columns_of_list(const void *statistic)
{
    const struct intervention_tool *tool = statistic;
    return &tool->columns;
}

static const struct statistic_list list = {
    .what = "compared prefixes", .fields = comparisons_fields, .columns = columns_of_list,
    .read = comparisons_listed, .free = comparisons_listed_free, .total = intervention_listed,
    .tell = tell_comparisons,
};

static const struct statistic_kind kind = {
    .tool = "intervention-stats", .stream = "intervention",
    .sums = &intervention_kind, .sums_new = intervention_sums_new, .work = &intervention_work, .list = &list,
    .prepare = prepare, .shaping = shaping_options, .declare = declare, .begin = begin,
    .tables = write_tables,
};

static void check_options(const struct options *options, const char *operand)
{
    bool named = options->texts.count || options->ids;
    if (options->common.out.merge && (options->edited || named))
        die_usage("--merge keeps what its inputs were made with: --edited, --token and --ids do not go with "
                  "it");
    if (!options->common.out.merge && !options->edited)
        die_usage("--edited FILE is needed: the activations of the edited model");
    if (options->edited && !strcmp(options->edited, "-") && !operand)
        die_usage("standard input cannot be both the plain model's and the edited one's activations");
    if (options->common.out.sums && (options->tokens || options->sentences))
        die_usage("--sums writes no tables: --tokens and --sentences do not go with it");
    if (named && !options->common.out.sums && !options->tokens && !options->sentences)
        die_usage("--token and --ids are for the tables that --tokens and --sentences name, or for --sums");
}

int main(int argc, char **argv)
{
    struct options options = {.common.threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.common.model),
        {0, "edited", "FILE", "the edited model's activations, of the same batches: forward-dump --edit",
         OPTION_IN, &options.edited, 0, 0, NULL},
        {0, "token", "TEXT", "compare also the token of this text, blank and all; may be repeated",
         OPTION_TEXTS, &options.texts, 0, 0, NULL},
        {0, "ids", "LIST", "compare also these tokens, by their numbers: 5 or 0-3,7", OPTION_TEXT,
         &options.ids, 0, 0, NULL},
        {0, "tokens", "FILE", "write what becomes of the next token and of those named to FILE",
         OPTION_OUT_TOO, &options.tokens, 0, 0, NULL},
        {0, "sentences", "FILE", "write the same of each sentence to FILE", OPTION_OUT_TOO,
         &options.sentences, 0, 0, NULL},
        OPTIONS_STATISTIC(&options.common),
    };
    const struct tool tool = {"intervention-stats", "Tells what edits of memories do to predictions.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = statistic_parse(&tool, argc, argv, &options.common);
    check_options(&options, cli_input(argc, argv, first));
    struct intervention_tool intervention = {
        .intervening = {.common = {.kind = &kind, .options = options.common},
                        .edited_path = options.edited && strcmp(options.edited, "-") ? options.edited : NULL},
        .options = &options};
    statistic_main(&intervention.intervening.common, argv + first, (size_t)(argc - first));
    tool_free(&intervention);
    return STATUS_DONE;
}
