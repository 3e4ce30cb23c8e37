/*
 * perturbation-stats: coefficients of changed prefixes in, as forward-dump --emit
 * key writes them, the table of the paper's figure 3 out: per layer and change the
 * relative change of the coefficient in per cent.
 *
 * With m the coefficient at the unchanged prefix and m' at the changed one, it is
 * 100 (m' - m) / m. Layers count from 1 here, and from 0 in streams. Several inputs
 * are shards of perturb-triggers; the table does not depend on their order.
 */
#include "analysis/sentence_keys.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "base/order.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One sentence. */
struct sample {
    uint32_t layer, change, cell;
    bool is_short; /* the prefix was too short for the change: no ratio */
    double ratio;  /* m' / m */
};

struct stats {
    double threshold;
    const char *input, *output; /* names: of the first input, for messages; of the table */
    struct sample *samples;
    size_t count, capacity;
    uint64_t last_key;        /* of the current input: the key of its last sentence, layer and cell */
};

/* ---- reading ---- */

/* Within an input keys come by layer, then cell. */
static void check_order(struct stats *stats, const struct stream_reader *reader, uint32_t layer,
                        uint32_t cell)
{
    uint64_t key = (uint64_t)layer << 32 | cell;
    if (key < stats->last_key)
        stream_fail(reader, "layer %zu cell %u is not in order", layer_shown(layer), cell);
    stats->last_key = key;
}

static void add_sample(struct stats *stats, struct sample sample)
{
    stats->samples = reserve_array(stats->samples, &stats->capacity, stats->count + 1,
                                   sizeof *stats->samples);
    stats->samples[stats->count++] = sample;
}

static void add_batch(struct stats *stats, const struct stream_reader *reader, const struct batch *batch,
                      const struct sentence_keys *keys, const struct record *record)
{
    struct key_coefficients after = {.sentences = batch->sentences};
    fields_read(record, key_coefficients_fields, 0, &after);
    for (size_t s = 0; s < batch->sentences; s++) {
        if (!isfinite(after.coefficient[s]))
            stream_fail(reader, "'key' has an element that is not a coefficient");
        check_order(stats, reader, keys->layer[s], keys->cell[s]);
        bool is_short = batch->length[s] == 1;
        double ratio = is_short ? 0 : (double)after.coefficient[s] / (double)keys->coefficient[s];
        add_sample(stats, (struct sample){keys->layer[s], keys->change[s], keys->cell[s], is_short, ratio});
    }
    fields_free(key_coefficients_fields, &after);
}

/* The records of one input: a batch's tokens, then its coefficients, and so on. */
static void read_batches(struct stats *stats, struct stream_reader *reader, size_t changes)
{
    struct model_shape shape = shape_read(reader);
    struct record record;
    struct batch batch;
    struct sentence_keys keys;
    uint64_t next_id = 0;
    bool pending = false;
    while (stream_next(reader, &record)) {
        if (record_has(&record, "key") != pending)
            stream_fail(reader, pending
                                    ? "a batch without its coefficients: forward-dump --emit key writes them"
                                    : "coefficients without their batch");
        if (pending) {
            add_batch(stats, reader, &batch, &keys, &record);
            input_count(stream_input(reader), batch.sentences, "sentences");
            batch_free(&batch);
            sentence_keys_free(&keys);
        } else {
            batch = batch_read(&record, shape.vocabulary);
            if (batch.id < next_id)
                stream_fail(reader, "sentence %llu is not in order", (unsigned long long)batch.id);
            next_id = batch.id + batch.sentences;
            keys = sentence_keys_read(&record, batch.sentences, shape.layers, shape.d_ff, changes);
        }
        pending = !pending;
    }
    if (pending)
        stream_fail(reader, "the last batch has no coefficients");
}

static void read_input(void *of_all, struct stream_reader *reader)
{
    struct stats *stats = of_all;
    stats->last_key = 0;
    read_batches(stats, reader, json_array_size(header_changes(reader)));
}

/* ---- the table ---- */

/* By layer, then change; short ones last. */
static int by_group(const void *a, const void *b)
{
    const struct sample *left = a, *right = b;
    int order = compare_numbers(left->layer, right->layer);
    order = order ? order : compare_numbers(left->change, right->change);
    order = order ? order : compare_numbers(left->is_short, right->is_short);
    if (order)
        return order;
    return left->ratio < right->ratio ? -1 : left->ratio > right->ratio;
}

