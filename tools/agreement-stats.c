/*
 * agreement-stats: triggers with projected values in, the tables of the paper's
 * section 4 out: agreement rate (figure 4), rank of the next token (figure 5),
 * agreement against confidence (figure 6), the most confident values (table 2).
 *
 * A live key has at least one trigger; agree_next is the share of live keys whose
 * value's most probable token is the next token of the key's first trigger,
 * agree_last the same with the last token of the trigger's prefix. Layers count
 * from 1 here, and from 0 in streams.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "model/candidates.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIDENT = 100, AGREEING_TRIGGERS = 50, MAX_EDGES = 1000, DEFAULT_BINS = 10 };

struct options {
    const char *model, *list, *output, *rank, *confidence, *top_values, *edges;
    uint64_t bins;
};

/* What the tables need to know of one key. */
struct key_summary {
    size_t layer, cell;
    float confidence;     /* the value's largest probability */
    bool live, agree_next, agree_last;
    uint32_t first_next;  /* of the first trigger: its next token */
    uint32_t first_rank;  /* and that token's rank in the value's distribution */
};

struct stats {
    struct triggers_reader triggers;
    struct candidates candidates;
    struct key_summary *keys;
    size_t key_count, key_capacity;
    bool keep_confident;
    struct key_triggers confident[MAX_CONFIDENT]; /* most confident first */
    size_t confident_count;
};

/* ---- reading ---- */

/* Puts the key among the most confident or frees it. Equal ones: the earlier key. */
static void keep_if_confident(struct stats *stats, struct key_triggers *key)
{
    size_t place = stats->confident_count;
    if (!stats->keep_confident) {
        key_triggers_free(key);
        return;
    }
    while (place && key->top_probability[0] > stats->confident[place - 1].top_probability[0])
        place--;
    if (place == MAX_CONFIDENT) {
        key_triggers_free(key);
        return;
    }
    if (stats->confident_count == MAX_CONFIDENT)
        key_triggers_free(&stats->confident[MAX_CONFIDENT - 1]);
    else
        stats->confident_count++;
    memmove(&stats->confident[place + 1], &stats->confident[place],
            (stats->confident_count - 1 - place) * sizeof *key);
    stats->confident[place] = *key;
}

static struct key_summary summarize(const struct key_triggers *key, uint32_t bos)
{
    struct key_summary summary = {key->layer, key->cell, key->top_probability[0], key->count > 0,
                                  false, false, 0, 0};
    if (summary.live) {
        struct prefix_walk prefix = key_prefixes(key, 1);
        prefix_next(&prefix);
        summary.agree_next = key->top[0] == key->next[0];
        summary.agree_last = key->top[0] == prefix_last(&prefix, bos);
        summary.first_next = key->next[0];
        summary.first_rank = key->next_rank[0];
    }
    return summary;
}

static void read_keys(struct stats *stats, struct stream_reader *reader)
{
    struct key_triggers key;
    while (triggers_next(&stats->triggers, &key)) {
        if (!key.top)
            stream_fail(reader, "triggers without projected values: run project-values first");
        stats->keys = reserve_array(stats->keys, &stats->key_capacity, stats->key_count + 1,
                                    sizeof *stats->keys);
        stats->keys[stats->key_count++] = summarize(&key, stats->triggers.bos);
        keep_if_confident(stats, &key);
        input_count(stream_input(reader), 1, "keys");
    }
    if (stats->key_count == 0)
        die("%s: there is no key in it", input_name(stream_input(reader)));
}

/* ---- tables ---- */

/* The corpus' most frequent token of those that can follow; equal ones: the lower. */
static uint32_t most_frequent(const struct stats *stats)
{
    const struct token_range *range = stats->candidates.range;
    const uint64_t *count = stats->triggers.token_counts.count;
    size_t best = range[0].first;
    for (size_t r = 0; r < stats->candidates.range_count; r++)
        for (size_t token = range[r].first; token < range[r].end; token++)
            if (count[token] > count[best])
                best = token;
    return (uint32_t)best;
}

