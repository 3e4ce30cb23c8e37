/*
 * shallow-stats: triggers in, measures out of what a key's triggers have in common,
 * per layer and key: the same last tokens and the same n-grams (shallow patterns),
 * the same words anywhere (a sign of a topic). They need no reader, and are this
 * project's own, not the paper's, whose figure 2 comes from annotations.
 *
 * Beside them stand the same measures of random prefixes of the same lengths,
 * where --corpus gives sentences to take these from. Layers count from 1 here, and
 * from 0 in streams.
 */
#include "analysis/key_sample.h"
#include "analysis/prefixes.h"
#include "analysis/random_prefixes.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "table/table.h"
#include "text/stop_words.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* N-grams of each length that --ngrams lists of a key. */
enum { NGRAMS = 5 };

struct options {
    const char *model, *list, *corpus, *output, *keys, *ngrams;
    uint64_t top, sample, seed, skip, least;
};

/* Of one key; not defined (NaN): of random prefixes without a corpus. */
struct measures {
    struct ngram end[MAX_NGRAM];     /* of n + 1 tokens */
    double same_last[MAX_NGRAM];     /* share of the prefixes that end with it */
    double overlap, overlap_before;   /* before: without each prefix's last token */
};

struct key {
    size_t layer, cell;
    struct prefixes prefixes; /* of its best triggers: at least two */
};

struct shallow {
    const struct options *options;
    struct key *keys;
    size_t key_count, key_capacity;
    bool *skip;                  /* vocabulary: the most frequent tokens */
    struct random_prefixes *corpus; /* NULL: none */
};

/* ---- triggers ---- */

/* The best triggers' prefixes, which are the key's from now on. */
static void keep_key(struct shallow *shallow, struct key_triggers *triggers)
{
    size_t count = triggers->count < shallow->options->top ? triggers->count : (size_t)shallow->options->top;
    shallow->keys = reserve_array(shallow->keys, &shallow->key_capacity, shallow->key_count + 1,
                                  sizeof *shallow->keys);
    struct key *key = &shallow->keys[shallow->key_count++];
    *key = (struct key){triggers->layer, triggers->cell, {count, triggers->position, triggers->prefix}};
    triggers->position = triggers->prefix = NULL;
}

static void read_triggers(struct shallow *shallow, struct triggers_reader *reader)
{
    struct key_sample *sample =
        key_sample_new(reader, (size_t)shallow->options->sample, shallow->options->seed);
    struct key_triggers triggers;
    while (key_sample_next(sample, &triggers)) {
        if (triggers.count > 1)
            keep_key(shallow, &triggers);
        key_triggers_free(&triggers);
        input_count(stream_input(reader->stream), 1, "keys");
    }
    key_sample_free(sample);
    if (!shallow->key_count)
        die("%s: no key in it has two triggers", input_name(stream_input(reader->stream)));
}

static void choose_skipped(struct shallow *shallow, const struct triggers_reader *reader)
{
    size_t vocabulary = reader->shape.vocabulary;
    if (shallow->options->skip && !reader->token_counts.count)
        stream_fail(reader->stream,
                    "it does not tell how often tokens occur: only --skip-frequent 0 is possible");
    shallow->skip = shallow->options->skip
        ? frequent_tokens(reader->token_counts.count, vocabulary, (size_t)shallow->options->skip)
        : new_array(vocabulary, sizeof *shallow->skip);
}

/* ---- measures ---- */

static struct measures measure(const struct prefixes *prefixes, const bool *skip)
{
    struct measures measures = {.overlap = common_tokens(prefixes, skip, 0),
                                .overlap_before = common_tokens(prefixes, skip, 1)};
    for (size_t n = 0; n < MAX_NGRAM; n++) {
        measures.end[n] = common_end(prefixes, n + 1);
        measures.same_last[n] = statistics_share(measures.end[n].prefixes, prefixes->count);
    }
    return measures;
}

static struct measures measure_random(const struct shallow *shallow, const struct key *key)
{
    if (!shallow->corpus)
        return (struct measures){.same_last = {(double)NAN, (double)NAN, (double)NAN}, .overlap = (double)NAN,
                                 .overlap_before = (double)NAN};
    struct prefixes prefixes = random_prefixes_like(shallow->corpus, key->layer, key->cell, &key->prefixes);
    struct measures measures = measure(&prefixes, shallow->skip);
    prefixes_free(&prefixes);
    return measures;
}

