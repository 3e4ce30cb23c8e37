/*
 * composition-stats: how a layer's output is made of its memories (paper, section 5.1).
 *
 * For each layer, over the prefixes that the activations have: the share of memories that
 * are active (figure 7), and the share of prefixes where no active memory's most probable
 * token is that of the layer's output y^l (figure 8); where one's is, how often the token
 * is a stop word and how often the prefix is short. analysis/composition.h has the work.
 */
#include "analysis/composition.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "stream/header_members.h"
#include "stream/sums.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/stop_words.h"
#include "text/tokenizer.h"

#include <stdlib.h>

struct options {
    struct statistic_options common;
    const char *values, *active, *stop_words, *thresholds;
    bool scaled;
    int rank, norm;             /* rank: below 0 where not given, as the next two */
    double threshold, relative, percentile;
    uint64_t short_tokens, frequent;
};

struct composing_tool {
    struct composing composing;
    const struct options *options;
};

/* ---- tables ---- */

/* Of numbers of memories, in units of so many. */
static void put_quartiles(struct table *table, const struct histogram *numbers, size_t unit)
{
    static const double quartiles[] = {0.25, 0.50, 0.75};
    for (size_t q = 0; q < sizeof quartiles / sizeof *quartiles; q++)
        table_real(table, histogram_quantile(numbers, quartiles[q], histogram_whole_number) / (double)unit);
}

/* Of the active memories among all cells: those of a prefix are no independent observations. */
static struct interval active_interval(const struct histogram *active, size_t cells)
{
    struct clusters prefixes = {0};
    for (size_t number = 0; number < active->bins; number++)
        clusters_add_times(&prefixes, (double)number, (double)cells, active->count[number]);
    return clusters_interval(&prefixes, prefixes.whole);
}

/* What active means in words, and whether it is what it means in the paper. */
struct meaning {
    const char *active;
    bool is_comparable;
};

/* Figure 7. */
static void write_active(const struct composition_sums *sums, struct meaning meaning, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "mean", "p25", "p50", "p75",
                                          "active", "comparable",
                                          INTERVAL_COLUMNS("mean"), NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct histogram *active = &sums->layer[i].active;
        uint64_t prefixes = histogram_total(active);
        table_layer(table, sums->layer[i].layer);
        table_number(table, prefixes);
        table_real(table, histogram_sum(active) / ((double)prefixes * (double)sums->cells));
        put_quartiles(table, active, sums->cells);
        table_text(table, meaning.active);
        table_number(table, meaning.is_comparable);
        table_interval(table, active_interval(active, sums->cells));
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
static void write_composition(const struct composition_sums *sums, const bool *is_stop_word,
                              const bool *is_frequent, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "zero_agreement", "stop_word", "frequent",
                                          "short_prefix", "memories", "agreeing", "p25", "p50", "p75",
                                          INTERVAL_COLUMNS("zero_agreement"), INTERVAL_COLUMNS("stop_word"),
                                          INTERVAL_COLUMNS("frequent"), INTERVAL_COLUMNS("short_prefix"),
                                          NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct composition_layer_sums *layer = &sums->layer[i];
        uint64_t prefixes = histogram_total(&layer->active), agreeing = histogram_total(&layer->agreement);
        /* Of the prefixes at which a memory agrees: numbers, and of how many. */
        const uint64_t part[] = {is_stop_word ? agreement_on(layer, is_stop_word) : 0,
                                 agreement_on(layer, is_frequent), layer->short_prefixes};
        const uint64_t whole[] = {is_stop_word ? agreeing : 0, agreeing, agreeing};
        enum { PARTS = sizeof part / sizeof *part };
        table_layer(table, sums->layer[i].layer);
        table_number(table, prefixes);
        table_real(table, statistics_share(prefixes - agreeing, prefixes));
        for (size_t p = 0; p < PARTS; p++)
            table_real(table, statistics_share(part[p], whole[p]));
        table_real(table, histogram_sum(&layer->memories) / (double)agreeing);
        table_number(table, agreeing);
        put_quartiles(table, &layer->memories, 1);
        table_interval(table, share_interval(prefixes - agreeing, prefixes));
        for (size_t p = 0; p < PARTS; p++)
            table_interval(table, share_interval(part[p], whole[p]));
    }
    table_finish(table);
}