/* Figure 4. */
static void write_agreement(const struct stats *stats, const char *path)
{
    static const char *const columns[] = {"layer", "keys", "live_keys", "agree_next", "agree_last",
                                          "random", "frequent", INTERVAL_COLUMNS("agree_next"),
                                          INTERVAL_COLUMNS("agree_last"), INTERVAL_COLUMNS("frequent"), NULL};
    struct table *table = table_open(path, columns);
    bool counted = stats->triggers.token_counts.count;
    uint32_t frequent_token = counted ? most_frequent(stats) : 0;
    for (size_t layer = 0; layer < stats->triggers.shape.layers; layer++) {
        size_t keys = 0, live = 0, next = 0, last = 0, frequent = 0;
        for (size_t i = 0; i < stats->key_count; i++) {
            const struct key_summary *key = &stats->keys[i];
            if (key->layer != layer)
                continue;
            keys++;
            live += key->live;
            next += key->agree_next;
            last += key->agree_last;
            frequent += key->live && key->first_next == frequent_token;
        }
        if (!keys)
            continue;
        table_layer(table, layer);
        table_number(table, keys);
        table_number(table, live);
        table_real(table, statistics_share(next, live));
        table_real(table, statistics_share(last, live));
        table_real(table, 1.0 / (double)stats->candidates.count);
        table_real(table, counted ? statistics_share(frequent, live) : (double)NAN);
        table_interval(table, share_interval(next, live));
        table_interval(table, share_interval(last, live));
        table_interval(table, share_interval(frequent, counted ? live : 0));
    }
    table_finish(table);
}

/* Figure 5. */
static void write_rank(const struct stats *stats, const char *path)
{
    static const char *const columns[] = {"layer", "live_keys", "p10", "p25", "p50", "p75", "p90", NULL};
    static const double quantiles[] = {0.10, 0.25, 0.50, 0.75, 0.90};
    struct table *table = table_open(path, columns);
    double *ranks = new_array(stats->key_count, sizeof *ranks);
    for (size_t layer = 0; layer < stats->triggers.shape.layers; layer++) {
        size_t keys = 0, live = 0;
        for (size_t i = 0; i < stats->key_count; i++) {
            keys += stats->keys[i].layer == layer;
            if (stats->keys[i].layer == layer && stats->keys[i].live)
                ranks[live++] = stats->keys[i].first_rank;
        }
        if (!keys)
            continue;
        sort_numbers(ranks, live);
        table_layer(table, layer);
        table_number(table, live);
        for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++)
            table_real(table, statistics_quantile(ranks, live, quantiles[q]));
    }
    free(ranks);
    table_finish(table);
}

/* Rising; equal ones by layer and cell, that is by address. */
static int by_confidence(const void *a, const void *b)
{
    const struct key_summary *left = *(const struct key_summary *const *)a;
    const struct key_summary *right = *(const struct key_summary *const *)b;
    if (left->confidence != right->confidence)
        return left->confidence < right->confidence ? -1 : 1;
    return left < right ? -1 : left > right;
}

static void write_bin(struct table *table, const struct key_summary *const *keys, size_t count, double low,
                      double high)
{
    size_t live = 0, next = 0;
    for (size_t i = 0; i < count; i++) {
        live += keys[i]->live;
        next += keys[i]->agree_next;
    }
    table_real(table, low);
    table_real(table, high);
    table_number(table, count);
    table_real(table, statistics_share(next, live));
    table_number(table, live);
    table_interval(table, share_interval(next, live));
}

/* "0,0.2,0.5,1": rising numbers, the bounds of bins. */
static size_t parse_edges(const char *text, double *edges)
{
    size_t count = 0;
    for (const char *at = text;; at++) {
        char *end;
        double edge = strtod(at, &end);
        if (end == at || !isfinite(edge) || (*end && *end != ',') || count == MAX_EDGES
            || (count && edge <= edges[count - 1]))
            die_usage("--edges takes rising numbers, such as 0,0.2,0.5,1, not '%s'", text);
        edges[count++] = edge;
        at = end;
        if (!*at)
            break;
    }
    if (count < 2)
        die_usage("--edges needs at least two numbers, not '%s'", text);
    return count;
}