/* ---- tables ---- */

static void put_ngram(struct table *table, const struct tokenizer *tokenizer, const struct ngram *ngram,
                      size_t n)
{
    char *text = tokenizer_text(tokenizer, ngram->token, ngram->prefixes ? n : 0);
    table_text(table, text);
    free(text);
}

static void write_key(struct table *table, const struct tokenizer *tokenizer, const struct key *key,
                      const struct measures *found, const struct measures *random)
{
    table_layer(table, key->layer);
    table_number(table, key->cell);
    table_number(table, key->prefixes.count);
    for (size_t n = 0; n < MAX_NGRAM; n++) {
        table_real(table, found->same_last[n]);
        put_ngram(table, tokenizer, &found->end[n], n + 1);
    }
    table_real(table, found->overlap);
    table_real(table, random->overlap);
    table_real(table, found->overlap_before);
    table_real(table, random->overlap_before);
}

static void write_ngrams(struct table *table, const struct shallow *shallow,
                         const struct tokenizer *tokenizer, const struct key *key)
{
    for (size_t n = 1; n <= MAX_NGRAM; n++) {
        struct ngram found[NGRAMS];
        size_t count =
            common_ngrams(&key->prefixes, n, shallow->skip, (size_t)shallow->options->least, found, NGRAMS);
        for (size_t i = 0; i < count; i++) {
            table_layer(table, key->layer);
            table_number(table, key->cell);
            table_number(table, n);
            table_number(table, found[i].prefixes);
            put_ngram(table, tokenizer, &found[i], n);
        }
    }
}

/* The layers' table has the means of these over the keys, and how they differ. */
#define MEASURES(of)                                                                                     \
    of("same_last_1"), of("same_last_2"), of("same_last_3"), of("overlap"), of("overlap_random"),         \
        of("overlap_before"), of("overlap_before_random"), of("same_last_1_random"),                      \
        of("same_last_2_random"), of("same_last_3_random")
#define ITSELF(name) name
enum { MEASURE_COLUMNS = 4 + 2 * MAX_NGRAM };

/* A column for each measure of the keys of a layer. */
struct layer {
    size_t layer, keys;
    double *column[MEASURE_COLUMNS];
};

static void add_measures(struct layer *layer, const struct measures *found, const struct measures *random)
{
    double *const *column = layer->column;
    for (size_t n = 0; n < MAX_NGRAM; n++)
        (*column++)[layer->keys] = found->same_last[n];
    (*column++)[layer->keys] = found->overlap;
    (*column++)[layer->keys] = random->overlap;
    (*column++)[layer->keys] = found->overlap_before;
    (*column++)[layer->keys] = random->overlap_before;
    for (size_t n = 0; n < MAX_NGRAM; n++)
        (*column++)[layer->keys] = random->same_last[n];
    layer->keys++;
}

/* Of the mean over keys: a key's triggers are alike, keys are independent observations. */
static struct interval mean_interval(const double *numbers, size_t count)
{
    struct clusters keys = {0};
    for (size_t i = 0; i < count; i++)
        clusters_add(&keys, numbers[i], 1);
    return clusters_interval(&keys, (double)INFINITY);
}

static void write_layer(struct table *table, struct layer *layer)
{
    size_t count[MEASURE_COLUMNS]; /* 0: not defined */
    table_layer(table, layer->layer);
    table_number(table, layer->keys);
    for (size_t c = 0; c < MEASURE_COLUMNS; c++) {
        count[c] = isnan(layer->column[c][0]) ? 0 : layer->keys;
        if (count[c])
            sort_numbers(layer->column[c], count[c]);
        table_real(table, statistics_mean(layer->column[c], count[c]));
    }
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        table_quartiles(table, layer->column[c], count[c]);
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        table_interval(table, mean_interval(layer->column[c], count[c]));
}

