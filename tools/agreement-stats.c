/*
 * agreement-stats: triggers with projected values in, the tables of the paper's
 * section 4 out: agreement rate (figure 4), rank of the next token (figure 5),
 * agreement against confidence (figure 6), the most confident values (table 2).
 *
 * A live key has at least one trigger; agree_next is the share of live keys whose
 * value's most probable token is the next token of the key's first trigger,
 * agree_last the same with the last token of the trigger's prefix. Layers count
 * from 1 here, and from 0 in streams.
 *
 * --sums writes what of each key the tables are made of, with the examples of the most confident values, of
 * all keys or a shard of them; --merge makes the tables of those.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "model/candidates.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/key_records.h"
#include "stream/record_members.h"
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
    struct sums_options out;
    const char *model, *list, *rank, *confidence, *top_values, *edges;
    uint64_t bins;
};

/* What the tables need to know of one key. */
struct key_summary {
    size_t layer, cell;
    float confidence;  /* the value's largest probability */
    uint32_t promoted; /* and the token that has it */
    bool live;
    uint32_t next, last; /* of the first trigger: its next token, its prefix's last one or BOS */
    uint32_t rank;       /* the next token's in the value's distribution */
};

/* One of the most confident values: what there is to show of its triggers, all 0 where there are none. */
struct confident {
    size_t key;       /* which of the keys */
    size_t agreeing;  /* of its first triggers: whose next token is the value's */
    uint32_t *prefix; /* prefix_tokens: of the example */
    size_t prefix_tokens;
    uint32_t next;    /* the token behind it */
};

struct stats {
    const struct options *options;
    struct tokenizer *tokenizer; /* NULL unless texts are written */
    size_t layers, vocabulary;
    struct candidates candidates;
    struct key_summary *keys;
    size_t key_count, key_capacity;
    bool keep_confident;
    struct confident confident[MAX_CONFIDENT]; /* most confident first */
    size_t confident_count;
};

static bool agrees_next(const struct key_summary *key)
{
    return key->live && key->promoted == key->next;
}

static bool agrees_last(const struct key_summary *key)
{
    return key->live && key->promoted == key->last;
}

/* ---- keys ---- */

static void add_key(struct stats *stats, struct key_summary key)
{
    stats->keys = reserve_array(stats->keys, &stats->key_capacity, stats->key_count + 1, sizeof *stats->keys);
    stats->keys[stats->key_count++] = key;
}

/* The place that the key that was added last has among the most confident. Equal ones: the earlier key. */
static size_t confident_place(const struct stats *stats)
{
    size_t place = stats->confident_count;
    const float confidence = stats->keys[stats->key_count - 1].confidence;
    while (place && confidence > stats->keys[stats->confident[place - 1].key].confidence)
        place--;
    return place;
}

/* Puts it there: the last one has to go where there are enough. */
static void add_confident(struct stats *stats, size_t place, struct confident confident)
{
    if (stats->confident_count == MAX_CONFIDENT)
        free(stats->confident[MAX_CONFIDENT - 1].prefix);
    else
        stats->confident_count++;
    memmove(&stats->confident[place + 1], &stats->confident[place],
            (stats->confident_count - 1 - place) * sizeof confident);
    confident.key = stats->key_count - 1;
    stats->confident[place] = confident;
}

/* The example is the best trigger that agrees, else the first one. */
static struct confident find_example(const struct key_triggers *key)
{
    struct confident confident = {0};
    size_t example = 0;
    for (size_t j = key->count < AGREEING_TRIGGERS ? key->count : AGREEING_TRIGGERS; j-- > 0;)
        if (key->next[j] == key->top[0]) {
            confident.agreeing++;
            example = j;
        }
    for (struct prefix_walk prefix = key_prefixes(key, example + 1); prefix_next(&prefix);)
        if (prefix.index == example) {
            confident.prefix_tokens = prefix.length;
            confident.prefix = new_array(prefix.length, sizeof *confident.prefix);
            for (size_t i = 0; i < prefix.length; i++)
                confident.prefix[i] = prefix.token[i];
            confident.next = key->next[example];
        }
    return confident;
}

static struct key_summary summarize(const struct key_triggers *key, uint32_t bos)
{
    struct key_summary summary = {.layer = key->layer, .cell = key->cell, .promoted = key->top[0],
                                  .confidence = key->top_probability[0], .live = key->count > 0};
    if (summary.live) {
        struct prefix_walk prefix = key_prefixes(key, 1);
        prefix_next(&prefix);
        summary.next = key->next[0];
        summary.last = prefix_last(&prefix, bos);
        summary.rank = key->next_rank[0];
    }
    return summary;
}