/* Whether active is m > 0, and that means what it does in the paper. */
static bool is_comparable(const struct composing *composing)
{
    const struct activity *active = &composing->active;
    return !composing->common.model->config.gated && active->rank == RANK_VALUE && active->threshold <= 0
        && active->relative <= 0 && !active->thresholds;
}

static void write_tables(void *statistic, const struct stream_reader *input)
{
    const struct composing_tool *tool = statistic;
    const struct options *options = tool->options;
    const struct composition_sums *sums = tool->composing.common.sums;
    bool *is_stop_word = NULL;
    if (options->stop_words) {
        struct tokenizer *tokenizer = tokenizer_open(options->common.model, input);
        is_stop_word = stop_words_read(options->stop_words, tokenizer, sums->tokens.vocabulary);
        tokenizer_free(tokenizer);
    }
    bool *is_frequent = frequent_tokens(sums->tokens.count, sums->tokens.vocabulary,
                                        (size_t)options->frequent);
    if (options->active && options->common.out.merge) {
        const struct meaning meaning = {header_text(input, NULL, "active"),
                                        header_number(input, NULL, "comparable", 1)};
        write_active(sums, meaning, options->active);
    } else if (options->active) {
        char *active = activity_text(&tool->composing.active);
        const struct meaning meaning = {active, is_comparable(&tool->composing)};
        write_active(sums, meaning, options->active);
        free(active);
    }
    write_composition(sums, is_stop_word, is_frequent, options->common.out.output);
    free(is_stop_word);
    free(is_frequent);
}

/* ---- main ---- */

static json_t *shaping_options(const void *statistic)
{
    const struct composing *composing = statistic;
    const struct thresholds *thresholds = composing->active.thresholds;
    json_t *values = json_make("{s:b, s:s, s:s, s:f, s:f, s:I}", "scaled", (int)!composing->values, "norm",
                     projection_norm_words[composing->norm], "rank", rank_words[composing->active.rank],
                     "threshold", composing->active.threshold, "relative", composing->active.relative,
                     "short", (json_int_t)composing->short_tokens);
    if (thresholds) {
        json_put(values, "percentile", json_make("f", thresholds->percentile));
        json_put(values, "thresholds", json_make("s", thresholds->id));
    }
    return values;
}

static void declare(const void *statistic, json_t *header)
{
    const struct composing *composing = statistic;
    char *active = activity_text(&composing->active);
    json_put(header, "active", json_make("s", active));
    json_put(header, "comparable", json_integer(is_comparable(composing)));
    free(active);
}

static void begin(void *statistic, struct stream_reader *input)
{
    const struct composing_tool *tool = statistic;
    if (!tool->options->common.out.merge)
        composition_begin(statistic, input);
}

static const struct statistic_kind kind = {
    .tool = "composition-stats", .stream = "composition",
    .sums = &composition_kind, .sums_new = composition_sums_new, .work = &composition_work,
    .prepare = composition_prepare, .shaping = shaping_options, .declare = declare,
    .begin = begin, .tables = write_tables,
};

static void check_options(const struct options *options)
{
    bool merge = options->common.out.merge, sums = options->common.out.sums;
    if (merge && (options->values || options->scaled || options->rank >= 0 || options->threshold >= 0
                  || options->relative >= 0 || options->norm || options->thresholds
                  || options->percentile >= 0))
        die_usage("--merge keeps what its inputs were made with: --values, --scaled, --norm, --rank, "
                  "--threshold, --relative, --thresholds and --percentile do not go with it");
    if (options->threshold >= 0 && options->relative >= 0)
        die_usage("--threshold and --relative are two definitions of active: give one");
    if (options->thresholds && (options->threshold >= 0 || options->relative >= 0))
        die_usage("--thresholds is a definition of active of its own: --threshold and --relative do not go "
                  "with it");
    if (!options->thresholds != !(options->percentile >= 0))
        die_usage("--thresholds FILE and --percentile P go together: one has the coefficients of each key");
    if (options->percentile > 100)
        die_usage("--percentile takes a number up to 100");
    if (options->relative >= 0 && !(options->relative > 0 && options->relative <= 1))
        die_usage("--relative takes a number above 0, up to 1");
    if (!merge && !options->values == !options->scaled)
        die_usage("give --values FILE, from project-values --all, or --scaled");
    if (options->values && options->norm)
        die_usage("--norm goes with --scaled; the values of --values have one");
    if (options->stop_words && !options->common.model)
        die_usage("--stop-words needs --model DIR for the words");
    if (sums && (options->active || options->stop_words))
        die_usage("--sums writes no tables: --active and --stop-words do not go with it");
}

