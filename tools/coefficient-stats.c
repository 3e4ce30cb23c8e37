/*
 * coefficient-stats: how large the coefficients of layers and keys are, and, where layers are gated, which
 * signs gate and input have.
 *
 * Reads what topk-keys kept, for each key, of the counts that forward-dump --emit magnitudes,signs makes:
 * percentiles of |m_i|, to within 1/33 (stream/coefficient_bins.h), and how often each combination occurs.
 * --sums writes the counts alone, of all keys or a shard of them; --merge makes the tables of those.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "stream/header.h"
#include "stream/key_records.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"

#include <math.h>
#include <stdlib.h>

struct options {
    struct sums_options out;
    const char *keys, *signs, *sign_keys;
};

/* What the tables say of a layer, or of one key. */
struct sums {
    size_t layer, cell, keys;
    struct histogram counted[COUNTED_KINDS]; /* of the kinds that the stream has; else no bins */
    struct clusters signs[SIGNS];            /* by key: those of a key are no independent observations */
};

struct tables {
    const struct options *options;
    struct table *layers, *keys, *signs, *sign_keys; /* the last three NULL unless asked for */
    struct sums layer; /* of the last key; keys 0: none yet */
    unsigned counted;  /* kinds that the keys have, a bit a kind */
    struct model_shape shape;
    struct key_positions positions; /* of a merge */
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

static void end_layer(struct tables *tables)
{
    if (tables->layer.keys)
        put_layer(tables, &tables->layer);
    sums_free(&tables->layer);
    tables->layer = (struct sums){0};
}

static void tell_key(void *of_tables, const void *of_key)
{
    struct tables *tables = of_tables;
    const struct key_triggers *key = of_key;
    struct sums sums = {.layer = key->layer, .cell = key->cell, .keys = 1};
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        sums.counted[kind] = key->counted[kind];
    if (tables->layer.keys && tables->layer.layer != key->layer)
        end_layer(tables);
    put_key(tables, &sums);
    add_key(&tables->layer, &sums);
}

/* ---- tables and sums ---- */

static void need_counts(const struct tables *tables, const struct stream_reader *input, unsigned kinds,
                        const char *option, const char *emit)
{
    if (!(tables->counted & kinds))
        stream_fail(input, "keys without the counts that %s: forward-dump --emit max,%s and then "
                    "topk-keys give them", option, emit);
}

static void open_tables(struct tables *tables)
{
    const struct options *options = tables->options;
    static const char *const layers[] = {"layer", "keys", "positions", PERCENTILE_COLUMNS, NULL};
    static const char *const keys[] = {"layer", "cell", "positions", PERCENTILE_COLUMNS, NULL};
    static const char *const signs[] = {"layer", "keys", "positions", SIGN_COLUMNS,
                                        INTERVAL_COLUMNS("gate+input+"), INTERVAL_COLUMNS("gate+input-"),
                                        INTERVAL_COLUMNS("gate-input+"), INTERVAL_COLUMNS("gate-input-"),
                                        NULL};
    static const char *const sign_keys[] = {"layer", "cell", "positions", SIGN_COLUMNS, NULL};
    tables->layers = table_open(options->out.output, layers);
    tables->keys = options->keys ? table_open(options->keys, keys) : NULL;
    tables->signs = options->signs ? table_open(options->signs, signs) : NULL;
    tables->sign_keys = options->sign_keys ? table_open(options->sign_keys, sign_keys) : NULL;
}

/* Of triggers, or of records of keys. */
static void begin(void *of_tables, const struct stream_reader *input)
{
    struct tables *tables = of_tables;
    const struct options *options = tables->options;
    const unsigned magnitudes = 1u << COUNTED_MAGNITUDES, signs = 1u << COUNTED_SIGNS;
    tables->shape = shape_read(input);
    tables->counted = header_counted(input) & (magnitudes | signs);
    need_counts(tables, input, magnitudes | signs, "the tables are made of", "magnitudes");
    if (options->keys)
        need_counts(tables, input, magnitudes, "--keys needs", "magnitudes");
    if (options->signs || options->sign_keys)
        need_counts(tables, input, signs, "--signs and --sign-keys need", "signs");
    if (!options->out.sums)
        open_tables(tables);
}

static void finish_tables(void *of_tables, const struct stream_reader *input,
                          const struct token_counts *token_counts)
{
    (void)input;
    (void)token_counts;
    struct tables *tables = of_tables;
    end_layer(tables);
    struct table *const all[] = {tables->keys, tables->signs, tables->sign_keys, tables->layers};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            table_finish(all[i]);
}

/* A record is a key's, without its triggers. */
static unsigned counts_groups(const void *of_key)
{
    const struct key_triggers *key = of_key;
    unsigned groups = 0;
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        groups |= key->counted[kind].bins && kind != COUNTED_COEFFICIENTS ? (unsigned)KEY_COUNTED << kind : 0;
    return groups;
}

static void prepare(const void *of_tables, void *key)
{
    const struct tables *tables = of_tables;
    key_counted_new(key, tables->counted);
}

static void check_record(void *of_tables, const struct record *record, unsigned groups, void *key)
{
    struct tables *tables = of_tables;
    if (groups != tables->counted * KEY_COUNTED)
        stream_fail(record->reader, "a key has not the counts that the header declares");
    key_positions_check(record->reader, &tables->shape, &tables->positions, key);
}

static const struct key_records_kind kind = {
    .stream = "coefficients", .fields = key_fields, .size = sizeof(struct key_triggers),
    .groups = counts_groups, .begin = begin, .prepare = prepare, .check = check_record, .tell = tell_key,
    .end = finish_tables,
};

static void run(struct tables *tables, const char *path)
{
    struct stream_reader *stream = stream_open(path, "triggers");
    stream_need_sentences(stream);
    struct triggers_reader triggers = triggers_open_first(stream);
    const bool sums = triggers.is_part = tables->options->out.sums;
    begin(tables, stream);
    struct key_writer *writer = NULL;
    if (sums) {
        json_t *header = header_new(kind.stream, stream_header(stream));
        header_add_stage(header, "coefficient-stats", json_object());
        writer = key_writer_create(&kind, &tables->options->out, header, tables->counted * KEY_COUNTED, NULL,
                                   NULL);
    }
    struct key_triggers key;
    while (triggers_next(&triggers, &key)) {
        if (sums)
            key_writer_put(writer, &key);
        else
            tell_key(tables, &key);
        key_triggers_free(&key);
        input_count(stream_input(stream), 1, "keys");
    }
    if (sums)
        key_writer_finish(writer, stream_trailer(stream));
    else
        finish_tables(tables, stream, &triggers.token_counts);
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
        OPTIONS_SUMS(&options.out),
        OPTION_OUTPUT(&options.out.output),
        OPTION_GZIP(&options.out.gzip),
        OPTION_END,
    };
    const struct tool tool = {"coefficient-stats",
                              "Tells how large coefficients are, and of which signs gate and input.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    cli_check_sums(&options.out, (size_t)(argc - first));
    if (options.out.sums && (options.keys || options.signs || options.sign_keys))
        die_usage("--sums writes no tables: --keys, --signs and --sign-keys do not go with it");
    struct tables tables = {.options = &options};
    if (options.out.merge)
        key_records_merge(&kind, &options.out, argv + first, (size_t)(argc - first), &tables);
    else
        run(&tables, cli_input(argc, argv, first));
    return STATUS_DONE;
}