static int by_cell(const void *a, const void *b)
{
    const struct sample *left = a, *right = b;
    return compare_numbers(left->cell, right->cell);
}

/* What is a share of the changes of a layer: a key's are alike. */
struct shares {
    struct clusters zeroed, increased;
};

/* Of count samples of a layer and a change, none short; sorts them by cell. */
static struct shares share_changes(const struct stats *stats, struct sample *samples, size_t count)
{
    struct shares shares = {0};
    if (count)
        qsort(samples, count, sizeof *samples, by_cell);
    for (size_t start = 0; start < count;) {
        size_t end = start, zeroed = 0, increased = 0;
        for (; end < count && samples[end].cell == samples[start].cell; end++) {
            zeroed += samples[end].ratio <= stats->threshold;
            increased += samples[end].ratio > 1;
        }
        clusters_add(&shares.zeroed, (double)zeroed, (double)(end - start));
        clusters_add(&shares.increased, (double)increased, (double)(end - start));
        start = end;
    }
    return shares;
}

/* The count sorted samples of a layer and a change, which lose their order. */
static void write_group(const struct stats *stats, struct table *table, size_t layer, const char *kind,
                        struct sample *samples, size_t count)
{
    double *percent = new_array(count, sizeof *percent);
    size_t measured = 0;
    for (; measured < count && !samples[measured].is_short; measured++)
        percent[measured] = 100 * (samples[measured].ratio - 1);
    struct shares shares = share_changes(stats, samples, measured);
    table_layer(table, layer);
    table_text(table, kind);
    table_number(table, measured);
    table_real(table, statistics_mean(percent, measured));
    table_quartiles(table, percent, measured);
    table_real(table, clusters_share(&shares.zeroed));
    table_real(table, clusters_share(&shares.increased));
    table_number(table, count - measured);
    table_number(table, shares.zeroed.count);
    table_interval(table, clusters_interval(&shares.zeroed, (double)measured));
    table_interval(table, clusters_interval(&shares.increased, (double)measured));
    free(percent);
}

/* names: of the changes. */
static void write_table(struct stats *stats, const json_t *names)
{
    static const char *const columns[] = {"layer", "kind", "triggers", "mean", "p25", "p50", "p75", "zeroed",
                                          "increased", "short", "keys", INTERVAL_COLUMNS("zeroed"),
                                          INTERVAL_COLUMNS("increased"), NULL};
    struct table *table = table_open(stats->output, columns);
    qsort(stats->samples, stats->count, sizeof *stats->samples, by_group);
    for (size_t start = 0; start < stats->count;) {
        uint32_t layer = stats->samples[start].layer;
        for (size_t change = 0; change < json_array_size(names); change++) {
            size_t end = start;
            while (end < stats->count && stats->samples[end].layer == layer
                   && stats->samples[end].change == change)
                end++;
            write_group(stats, table, layer, json_string_value(json_array_get(names, change)),
                        stats->samples + start, end - start);
            start = end;
        }
    }
    table_finish(table);
}

static void finish(void *of_all, const struct stream_reader *first, const json_t *counts)
{
    struct stats *stats = of_all;
    (void)counts;
    if (!stats->count)
        die("%s: there is no sentence in it", stats->input);
    write_table(stats, header_changes(first));
}

int main(int argc, char **argv)
{
    static const struct merge_work work = {
        .kind = "activations", .whole = &whole_corpus, .is_lone_right = true, .read = read_input,
        .end = finish};
    struct stats stats = {0};
    bool partial = false;
    const struct option_spec specs[] = {
        {0, "threshold", "X", "count as zeroed what falls to X times the coefficient or below (default 0)",
         OPTION_REAL, &stats.threshold, 0, 0, NULL},
        {0, "partial", NULL, "also when shards are missing", OPTION_FLAG, &partial, 0, 0, NULL},
        OPTION_OUTPUT(&stats.output),
        OPTION_END,
    };
    const struct tool tool = {"perturbation-stats",
                              "Tells how coefficients change with their triggers' prefixes.", "[FILE]...",
                              specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    char *standard_input[] = {"-"};
    bool named = first < argc;
    stats.input = named ? argv[first] : "standard input";
    merge_inputs(&work, named ? argv + first : standard_input, named ? (size_t)(argc - first) : 1, partial,
                 &stats);
    free(stats.samples);
    return STATUS_DONE;
}