static void write_tables(const struct shallow *shallow, const struct tokenizer *tokenizer)
{
    static const char *const layer_columns[] = {"layer", "keys", MEASURES(ITSELF), MEASURES(QUARTILE_COLUMNS),
                                                MEASURES(INTERVAL_COLUMNS), NULL};
    static const char *const key_columns[] = {"layer",
                                              "cell",
                                              "triggers",
                                              "same_last_1",
                                              "last_1",
                                              "same_last_2",
                                              "last_2",
                                              "same_last_3",
                                              "last_3",
                                              "overlap",
                                              "overlap_random",
                                              "overlap_before",
                                              "overlap_before_random",
                                              NULL};
    static const char *const ngram_columns[] = {"layer", "cell", "n", "triggers", "ngram", NULL};
    const struct options *options = shallow->options;
    struct table *layers = table_open(options->output, layer_columns);
    struct table *keys = options->keys ? table_open(options->keys, key_columns) : NULL;
    struct table *ngrams = options->ngrams ? table_open(options->ngrams, ngram_columns) : NULL;
    struct layer layer = {0};
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        layer.column[c] = new_array(shallow->key_count, sizeof *layer.column[c]);
    for (size_t k = 0; k < shallow->key_count; k++) {
        const struct key *key = &shallow->keys[k];
        struct measures found = measure(&key->prefixes, shallow->skip), random = measure_random(shallow, key);
        add_measures(&layer, &found, &random);
        if (keys)
            write_key(keys, tokenizer, key, &found, &random);
        if (ngrams)
            write_ngrams(ngrams, shallow, tokenizer, key);
        if (k + 1 < shallow->key_count && shallow->keys[k + 1].layer == key->layer)
            continue;
        layer.layer = key->layer;
        write_layer(layers, &layer);
        layer.keys = 0;
    }
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        free(layer.column[c]);
    if (keys)
        table_finish(keys);
    if (ngrams)
        table_finish(ngrams);
    table_finish(layers);
}

static void run(const struct options *options, const char *path)
{
    struct stream_reader *reader = stream_open(path, "triggers");
    stream_need_sentences(reader);
    struct triggers_reader triggers = triggers_open_list(reader, options->list);
    struct tokenizer *tokenizer = options->model ? tokenizer_open(options->model, reader) : NULL;
    struct shallow shallow = {.options = options};
    read_triggers(&shallow, &triggers);
    choose_skipped(&shallow, &triggers);
    if (options->corpus)
        shallow.corpus = random_prefixes_read(strcmp(options->corpus, "-") ? options->corpus : NULL, reader,
                                              triggers.shape.vocabulary, options->seed);
    write_tables(&shallow, tokenizer);

    for (size_t i = 0; i < shallow.key_count; i++)
        prefixes_free(&shallow.keys[i].prefixes);
    if (shallow.corpus)
        random_prefixes_free(shallow.corpus);
    free(shallow.keys);
    free(shallow.skip);
    if (tokenizer)
        tokenizer_free(tokenizer);
    triggers_close(&triggers);
    stream_close(reader);
}

int main(int argc, char **argv)
{
    struct options options = {.top = 25, .seed = 1, .skip = 100, .least = 3};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        OPTION_LIST(&options.list),
        {'t', "top", "N", "only the N best triggers of each key (default 25)", OPTION_NUMBER, &options.top, 2,
         MAX_TRIGGERS, NULL},
        {0, "sample", "N", "only N random keys of each layer, of those with triggers (default 0: all)",
         OPTION_NUMBER, &options.sample, 0, 0, NULL},
        {0, "corpus", "FILE",
         "a tokens stream, or - for standard input, for the same measures of random prefixes", OPTION_IN,
         &options.corpus, 0, 0, NULL},
        {0, "skip-frequent", "N", "of overlap and n-grams: without the N most frequent tokens (default 100)",
         OPTION_NUMBER, &options.skip, 0, 0, NULL},
        {0, "keys", "FILE", "write each key's measures to FILE; needs --model", OPTION_OUT_TOO, &options.keys,
         0, 0, NULL},
        {0, "ngrams", "FILE", "write the n-grams that a key's triggers share to FILE; needs --model",
         OPTION_OUT_TOO, &options.ngrams, 0, 0, NULL},
        {0, "least", "N", "of --ngrams: those of N triggers or more (default 3)", OPTION_NUMBER,
         &options.least, 1, 0, NULL},
        OPTION_SEED(&options.seed),
        {'o', "output", "FILE", "write the layers' table to FILE instead of standard output", OPTION_OUT,
         &options.output, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"shallow-stats", "Tells what the triggers of keys have in common.", "[FILE]",
                              specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if ((options.keys || options.ngrams) && !options.model)
        die_usage("--keys and --ngrams need --model DIR for the words");

    const char *input = cli_input(argc, argv, first);
    if (!input && options.corpus && !strcmp(options.corpus, "-"))
        die_usage("--corpus - and no FILE: standard input cannot be both");
    run(&options, input);
    return STATUS_DONE;
}