/* Figure 6: bins of equally many values, or between given edges (the last bin has its upper one). */
static void write_confidence(const struct stats *stats, const struct options *options, const char *path)
{
    static const char *const columns[] = {"low", "high", "values", "agree_next", "live_keys",
                                          INTERVAL_COLUMNS("agree_next"), NULL};
    struct table *table = table_open(path, columns);
    size_t count = stats->key_count;
    const struct key_summary **sorted = new_array(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &stats->keys[i];
    qsort(sorted, count, sizeof *sorted, by_confidence);
    if (options->edges) {
        double edges[MAX_EDGES];
        size_t edge_count = parse_edges(options->edges, edges);
        size_t start = 0;
        while (start < count && (double)sorted[start]->confidence < edges[0])
            start++;
        for (size_t e = 0; e + 1 < edge_count; e++) {
            bool last = e + 2 == edge_count;
            size_t end = start;
            while (end < count && ((double)sorted[end]->confidence < edges[e + 1]
                                   || (last && (double)sorted[end]->confidence == edges[e + 1])))
                end++;
            write_bin(table, sorted + start, end - start, edges[e], edges[e + 1]);
            start = end;
        }
    } else {
        size_t bins = options->bins ? (size_t)options->bins : DEFAULT_BINS;
        bins = bins < count ? bins : count;
        for (size_t b = 0; b < bins; b++) {
            size_t start = b * count / bins, end = (b + 1) * count / bins;
            write_bin(table, sorted + start, end - start, (double)sorted[start]->confidence,
                      (double)sorted[end - 1]->confidence);
        }
    }
    free(sorted);
    table_finish(table);
}

/* A trigger's prefix. The caller frees it. */
static char *prefix_text(const struct key_triggers *key, size_t trigger, const struct tokenizer *tokenizer)
{
    struct prefix_walk prefix = key_prefixes(key, trigger + 1);
    do
        prefix_next(&prefix);
    while (prefix.index < trigger);
    return tokenizer_text(tokenizer, prefix.token, prefix.length);
}

/* Table 2: the example is the best trigger that agrees, else the first one. */
static void write_top_values(const struct stats *stats, const struct tokenizer *tokenizer, const char *path)
{
    static const char *const columns[] = {"layer", "cell", "probability", "token", "agree_in_50", "example",
                                          "example_next", NULL};
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < stats->confident_count; i++) {
        const struct key_triggers *key = &stats->confident[i];
        size_t agree = 0, example = 0;
        for (size_t j = key->count < AGREEING_TRIGGERS ? key->count : AGREEING_TRIGGERS; j-- > 0;)
            if (key->next[j] == key->top[0]) {
                agree++;
                example = j;
            }
        table_layer(table, key->layer);
        table_number(table, key->cell);
        table_real(table, (double)key->top_probability[0]);
        table_own_text(table, tokenizer_text(tokenizer, key->top, 1));
        table_number(table, agree);
        table_own_text(table, key->count ? prefix_text(key, example, tokenizer) : copy_string(""));
        table_own_text(table, tokenizer_text(tokenizer, key->next + example, key->count ? 1 : 0));
    }
    table_finish(table);
}

static void run(const struct options *options, const char *path)
{
    struct stream_reader *reader = stream_open(path, "triggers");
    stream_need_sentences(reader);
    struct stats stats = {.triggers = triggers_open_list(reader, options->list),
                          .keep_confident = options->top_values};
    stats.candidates = header_candidates(reader, stats.triggers.shape.vocabulary);
    if (options->top_values && stats.triggers.top < AGREEING_TRIGGERS)
        stream_fail(reader, "fewer than %d triggers a key: --top-values needs topk-keys -t %d",
                    AGREEING_TRIGGERS, AGREEING_TRIGGERS);
    struct tokenizer *tokenizer = NULL;
    if (options->top_values)
        tokenizer = tokenizer_open(options->model, reader);
    read_keys(&stats, reader);

    if (options->rank)
        write_rank(&stats, options->rank);
    if (options->confidence)
        write_confidence(&stats, options, options->confidence);
    if (options->top_values)
        write_top_values(&stats, tokenizer, options->top_values);
    write_agreement(&stats, options->output);

    for (size_t i = 0; i < stats.confident_count; i++)
        key_triggers_free(&stats.confident[i]);
    if (tokenizer)
        tokenizer_free(tokenizer);
    triggers_close(&stats.triggers);
    candidates_free(&stats.candidates);
    stream_close(reader);
    free(stats.keys);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'o', "output", "FILE", "write agreement.csv's table to FILE instead of standard output", OPTION_OUT,
         &options.output, 0, 0, NULL},
        OPTION_LIST(&options.list),
        {0, "rank", "FILE", "write the quantiles of the next token's rank to FILE", OPTION_OUT_TOO,
         &options.rank, 0, 0, NULL},
        {0, "confidence", "FILE", "write agreement by the values' largest probability to FILE",
         OPTION_OUT_TOO, &options.confidence, 0, 0, NULL},
        {0, "bins", "N", "of --confidence: N bins of equally many values (default 10)", OPTION_NUMBER,
         &options.bins, 1, 1 << 20, NULL},
        {0, "edges", "LIST", "of --confidence: bins between these probabilities, such as 0,0.2,0.5,1",
         OPTION_TEXT, &options.edges, 0, 0, NULL},
        {0, "top-values", "FILE",
         "write the 100 most confident values to FILE; needs --model and 50 triggers a key", OPTION_OUT_TOO,
         &options.top_values, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"agreement-stats",
                              "Tells how often values predict what follows their keys' triggers.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (options.top_values && !options.model)
        die_usage("--top-values needs --model DIR for the words");
    if (options.edges)
        parse_edges(options.edges, (double[MAX_EDGES]){0});
    if (options.edges && options.bins)
        die_usage("--edges and --bins say the same thing in two ways: give one of them");
    run(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