static void read_keys(struct stats *stats, struct triggers_reader *triggers)
{
    struct key_triggers key;
    while (triggers_next(triggers, &key)) {
        if (!key.top)
            stream_fail(triggers->stream, "triggers without projected values: run project-values first");
        add_key(stats, summarize(&key, triggers->bos));
        size_t place = stats->keep_confident ? confident_place(stats) : MAX_CONFIDENT;
        if (place < MAX_CONFIDENT)
            add_confident(stats, place, find_example(&key));
        key_triggers_free(&key);
        input_count(stream_input(triggers->stream), 1, "keys");
    }
}

/* ---- records of keys, for --sums and --merge ---- */

/* A key. */
struct key_record {
    size_t layer, cell, promoted;
    float confidence[1];
    size_t next, last, rank;
    size_t agreeing, example_next;
    uint32_t *example; /* example_tokens */
    size_t example_tokens;
    bool live, confident;
};

/* Live keys; those of them whose values are among the most confident. */
enum { LIVE = 1, CONFIDENT = 2 };

static const struct field key_record_fields[] = {
    FIELD_INTEGER(struct key_record, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct key_record, cell, "cell", FIELD_NUMBER),
    FIELD_INTEGER(struct key_record, promoted, "promoted", FIELD_NUMBER),
    FIELD_WITHIN(struct key_record, confidence, "confidence"),
    FIELD_INTEGER_IN(struct key_record, next, "first_next", FIELD_NUMBER, LIVE),
    FIELD_INTEGER_IN(struct key_record, last, "first_last", FIELD_NUMBER, LIVE),
    FIELD_INTEGER_IN(struct key_record, rank, "first_rank", FIELD_NUMBER, LIVE),
    FIELD_INTEGER_IN(struct key_record, agreeing, "agreeing", FIELD_NUMBER, CONFIDENT),
    FIELD_ARRAY(struct key_record, example, "example", "prefix tokens", example_tokens, CONFIDENT),
    FIELD_INTEGER_IN(struct key_record, example_next, "example_next", FIELD_NUMBER, CONFIDENT),
    FIELD_END,
};

static unsigned record_groups(const void *key)
{
    const struct key_record *record = key;
    return (record->live ? LIVE : 0) | (record->confident ? CONFIDENT : 0);
}

static void check_record(void *tables, const struct record *record, unsigned groups, void *key)
{
    const struct stats *stats = tables;
    struct key_record *read = key;
    const size_t vocabulary = stats->vocabulary;
    bool right = read->promoted < vocabulary && is_probability(read->confidence[0])
              && (groups & LIVE || !(groups & CONFIDENT));
    if (groups & LIVE)
        right = right && read->next < vocabulary && read->last < vocabulary && read->rank >= 1
             && read->rank <= vocabulary;
    if (groups & CONFIDENT)
        right = right && read->agreeing <= AGREEING_TRIGGERS && read->example_next < vocabulary;
    for (size_t i = 0; i < read->example_tokens; i++)
        right = right && read->example[i] < vocabulary;
    if (!right)
        stream_fail(record->reader, "what it says of layer %zu cell %zu is out of range",
                    layer_shown(read->layer), read->cell);
    read->live = groups & LIVE;
    read->confident = groups & CONFIDENT;
}

/* Each shard has the examples of its own most confident values: one without cannot be among those of all. */
static void tell_record(void *tables, const void *key)
{
    struct stats *stats = tables;
    const struct key_record *record = key;
    add_key(stats, (struct key_summary){record->layer, record->cell, record->confidence[0],
                                        (uint32_t)record->promoted, record->live, (uint32_t)record->next,
                                        (uint32_t)record->last, (uint32_t)record->rank});
    bool may_be_kept = stats->keep_confident && record->live == record->confident;
    size_t place = may_be_kept ? confident_place(stats) : MAX_CONFIDENT;
    if (place == MAX_CONFIDENT)
        return;
    struct confident confident = {.agreeing = record->agreeing, .prefix_tokens = record->example_tokens,
                                  .next = (uint32_t)record->example_next};
    confident.prefix = new_array(record->example_tokens, sizeof *confident.prefix);
    for (size_t i = 0; i < record->example_tokens; i++)
        confident.prefix[i] = record->example[i];
    add_confident(stats, place, confident);
}

