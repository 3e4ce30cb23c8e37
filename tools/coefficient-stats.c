/*
 * coefficient-stats: how large the coefficients of layers and keys are, and, where layers are gated, which
 * signs gate and input have.
 *
 * Reads what topk-keys kept, for each key, of the counts that forward-dump --emit magnitudes,signs makes:
 * percentiles of |m_i|, to within 1/33 (stream/coefficient_bins.h), and how often each combination occurs.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"

#include <math.h>
#include <stdlib.h>

struct options {
    const char *output, *keys, *signs, *sign_keys;
};

/* What the tables say of a layer, or of one key. */
struct sums {
    size_t layer, cell, keys;
    struct histogram counted[COUNTED_KINDS]; /* of the kinds that the stream has; else no bins */
    struct clusters signs[SIGNS];            /* by key: those of a key are no independent observations */
};

struct tables {
    struct table *layers, *keys, *signs, *sign_keys; /* the last three NULL unless asked for */
};

#define PERCENTILE_COLUMNS "p50", "p90", "p99", "p99.9", "p99.99"
static const double percentiles[] = {0.50, 0.90, 0.99, 0.999, 0.9999};
#define SIGN_COLUMNS "gate+input+", "gate+input-", "gate-input+", "gate-input-"

static void put_percentiles(struct table *table, const struct histogram *magnitudes)
{
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        table_real(table, magnitudes->bins
                   ? histogram_quantile(magnitudes, percentiles[i], magnitude_bin_value) : (double)NAN);
}

static uint64_t positions_of(const struct sums *sums, enum counted kind)
{
    return histogram_total(&sums->counted[kind]) / sums->keys;
}

/* Of whichever kind there is: all have the same positions. */
static uint64_t any_positions(const struct sums *sums)
{
    return positions_of(sums, sums->counted[COUNTED_MAGNITUDES].bins ? COUNTED_MAGNITUDES : COUNTED_SIGNS);
}

/* ---- rows ---- */

static void put_key(const struct tables *tables, const struct sums *key)
{
    if (tables->keys) {
        table_layer(tables->keys, key->layer);
        table_number(tables->keys, key->cell);
        table_number(tables->keys, positions_of(key, COUNTED_MAGNITUDES));
        put_percentiles(tables->keys, &key->counted[COUNTED_MAGNITUDES]);
    }
    if (tables->sign_keys) {
        table_layer(tables->sign_keys, key->layer);
        table_number(tables->sign_keys, key->cell);
        table_number(tables->sign_keys, positions_of(key, COUNTED_SIGNS));
        for (size_t i = 0; i < SIGNS; i++)
            table_number(tables->sign_keys, key->counted[COUNTED_SIGNS].count[i]);
    }
}

static void put_layer(const struct tables *tables, const struct sums *layer)
{
    table_layer(tables->layers, layer->layer);
    table_number(tables->layers, layer->keys);
    table_number(tables->layers, any_positions(layer));
    put_percentiles(tables->layers, &layer->counted[COUNTED_MAGNITUDES]);
    if (!tables->signs)
        return;
    table_layer(tables->signs, layer->layer);
    table_number(tables->signs, layer->keys);
    table_number(tables->signs, positions_of(layer, COUNTED_SIGNS));
    for (size_t i = 0; i < SIGNS; i++)
        table_real(tables->signs, clusters_share(&layer->signs[i]));
    for (size_t i = 0; i < SIGNS; i++)
        table_interval(tables->signs, clusters_interval(&layer->signs[i], layer->signs[i].whole));
}

/* ---- reading ---- */

static void sums_free(struct sums *sums)
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        histogram_free(&sums->counted[kind]);
}

/* Adds a key's counts to its layer's. */
static void add_key(struct sums *layer, const struct sums *key)
{
    const struct histogram *signs = &key->counted[COUNTED_SIGNS];
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++) {
        if (!key->counted[kind].bins)
            continue;
        if (!layer->keys)
            layer->counted[kind] = histogram_new(counted_bins[kind]);
        histogram_add(&layer->counted[kind], &key->counted[kind]);
    }
    for (size_t i = 0; i < signs->bins; i++)
        clusters_add(&layer->signs[i], (double)signs->count[i], (double)histogram_total(signs));
    layer->layer = key->layer;
    layer->keys++;
}