int main(int argc, char **argv)
{
    struct options options = {.rank = -1, .threshold = -1, .relative = -1, .percentile = -1,
                              .short_tokens = 5,
                              .frequent = 100, .common.threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.common.model),
        {0, "values", "FILE", "what project-values --all wrote: the memories' most probable tokens",
         OPTION_IN, &options.values, 0, 0, NULL},
        {0, "scaled", NULL, "instead of --values: project each active memory m_i v_i of each prefix",
         OPTION_FLAG, &options.scaled, 0, 0, NULL},
        {0, "norm", "HOW",
         "with --scaled, of memories and outputs: none (default), gain or full; else that of --values",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "rank", "HOW",
         "active are coefficients whose value (default), absolute value (abs; default of gated layers) or "
         "negative (min)",
         OPTION_CHOICE, &options.rank, 0, 0, rank_words},
        {0, "threshold", "X", "is above X (default 0, but of gated layers --relative 0.1)", OPTION_REAL,
         &options.threshold, 0, 0, NULL},
        {0, "relative", "X", "is at least X times the largest of the layer's, up to 1", OPTION_REAL,
         &options.relative, 0, 0, NULL},
        {0, "thresholds", "FILE",
         "is above its key's --percentile of absolute values: triggers with counts of magnitudes", OPTION_IN,
         &options.thresholds, 0, 0, NULL},
        {0, "percentile", "P", "with --thresholds: of each key, such as 99", OPTION_REAL,
         &options.percentile, 0, 0, NULL},
        {0, "stop-words", "FILE", "words, one a line, for the column stop_word; needs --model", OPTION_IN,
         &options.stop_words, 0, 0, NULL},
        {0, "frequent", "N", "tokens that count as frequent: the N most frequent of the text (default 100)",
         OPTION_NUMBER, &options.frequent, 0, MAX_VOCABULARY, NULL},
        {0, "short", "N", "prefixes of fewer than N tokens count as short (default 5)", OPTION_NUMBER,
         &options.short_tokens, 0, MAX_SENTENCE_TOKENS, NULL},
        {0, "active", "FILE", "write the shares of active memories to FILE", OPTION_OUT_TOO, &options.active,
         0, 0, NULL},
        OPTIONS_STATISTIC(&options.common),
    };
    const struct tool tool = {"composition-stats",
                              "Tells how layers' outputs are composed of their memories.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = statistic_parse(&tool, argc, argv, &options.common);
    check_options(&options);
    struct composing_tool composing = {
        .composing = {.common = {.kind = &kind, .options = options.common}, .values = options.values,
                      .norm = (enum projection_norm)options.norm, .short_tokens = options.short_tokens,
                      .active = {.rank = options.rank < 0 ? RANK_VALUE : (enum rank)options.rank,
                                 .threshold = options.threshold < 0 ? 0 : options.threshold,
                                 .relative = options.relative < 0 ? 0 : options.relative},
                      .rank_given = options.rank >= 0,
                      .size_given = options.threshold >= 0 || options.relative >= 0,
                      .thresholds = options.thresholds, .percentile = options.percentile},
        .options = &options};
    statistic_main(&composing.composing.common, argv + first, (size_t)(argc - first));
    thresholds_free(&composing.composing.of_keys);
    value_tokens_free(&composing.composing.value_tokens);
    return STATUS_DONE;
}