/* ---- tables ---- */

/* The corpus' most frequent token of those that can follow; equal ones: the lower. */
static uint32_t most_frequent(const struct stats *stats, const uint64_t *count)
{
    const struct token_range *range = stats->candidates.range;
    size_t best = range[0].first;
    for (size_t r = 0; r < stats->candidates.range_count; r++)
        for (size_t token = range[r].first; token < range[r].end; token++)
            if (count[token] > count[best])
                best = token;
    return (uint32_t)best;
}

/* Figure 4. */
static void write_agreement(const struct stats *stats, const struct token_counts *token_counts)
{
    static const char *const columns[] = {"layer", "keys", "live_keys", "agree_next", "agree_last",
                                          "random", "frequent", INTERVAL_COLUMNS("agree_next"),
                                          INTERVAL_COLUMNS("agree_last"), INTERVAL_COLUMNS("frequent"), NULL};
    struct table *table = table_open(stats->options->out.output, columns);
    bool counted = token_counts->count;
    uint32_t frequent_token = counted ? most_frequent(stats, token_counts->count) : 0;
    for (size_t layer = 0; layer < stats->layers; layer++) {
        size_t keys = 0, live = 0, next = 0, last = 0, frequent = 0;
        for (size_t i = 0; i < stats->key_count; i++) {
            const struct key_summary *key = &stats->keys[i];
            if (key->layer != layer)
                continue;
            keys++;
            live += key->live;
            next += agrees_next(key);
            last += agrees_last(key);
            frequent += key->live && key->next == frequent_token;
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
    for (size_t layer = 0; layer < stats->layers; layer++) {
        size_t keys = 0, live = 0;
        for (size_t i = 0; i < stats->key_count; i++) {
            keys += stats->keys[i].layer == layer;
            if (stats->keys[i].layer == layer && stats->keys[i].live)
                ranks[live++] = stats->keys[i].rank;
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
        next += agrees_next(keys[i]);
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

/* Table 2. */
static void write_top_values(const struct stats *stats, const char *path)
{
    static const char *const columns[] = {"layer", "cell", "probability", "token", "agree_in_50", "example",
                                          "example_next", NULL};
    struct table *table = table_open(path, columns);
    const struct tokenizer *tokenizer = stats->tokenizer;
    for (size_t i = 0; i < stats->confident_count; i++) {
        const struct confident *confident = &stats->confident[i];
        const struct key_summary *key = &stats->keys[confident->key];
        table_layer(table, key->layer);
        table_number(table, key->cell);
        table_real(table, (double)key->confidence);
        table_own_text(table, tokenizer_text(tokenizer, &key->promoted, 1));
        table_number(table, confident->agreeing);
        table_own_text(table, tokenizer_text(tokenizer, confident->prefix, confident->prefix_tokens));
        table_own_text(table, tokenizer_text(tokenizer, &confident->next, key->live ? 1 : 0));
    }
    table_finish(table);
}

static void write_tables(void *of_keys, const struct stream_reader *input,
                         const struct token_counts *token_counts)
{
    struct stats *stats = of_keys;
    const struct options *options = stats->options;
    if (stats->key_count == 0)
        die("%s: there is no key in it", input_name(stream_input(input)));
    if (options->rank)
        write_rank(stats, options->rank);
    if (options->confidence)
        write_confidence(stats, options, options->confidence);
    if (options->top_values)
        write_top_values(stats, options->top_values);
    write_agreement(stats, token_counts);
}

/* ---- runs and merges ---- */

/* The header of triggers, or of records of keys, which has all that that of the triggers had. */
static void begin(void *tables, const struct stream_reader *input)
{
    struct stats *stats = tables;
    const struct options *options = stats->options;
    struct model_shape shape = shape_read(input);
    bool enough = header_number(input, NULL, "top", MAX_TRIGGERS) >= AGREEING_TRIGGERS;
    stats->layers = shape.layers;
    stats->vocabulary = shape.vocabulary;
    stats->candidates = header_candidates(input, shape.vocabulary);
    stats->keep_confident = options->out.sums ? enough : options->top_values != NULL;
    if (options->top_values && !enough)
        stream_fail(input, "fewer than %d triggers a key: --top-values needs topk-keys -t %d",
                    AGREEING_TRIGGERS, AGREEING_TRIGGERS);
    if (options->top_values)
        stats->tokenizer = tokenizer_open(options->model, input);
}

static int by_key(const void *a, const void *b)
{
    const struct confident *left = a, *right = b; /* no two are of one key */
    return left->key < right->key ? -1 : 1;
}

/* The records of all keys; of the most confident, which are sorted for that, with their examples. */
static void put_keys(void *of_keys, struct key_writer *writer)
{
    struct stats *stats = of_keys;
    qsort(stats->confident, stats->confident_count, sizeof *stats->confident, by_key);
    const struct confident *confident = stats->confident, *end = confident + stats->confident_count;
    for (size_t i = 0; i < stats->key_count; i++) {
        const struct key_summary *key = &stats->keys[i];
        struct key_record record = {.layer = key->layer, .cell = key->cell, .promoted = key->promoted,
                                    .confidence = {key->confidence}, .next = key->next, .last = key->last,
                                    .rank = key->rank, .live = key->live};
        if (confident < end && confident->key == i) {
            record.confident = key->live;
            record.agreeing = confident->agreeing;
            record.example = confident->prefix;
            record.example_tokens = confident->prefix_tokens;
            record.example_next = confident->next;
            confident++;
        }
        key_writer_put(writer, &record);
    }
}

static const struct key_records_kind kind = {
    .stream = "agreement", .fields = key_record_fields, .size = sizeof(struct key_record),
    .groups = record_groups, .begin = begin, .check = check_record, .tell = tell_record,
    .put_all = put_keys, .end = write_tables,
};

static void write_sums(struct stats *stats, const struct triggers_reader *triggers)
{
    json_t *header = header_new(kind.stream, stream_header(triggers->stream)), *options = json_object();
    options_set_list(options, triggers);
    header_add_stage(header, "agreement-stats", options);
    struct key_writer *writer = key_writer_create(
        &kind, &stats->options->out, header, LIVE | (stats->keep_confident ? CONFIDENT : 0), NULL,
        triggers->token_counts.count ? &triggers->token_counts : NULL);
    put_keys(stats, writer);
    key_writer_finish(writer, stream_trailer(triggers->stream));
}

static void run(struct stats *stats, const char *path)
{
    struct stream_reader *reader = stream_open(path, "triggers");
    stream_need_sentences(reader);
    struct triggers_reader triggers = triggers_open_list(reader, stats->options->list);
    triggers.is_part = stats->options->out.sums;
    begin(stats, reader);
    read_keys(stats, &triggers);
    if (stats->options->out.sums)
        write_sums(stats, &triggers);
    else
        write_tables(stats, reader, &triggers.token_counts);
    triggers_close(&triggers);
    stream_close(reader);
}

static void stats_free(struct stats *stats)
{
    for (size_t i = 0; i < stats->confident_count; i++)
        free(stats->confident[i].prefix);
    if (stats->tokenizer)
        tokenizer_free(stats->tokenizer);
    candidates_free(&stats->candidates);
    free(stats->keys);
}

static void check_options(const struct options *options, size_t operands)
{
    cli_check_sums(&options->out, operands);
    if (options->out.sums
        && (options->rank || options->confidence || options->bins || options->edges || options->top_values))
        die_usage("--sums writes no tables: --rank, --confidence, --bins, --edges and --top-values do not go "
                  "with it");
    if (options->out.merge && options->list)
        die_usage("--merge keeps what its inputs were made with: --list does not go with it");
    if (options->top_values && !options->model)
        die_usage("--top-values needs --model DIR for the words");
    if (options->edges)
        parse_edges(options->edges, (double[MAX_EDGES]){0});
    if (options->edges && options->bins)
        die_usage("--edges and --bins say the same thing in two ways: give one of them");
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
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
        OPTIONS_SUMS(&options.out),
        OPTION_OUTPUT(&options.out.output),
        OPTION_GZIP(&options.out.gzip),
        OPTION_END,
    };
    const struct tool tool = {"agreement-stats",
                              "Tells how often values predict what follows their keys' triggers.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options, (size_t)(argc - first));
    struct stats stats = {.options = &options};
    if (options.out.merge)
        key_records_merge(&kind, &options.out, argv + first, (size_t)(argc - first), &stats);
    else
        run(&stats, cli_input(argc, argv, first));
    stats_free(&stats);
    return STATUS_DONE;
}
