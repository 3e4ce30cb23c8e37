/*
 * pattern-stats: annotations of keys in, CSV files of the pages that annotation-sheet
 * makes; per layer the shares of triggers with shallow and semantic patterns out (paper,
 * section 3.2, figure 2), and how far readers agree.
 *
 * A trigger is of one of four classes: patterns of neither kind, of one, of both. Where
 * several readers read the same key, its numbers are the means of theirs.
 */
#include "analysis/annotation.h"
#include "base/cli.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A hostile table could name millions, and every pair has a row. */

enum { PAPER_KEYS = 10 }; /* of each layer, that people read (paper, section 3.2) */

struct options {
    const char *output, *kappa, *triggers, *list;
    bool value_hidden;
};

static bool is_same_key(const struct reading *a, const struct reading *b)
{
    return a->layer == b->layer && a->cell == b->cell;
}

/* How many readings, from the first one on, are of the same key. */
static size_t readings_of_key(const struct annotations *annotations, size_t first)
{
    size_t end = first + 1;
    while (end < annotations->count && is_same_key(&annotations->reading[first], &annotations->reading[end]))
        end++;
    return end - first;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different readers' names in order; the caller frees the array. */
static const char **list_readers(const struct reading *reading, size_t readings, size_t *count)
{
    const char **names = new_array(readings, sizeof *names);
    for (size_t i = 0; i < readings; i++)
        names[i] = reading[i].reader;
    qsort(names, readings, sizeof *names, by_text);
    *count = 0;
    for (size_t i = 0; i < readings; i++)
        if (!*count || strcmp(names[*count - 1], names[i]))
            names[(*count)++] = names[i];
    return names;
}

/* ---- the keys' triggers ---- */

/* Ends the program unless the stream has every key, with the triggers that its readers were shown. */
static void check_triggers(const struct annotations *annotations, const char *path, const char *list)
{
    struct stream_reader *stream = stream_open(path, "triggers");
    struct triggers_reader triggers = triggers_open_list(stream, list);
    struct key_triggers key;
    const char *model = header_text(stream, "model", "id");
    const struct reading *reading = annotations->reading, *end = reading + annotations->count;
    if (strcmp(reading->model, model))
        place_fail(reading->place, "model %s, but the triggers of %s are of model %s", reading->model, path,
                   model);
    while (triggers_next(&triggers, &key)) {
        for (; reading < end && reading->layer == key.layer && reading->cell == key.cell; reading++)
            if (reading->triggers > key.count)
                place_fail(reading->place, "%zu triggers of layer %zu, cell %zu, but %s has only %zu",
                           reading->triggers, layer_shown(key.layer), key.cell, path, key.count);
        key_triggers_free(&key);
    }
    if (reading < end)
        place_fail(reading->place, "layer %zu, cell %zu is not in %s", layer_shown(reading->layer),
                   reading->cell, path);
    triggers_close(&triggers);
    stream_close(stream);
}

/* ---- figure 2 ---- */

struct layer_sums {
    size_t keys, readings, triggers, readers;
    bool of_kind[READER_PROGRAM + 1]; /* whether a reader is of this kind */
    struct clusters of_class[TRIGGER_CLASSES], covered; /* triggers by key; means of its readers */
    double patterns;
    double *patterns_of_key;         /* keys */
    size_t capacity;                 /* of it */
};

static void add_key(struct layer_sums *sums, const struct reading *reading, size_t readers)
{
    size_t classes[TRIGGER_CLASSES] = {0}, patterns = 0;
    for (size_t r = 0; r < readers; r++) {
        sums->of_kind[reading[r].reader_kind] = true;
        patterns += reading[r].patterns;
        for (size_t i = 0; i < reading[r].triggers; i++)
            classes[reading[r].trigger_class[i]]++;
    }
    double triggers = (double)reading->triggers;
    for (size_t c = 0; c < TRIGGER_CLASSES; c++)
        clusters_add(&sums->of_class[c], (double)classes[c] / (double)readers, triggers);
    clusters_add(&sums->covered, triggers - (double)classes[CLASS_NONE] / (double)readers, triggers);
    sums->patterns += (double)patterns / (double)readers;
    sums->patterns_of_key = reserve_array(sums->patterns_of_key, &sums->capacity, sums->keys + 1,
                                          sizeof *sums->patterns_of_key);
    sums->patterns_of_key[sums->keys] = (double)patterns / (double)readers;
    sums->triggers += reading->triggers;
    sums->readings += readers;
    sums->keys++;
}

static const char *kind_of_readers(const bool *of_kind)
{
    if (of_kind[READER_UNKNOWN] + of_kind[READER_PERSON] + of_kind[READER_PROGRAM] > 1)
        return "mixed";
    if (of_kind[READER_UNKNOWN])
        return "unknown";
    return reader_kind_words[of_kind[READER_PERSON] ? READER_PERSON : READER_PROGRAM];
}

/* Whether the layer was read as the paper's layers were: by people, ten keys of it. */
static bool is_comparable(const struct layer_sums *sums)
{
    return sums->of_kind[READER_PERSON] && !sums->of_kind[READER_PROGRAM] && !sums->of_kind[READER_UNKNOWN]
        && sums->keys >= PAPER_KEYS;
}

static void write_layer(struct table *table, size_t layer, struct layer_sums *sums)
{
    static const enum trigger_class order[] = {CLASS_SHALLOW, CLASS_SEMANTIC, CLASS_BOTH, CLASS_NONE};
    double triggers = (double)sums->triggers;
    table_layer(table, layer);
    table_number(table, sums->keys);
    table_number(table, sums->triggers);
    for (size_t i = 0; i < TRIGGER_CLASSES; i++)
        table_real(table, clusters_share(&sums->of_class[order[i]]));
    table_real(table, sums->patterns / (double)sums->keys);
    table_real(table, clusters_share(&sums->covered));
    table_number(table, sums->readings);
    table_number(table, sums->readers);
    table_text(table, kind_of_readers(sums->of_kind));
    table_number(table, is_comparable(sums));
    sort_numbers(sums->patterns_of_key, sums->keys);
    table_quartiles(table, sums->patterns_of_key, sums->keys);
    for (size_t i = 0; i < TRIGGER_CLASSES; i++)
        table_interval(table, clusters_interval(&sums->of_class[order[i]], triggers));
    table_interval(table, clusters_interval(&sums->covered, triggers));
    free(sums->patterns_of_key);
}

static void write_patterns(const struct annotations *annotations, const char *path)
{
    static const char *const columns[] = {"layer", "keys", "triggers", "shallow", "semantic", "both", "none",
                                          "patterns_per_key", "covered", "readings", "readers",
                                          "reader_kind", "comparable", "p25", "p50", "p75",
                                          INTERVAL_COLUMNS("shallow"), INTERVAL_COLUMNS("semantic"),
                                          INTERVAL_COLUMNS("both"), INTERVAL_COLUMNS("none"),
                                          INTERVAL_COLUMNS("covered"), NULL};
    struct table *table = table_open(path, columns);
    for (size_t first = 0; first < annotations->count;) {
        size_t layer = annotations->reading[first].layer;
        struct layer_sums sums = {0};
        size_t begin = first;
        while (first < annotations->count && annotations->reading[first].layer == layer) {
            size_t readers = readings_of_key(annotations, first);
            add_key(&sums, &annotations->reading[first], readers);
            first += readers;
        }
        free(list_readers(&annotations->reading[begin], first - begin, &sums.readers));
        write_layer(table, layer, &sums);
    }
    table_finish(table);
}

/* ---- agreement ---- */

/* Two readers on the keys that both read. */
struct pair {
    size_t keys, triggers;
    size_t both[TRIGGER_CLASSES][TRIGGER_CLASSES]; /* triggers, by the first's class, then the second's */
    struct clusters agreed; /* by key */
};

static size_t reader_index(const char *const *names, size_t count, const char *name)
{
    const char *const *found = bsearch(&name, names, count, sizeof *names, by_text);
    return (size_t)(found - names);
}

static void add_pair(struct pair *pair, const struct reading *a, const struct reading *b)
{
    pair->keys++;
    pair->triggers += a->triggers;
    size_t agreed = 0;
    for (size_t i = 0; i < a->triggers; i++) {
        pair->both[a->trigger_class[i]][b->trigger_class[i]]++;
        agreed += a->trigger_class[i] == b->trigger_class[i];
    }
    clusters_add(&pair->agreed, (double)agreed, (double)a->triggers);
}

/* Cohen's kappa: how far agreement exceeds what the classes' frequencies alone would give. */
static double kappa(double observed, double expected)
{
    return expected < 1 ? (observed - expected) / (1 - expected) : (double)NAN;
}

/* Over the four classes. Kappa's interval is that of observed, as if expected was known (Cohen, 1960). */
static void write_pair(struct table *table, const char *a, const char *b, const struct pair *pair)
{
    double observed = clusters_share(&pair->agreed), expected = 0;
    for (size_t c = 0; c < TRIGGER_CLASSES; c++) {
        size_t of_a = 0, of_b = 0;
        for (size_t other = 0; other < TRIGGER_CLASSES; other++) {
            of_a += pair->both[c][other];
            of_b += pair->both[other][c];
        }
        expected += statistics_share(of_a, pair->triggers) * statistics_share(of_b, pair->triggers);
    }
    struct interval interval = clusters_interval(&pair->agreed, (double)pair->triggers);
    table_text(table, a);
    table_text(table, b);
    table_number(table, pair->keys);
    table_number(table, pair->triggers);
    table_real(table, observed);
    table_real(table, expected);
    table_real(table, kappa(observed, expected));
    table_interval(table, interval);
    table_interval(table, (struct interval){kappa(interval.low, expected), kappa(interval.high, expected)});
}

static void write_kappa(const struct annotations *annotations, const char *path)
{
    static const char *const columns[] = {"reader_a", "reader_b", "keys",  "triggers",
                                          "observed", "expected", "kappa", INTERVAL_COLUMNS("observed"),
                                          INTERVAL_COLUMNS("kappa"), NULL};
    size_t count, readers;
    const char **names = list_readers(annotations->reading, annotations->count, &count);
    if (count > MAX_READERS)
        die("--kappa compares at most %d readers, here are %zu", MAX_READERS, count);
    struct pair *pairs = new_array(matrix_count(count, count), sizeof *pairs);
    for (size_t first = 0; first < annotations->count; first += readers) {
        const struct reading *reading = &annotations->reading[first];
        readers = readings_of_key(annotations, first);
        for (size_t a = 0; a < readers; a++)
            for (size_t b = a + 1; b < readers; b++)
                add_pair(&pairs[reader_index(names, count, reading[a].reader) * count
                                + reader_index(names, count, reading[b].reader)], &reading[a], &reading[b]);
    }
    struct table *table = table_open(path, columns);
    for (size_t i = 0; i < count * count; i++)
        if (pairs[i].keys)
            write_pair(table, names[i / count], names[i % count], &pairs[i]);
    table_finish(table);
    free(pairs);
    free(names);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {'o', "output", "FILE", "write patterns.csv's table to FILE instead of standard output", OPTION_OUT,
         &options.output, 0, 0, NULL},
        {0, "kappa", "FILE", "write to FILE how far readers of the same keys agree", OPTION_OUT_TOO,
         &options.kappa, 0, 0, NULL},
        {0, "triggers", "FILE", "check that the keys and their triggers are those of this triggers stream",
         OPTION_IN, &options.triggers, 0, 0, NULL},
        OPTION_LIST(&options.list),
        {0, "value-hidden", NULL, "leave out keys whose reader was shown the value's words before",
         OPTION_FLAG, &options.value_hidden, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"pattern-stats",
                              "Tells which share of triggers shows the patterns that readers found.",
                              "[FILE...]", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    if (options.list && !options.triggers)
        die_usage("--list goes with --triggers: it is one of that stream's lists");
    size_t count = first < argc ? (size_t)(argc - first) : 1;
    const char **paths = new_array(count, sizeof *paths); /* NULL, for standard input */
    for (size_t i = 0; first < argc && i < count; i++)
        paths[i] = strcmp(argv[first + (int)i], "-") ? argv[first + (int)i] : NULL;

    struct annotations annotations = annotations_read(paths, count);
    if (options.triggers)
        check_triggers(&annotations, options.triggers, options.list);
    if (options.value_hidden)
        annotations_keep_hidden(&annotations);
    if (!annotations.count)
        die("%s: no key was read with the value's words hidden", annotations.table[0].name);
    if (options.kappa)
        write_kappa(&annotations, options.kappa);
    write_patterns(&annotations, options.output);
    annotations_free(&annotations);
    free(paths);
    return STATUS_DONE;
}
