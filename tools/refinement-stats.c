/*
 * refinement-stats: how predictions are refined from layer to layer (paper, section 5.2).
 *
 * For each layer, over the prefixes that the activations have: how often the residual
 * already predicts what the model finally does, top(r^l) = top(o^L) (figure 9), and the
 * probability and rank that it gives to that token (figure 10); whether the layer's output
 * predicts what its residual does, what its feed-forward block does, both, or neither
 * (figure 11); the prefixes whose prediction the last layer changes; and the model's own
 * perplexity on the same prefixes. analysis/refinement.h has the work.
 */
#include "analysis/refinement.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "stream/records.h"
#include "stream/sums.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>

struct options {
    struct statistic_options common;
    const char *cases, *last_layer, *settled, *perplexity;
    int norm;
};

struct refining_tool {
    struct refining refining;
    const struct options *options;

    /* For the table of the last layer's changes, where it was asked for. */
    struct table *table;
    struct tokenizer *tokenizer;
    float *old, *new;      /* d_model: output embeddings */
};

/* ---- changes of the last layer ---- */

/* Of two tokens' output embeddings. */
static double cosine(const struct refining_tool *tool, uint32_t old, uint32_t new)
{
    const struct model *model = tool->refining.common.model;
    double product = 0, old_square = 0, new_square = 0;
    output_embedding(model, old, tool->old);
    output_embedding(model, new, tool->new);
    for (size_t k = 0; k < model->config.d_model; k++) {
        double a = (double)tool->old[k], b = (double)tool->new[k];
        product += a * b;
        old_square += a * a;
        new_square += b * b;
    }
    return product / sqrt(old_square * new_square);
}

static void tell_changes(void *statistic, const void *records)
{
    struct refining_tool *tool = statistic;
    const struct changes *changes = records;
    struct prefix_walk prefix = prefixes_walk(changes->position, changes->prefix, changes->count);
    while (tool->table && prefix_next(&prefix)) {
        size_t i = prefix.index;
        table_number(tool->table, changes->sentence[i]);
        table_number(tool->table, changes->position[i]);
        table_own_text(tool->table, tokenizer_text(tool->tokenizer, prefix.token, prefix.length));
        table_own_text(tool->table, tokenizer_text(tool->tokenizer, &changes->old[i], 1));
        table_own_text(tool->table, tokenizer_text(tool->tokenizer, &changes->new[i], 1));
        table_real(tool->table, (double)changes->p_old[i]);
        table_real(tool->table, (double)changes->p_new[i]);
        table_real(tool->table, cosine(tool, changes->old[i], changes->new[i]));
    }
}

static void begin(void *statistic, struct stream_reader *input)
{
    static const char *const columns[] = {"sentence", "position", "prefix", "old", "new",
                                          "p_old",    "p_new",    "cosine", NULL};
    struct refining_tool *tool = statistic;
    refinement_check_layers(&tool->refining, input);
    if (!tool->options->last_layer)
        return;
    const struct model *model = statistic_model(&tool->refining.common, input);
    tool->tokenizer = tokenizer_open(tool->options->common.model, input);
    tool->table = table_open(tool->options->last_layer, columns);
    tool->old = new_floats(model->config.d_model);
    tool->new = new_floats(model->config.d_model);
}

/* Behind the last change. */
static void finish_changes(struct refining_tool *tool)
{
    if (!tool->table)
        return;
    table_finish(tool->table);
    tokenizer_free(tool->tokenizer);
    free(tool->old);
    free(tool->new);
}

/* ---- tables ---- */

/* Figures 9 and 10. */
static void write_refinement(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "residual_is_final", "probability", "p25",
                                          "p50", "p75", "rank_p50", INTERVAL_COLUMNS("residual_is_final"),
                                          NULL};
    static const double quantiles[] = {0.25, 0.50, 0.75};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct refinement_layer_sums *layer = &sums->layer[i];
        table_layer(table, i);
        table_number(table, layer->prefixes);
        table_real(table, statistics_share(layer->residual_is_final, layer->prefixes));
        table_real(table, exact_value(&layer->probability) / (double)layer->prefixes);
        for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++)
            table_real(table, histogram_quantile(&layer->probabilities, quantiles[q], unit_value));
        table_real(table, histogram_quantile(&layer->rank, 0.5, histogram_whole_number));
        table_interval(table, share_interval(layer->residual_is_final, layer->prefixes));
    }
    table_finish(table);
}

/* Figure 11. */
static void write_cases(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "residual", "ffn", "agreement", "composition",
                                          INTERVAL_COLUMNS("residual"), INTERVAL_COLUMNS("ffn"),
                                          INTERVAL_COLUMNS("agreement"), INTERVAL_COLUMNS("composition"),
                                          NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct refinement_layer_sums *layer = &sums->layer[i];
        table_layer(table, i);
        table_number(table, layer->prefixes);
        for (size_t c = 0; c < CASES; c++)
            table_real(table, statistics_share(layer->cases[c], layer->prefixes));
        for (size_t c = 0; c < CASES; c++)
            table_interval(table, share_interval(layer->cases[c], layer->prefixes));
    }
    table_finish(table);
}