static void end_layer(const struct tables *tables, struct sums *layer)
{
    if (layer->keys)
        put_layer(tables, layer);
    sums_free(layer);
    *layer = (struct sums){0};
}

static void read_keys(struct triggers_reader *triggers, const struct tables *tables)
{
    struct key_triggers key;
    struct sums layer = {0};
    while (triggers_next(triggers, &key)) {
        struct sums sums = {.layer = key.layer, .cell = key.cell, .keys = 1};
        for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
            sums.counted[kind] = key.counted[kind];
        if (layer.keys && layer.layer != key.layer)
            end_layer(tables, &layer);
        put_key(tables, &sums);
        add_key(&layer, &sums);
        key_triggers_free(&key);
        input_count(stream_input(triggers->stream), 1, "keys");
    }
    end_layer(tables, &layer);
}

/* ---- main ---- */

static void need_counts(const struct triggers_reader *triggers, unsigned kinds, const char *option,
                        const char *emit)
{
    if (!(triggers->counted & kinds))
        stream_fail(triggers->stream, "keys without the counts that %s: forward-dump --emit max,%s and then "
                    "topk-keys give them", option, emit);
}

static struct tables open_tables(const struct options *options)
{
    static const char *const layers[] = {"layer", "keys", "positions", PERCENTILE_COLUMNS, NULL};
    static const char *const keys[] = {"layer", "cell", "positions", PERCENTILE_COLUMNS, NULL};
    static const char *const signs[] = {"layer", "keys", "positions", SIGN_COLUMNS,
                                        INTERVAL_COLUMNS("gate+input+"), INTERVAL_COLUMNS("gate+input-"),
                                        INTERVAL_COLUMNS("gate-input+"), INTERVAL_COLUMNS("gate-input-"),
                                        NULL};
    static const char *const sign_keys[] = {"layer", "cell", "positions", SIGN_COLUMNS, NULL};
    return (struct tables){
        table_open(options->output, layers),
        options->keys ? table_open(options->keys, keys) : NULL,
        options->signs ? table_open(options->signs, signs) : NULL,
        options->sign_keys ? table_open(options->sign_keys, sign_keys) : NULL,
    };
}

static void finish_tables(const struct tables *tables)
{
    struct table *const all[] = {tables->keys, tables->signs, tables->sign_keys, tables->layers};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            table_finish(all[i]);
}

static void run(const struct options *options, const char *path)
{
    struct stream_reader *stream = stream_open(path, "triggers");
    stream_need_sentences(stream);
    struct triggers_reader triggers = triggers_open_first(stream);
    const unsigned magnitudes = 1u << COUNTED_MAGNITUDES, signs = 1u << COUNTED_SIGNS;
    need_counts(&triggers, magnitudes | signs, "the tables are made of", "magnitudes");
    if (options->keys)
        need_counts(&triggers, magnitudes, "--keys needs", "magnitudes");
    if (options->signs || options->sign_keys)
        need_counts(&triggers, signs, "--signs and --sign-keys need", "signs");
    struct tables tables = open_tables(options);
    read_keys(&triggers, &tables);
    finish_tables(&tables);
    triggers_close(&triggers);
    stream_close(stream);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {0, "keys", "FILE", "write the same percentiles of each key to FILE", OPTION_OUT_TOO, &options.keys,
         0, 0, NULL},
        {0, "signs", "FILE", "write each layer's shares of the signs of gate and input to FILE",
         OPTION_OUT_TOO, &options.signs, 0, 0, NULL},
        {0, "sign-keys", "FILE", "write how often each of them occurs of each key to FILE", OPTION_OUT_TOO,
         &options.sign_keys, 0, 0, NULL},
        {'o', "output", "FILE", "write the layers' percentiles to FILE instead of standard output",
         OPTION_OUT, &options.output, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"coefficient-stats",
                              "Tells how large coefficients are, and of which signs gate and input.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    run(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