/* The layer from whose residual on the prediction stays; one more than there are: the last block made it. */
static void write_settled(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"layer", "prefixes", "share", "cumulative", "total",
                                          INTERVAL_COLUMNS("share"), INTERVAL_COLUMNS("cumulative"), NULL};
    struct table *table = table_open(path, columns);
    uint64_t total = histogram_total(&sums->settled), so_far = 0;
    for (size_t i = 0; i <= sums->layers; i++) {
        so_far += sums->settled.count[i];
        table_layer(table, i);
        table_number(table, sums->settled.count[i]);
        table_real(table, statistics_share(sums->settled.count[i], total));
        table_real(table, statistics_share(so_far, total));
        table_number(table, total);
        table_interval(table, share_interval(sums->settled.count[i], total));
        table_interval(table, share_interval(so_far, total));
    }
    table_finish(table);
}

static void write_perplexity(const struct refinement_sums *sums, const char *path)
{
    static const char *const columns[] = {"prefixes", "perplexity", "next_is_top",
                                          INTERVAL_COLUMNS("next_is_top"), NULL};
    struct table *table = table_open(path, columns);
    uint64_t prefixes = histogram_total(&sums->settled);
    table_number(table, prefixes);
    table_real(table, exp(exact_value(&sums->surprise) / (double)prefixes));
    table_real(table, statistics_share(sums->next_is_top, prefixes));
    table_interval(table, share_interval(sums->next_is_top, prefixes));
    table_finish(table);
}

static void write_tables(void *statistic, const struct stream_reader *input)
{
    (void)input;
    struct refining_tool *tool = statistic;
    const struct options *options = tool->options;
    const struct refinement_sums *sums = tool->refining.common.sums;
    finish_changes(tool);
    if (options->cases)
        write_cases(sums, options->cases);
    if (options->settled)
        write_settled(sums, options->settled);
    if (options->perplexity)
        write_perplexity(sums, options->perplexity);
    write_refinement(sums, options->common.out.output);
}

/* ---- main ---- */

static json_t *shaping_options(const void *statistic)
{
    const struct refining *refining = statistic;
    return json_make("{s:s}", "norm", projection_norm_words[refining->norm]);
}

static const struct statistic_list list = {
    .what = "changed predictions", .fields = changes_fields,
    .read = changes_listed, .free = changes_listed_free, .total = refinement_changed, .tell = tell_changes,
};

static const struct statistic_kind kind = {
    .tool = "refinement-stats", .stream = "refinement",
    .sums = &refinement_kind, .sums_new = refinement_sums_new, .work = &refinement_work, .list = &list,
    .prepare = refinement_prepare, .shaping = shaping_options, .begin = begin, .tables = write_tables,
};

static void check_options(const struct options *options)
{
    if (options->common.out.merge && options->norm)
        die_usage("--merge keeps what its inputs were made with: --norm does not go with it");
    if (options->last_layer && !options->common.model)
        die_usage("--model DIR is needed");
    if (options->common.out.sums
        && (options->cases || options->last_layer || options->settled || options->perplexity))
        die_usage("--sums writes no tables: --cases, --last-layer, --settled and --perplexity do not go with "
                  "it");
}

int main(int argc, char **argv)
{
    struct options options = {.common.threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.common.model),
        {0, "norm", "HOW",
         "the final norm on the blocks' outputs: none (default), its gain only, or full; residuals always "
         "have it",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "cases", "FILE", "write what layers' outputs predict to FILE: residual, ffn, both or neither",
         OPTION_OUT_TOO, &options.cases, 0, 0, NULL},
        {0, "last-layer", "FILE", "write the predictions that the last layer changed to FILE; needs --model",
         OPTION_OUT_TOO, &options.last_layer, 0, 0, NULL},
        {0, "settled", "FILE", "write from which layer on predictions stay to FILE", OPTION_OUT_TOO,
         &options.settled, 0, 0, NULL},
        {0, "perplexity", "FILE", "write the model's own perplexity on these prefixes to FILE",
         OPTION_OUT_TOO, &options.perplexity, 0, 0, NULL},
        OPTIONS_STATISTIC(&options.common),
    };
    const struct tool tool = {"refinement-stats", "Tells how predictions are refined from layer to layer.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = statistic_parse(&tool, argc, argv, &options.common);
    check_options(&options);
    struct refining_tool refining = {
        .refining = {.common = {.kind = &kind, .options = options.common},
                     .norm = (enum projection_norm)options.norm},
        .options = &options};
    statistic_main(&refining.refining.common, argv + first, (size_t)(argc - first));
    return STATUS_DONE;
}
