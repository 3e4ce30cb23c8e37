/*
 * shallow-stats: triggers in, measures out of what a key's triggers have in common,
 * per layer and key: the same last tokens and the same n-grams (shallow patterns),
 * the same words anywhere (a sign of a topic). They need no reader, and are this
 * project's own, not the paper's, whose figure 2 comes from annotations.
 *
 * Beside them stand the same measures of random prefixes of the same lengths,
 * where --corpus gives sentences to take these from. Layers count from 1 here, and
 * from 0 in streams.
 *
 * --sums writes the measures of each key, of all keys or a shard of them; --merge makes the tables of those.
 */
#include "analysis/key_sample.h"
#include "analysis/prefixes.h"
#include "analysis/random_prefixes.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "stream/header.h"
#include "stream/key_records.h"
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

/* Measures of overlap. */
enum { OVERLAPS = 2 };

#define NOT_GIVEN UINT64_MAX

struct options {
    struct sums_options out;
    const char *model, *list, *corpus, *keys, *ngrams;
    uint64_t top, sample, seed, skip, least; /* NOT_GIVEN: each has its default, unless shards are merged */
};

/* What is measured of some prefixes, in arrays, as records have it. */
struct measures {
    uint32_t same_last[MAX_NGRAM]; /* how many of them end with the same n + 1 tokens */
    double overlap[OVERLAPS];      /* the second: without each prefix's last token */
};

/* All that tables say of a key, which is its record too. */
struct measured_key {
    size_t layer, cell, triggers; /* fewer than two: nothing was measured */
    struct measures found, random;
    bool has_random;
    uint32_t last[MAX_NGRAM * MAX_NGRAM]; /* for each n the n + 1 tokens that same_last counts, then 0 */
    size_t ngrams, ngram_tokens;  /* the second is MAX_NGRAM */
    uint32_t *ngram_length;       /* ngrams */
    uint32_t *ngram_triggers;     /* ngrams: how many have it */
    uint32_t *ngram;              /* ngrams x ngram_tokens: tokens, then 0 */
};

/* A key's best triggers, before they are measured: prefixes only where there are at least two. */
struct key {
    size_t layer, cell;
    struct prefixes prefixes;
};

/* Of the keys of a layer: a column for each measure. */
enum { MEASURE_COLUMNS = 2 * (OVERLAPS + MAX_NGRAM) };
struct layer {
    size_t layer, keys, capacity;
    double *column[MEASURE_COLUMNS];
};

struct shallow {
    const struct options *options;
    struct tokenizer *tokenizer; /* NULL: no texts are written */
    struct table *layers, *of_keys, *of_ngrams; /* the last two NULL unless asked for */
    struct layer layer;          /* of the keys that were told last */
    struct key *keys;
    size_t key_count, key_capacity;
    bool *skip;                  /* vocabulary: the most frequent tokens */
    struct random_prefixes *corpus; /* NULL: none */
    size_t vocabulary;
    bool has_random;             /* of a merge: the header's word */
};

/* ---- triggers ---- */

/* The best triggers' prefixes, which are the key's from now on. */
static void keep_key(struct shallow *shallow, struct key_triggers *triggers)
{
    size_t count = triggers->count < shallow->options->top ? triggers->count : (size_t)shallow->options->top;
    shallow->keys = reserve_array(shallow->keys, &shallow->key_capacity, shallow->key_count + 1,
                                  sizeof *shallow->keys);
    struct key *key = &shallow->keys[shallow->key_count++];
    *key = (struct key){triggers->layer, triggers->cell, {count, NULL, NULL}};
    if (count < 2)
        return;
    key->prefixes.length = triggers->position;
    key->prefixes.token = triggers->prefix;
    triggers->position = triggers->prefix = NULL;
}

/* Keys with two triggers or more; where sums are written, each key has a record. */
static void read_triggers(struct shallow *shallow, struct triggers_reader *reader)
{
    const bool all = shallow->options->out.sums;
    struct key_sample *sample =
        key_sample_new(reader, (size_t)shallow->options->sample, shallow->options->seed);
    struct key_triggers triggers;
    while (all ? triggers_next(reader, &triggers) : key_sample_next(sample, &triggers)) {
        if (all || triggers.count > 1)
            keep_key(shallow, &triggers);
        key_triggers_free(&triggers);
        input_count(stream_input(reader->stream), 1, "keys");
    }
    key_sample_free(sample);
    if (!all && !shallow->key_count)
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

/* end: of n + 1 tokens, what most of them end with. */
static struct measures measure(const struct prefixes *prefixes, const bool *skip, struct ngram *end)
{
    struct measures measures = {.overlap = {common_tokens(prefixes, skip, 0),
                                            common_tokens(prefixes, skip, 1)}};
    for (size_t n = 0; n < MAX_NGRAM; n++) {
        end[n] = common_end(prefixes, n + 1);
        measures.same_last[n] = (uint32_t)end[n].prefixes;
    }
    return measures;
}

static void copy_tokens(uint32_t *to, const struct ngram *ngram, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = ngram->token[i];
}

static void find_ngrams(const struct shallow *shallow, const struct prefixes *prefixes,
                        struct measured_key *key)
{
    key->ngram_length = new_array(NGRAMS * MAX_NGRAM, sizeof *key->ngram_length);
    key->ngram_triggers = new_array(NGRAMS * MAX_NGRAM, sizeof *key->ngram_triggers);
    key->ngram = new_array(NGRAMS * MAX_NGRAM * MAX_NGRAM, sizeof *key->ngram);
    for (size_t n = 1; n <= MAX_NGRAM; n++) {
        struct ngram found[NGRAMS];
        size_t count =
            common_ngrams(prefixes, n, shallow->skip, (size_t)shallow->options->least, found, NGRAMS);
        for (size_t i = 0; i < count; i++, key->ngrams++) {
            key->ngram_length[key->ngrams] = (uint32_t)n;
            key->ngram_triggers[key->ngrams] = (uint32_t)found[i].prefixes;
            copy_tokens(key->ngram + key->ngrams * MAX_NGRAM, &found[i], n);
        }
    }
}

/* The caller frees its arrays, by its fields. */
static struct measured_key measure_key(const struct shallow *shallow, const struct key *key)
{
    struct measured_key measured = {.layer = key->layer, .cell = key->cell, .ngram_tokens = MAX_NGRAM,
                                    .triggers = key->prefixes.count};
    struct ngram end[MAX_NGRAM];
    if (measured.triggers < 2)
        return measured;
    measured.found = measure(&key->prefixes, shallow->skip, end);
    for (size_t n = 0; n < MAX_NGRAM; n++)
        copy_tokens(measured.last + n * MAX_NGRAM, &end[n], end[n].prefixes ? n + 1 : 0);
    if (shallow->options->ngrams || shallow->options->out.sums)
        find_ngrams(shallow, &key->prefixes, &measured);
    if (shallow->corpus) {
        struct prefixes prefixes =
            random_prefixes_like(shallow->corpus, key->layer, key->cell, &key->prefixes);
        measured.random = measure(&prefixes, shallow->skip, end);
        measured.has_random = true;
        prefixes_free(&prefixes);
    }
    return measured;
}

/* ---- tables ---- */

/* None: an empty text. */
static void put_tokens(struct table *table, const struct tokenizer *tokenizer, const uint32_t *token,
                       size_t n)
{
    table_own_text(table, tokenizer_text(tokenizer, token, n));
}

/* The share of a key's triggers whose prefixes, or random ones of theirs, end alike. */
static double same_last(const struct measured_key *key, const struct measures *measures, size_t n)
{
    return statistics_share(measures->same_last[n], key->triggers);
}

static void write_key(const struct shallow *shallow, const struct measured_key *key)
{
    struct table *table = shallow->of_keys;
    table_layer(table, key->layer);
    table_number(table, key->cell);
    table_number(table, key->triggers);
    for (size_t n = 0; n < MAX_NGRAM; n++) {
        table_real(table, same_last(key, &key->found, n));
        put_tokens(table, shallow->tokenizer, key->last + n * MAX_NGRAM, key->found.same_last[n] ? n + 1 : 0);
    }
    for (size_t i = 0; i < OVERLAPS; i++) {
        table_real(table, key->found.overlap[i]);
        table_real(table, key->has_random ? key->random.overlap[i] : (double)NAN);
    }
}

static void write_ngrams(const struct shallow *shallow, const struct measured_key *key)
{
    struct table *table = shallow->of_ngrams;
    for (size_t i = 0; i < key->ngrams; i++) {
        table_layer(table, key->layer);
        table_number(table, key->cell);
        table_number(table, key->ngram_length[i]);
        table_number(table, key->ngram_triggers[i]);
        put_tokens(table, shallow->tokenizer, key->ngram + i * MAX_NGRAM, key->ngram_length[i]);
    }
}

/* The layers' table has the means of these over the keys, and how they differ. */
#define MEASURES(of)                                                                                     \
    of("same_last_1"), of("same_last_2"), of("same_last_3"), of("overlap"), of("overlap_random"),         \
        of("overlap_before"), of("overlap_before_random"), of("same_last_1_random"),                      \
        of("same_last_2_random"), of("same_last_3_random")
#define ITSELF(name) name

static void add_measures(struct layer *layer, const struct measured_key *key)
{
    const double undefined = (double)NAN;
    double row[MEASURE_COLUMNS], *next = row;
    for (size_t n = 0; n < MAX_NGRAM; n++)
        *next++ = same_last(key, &key->found, n);
    for (size_t i = 0; i < OVERLAPS; i++) {
        *next++ = key->found.overlap[i];
        *next++ = key->has_random ? key->random.overlap[i] : undefined;
    }
    for (size_t n = 0; n < MAX_NGRAM; n++)
        *next++ = key->has_random ? same_last(key, &key->random, n) : undefined;
    if (layer->keys == layer->capacity) {
        layer->capacity = larger_capacity(layer->capacity, layer->keys + 1);
        for (size_t c = 0; c < MEASURE_COLUMNS; c++)
            layer->column[c] = grow_array(layer->column[c], layer->capacity, sizeof *layer->column[c]);
    }
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        layer->column[c][layer->keys] = row[c];
    layer->layer = key->layer;
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

static void open_tables(struct shallow *shallow)
{
    static const char *const layer_columns[] = {"layer", "keys", MEASURES(ITSELF), MEASURES(QUARTILE_COLUMNS),
                                                MEASURES(INTERVAL_COLUMNS), NULL};
    static const char *const key_columns[] = {"layer", "cell", "triggers", "same_last_1", "last_1",
                                              "same_last_2", "last_2", "same_last_3", "last_3", "overlap",
                                              "overlap_random", "overlap_before", "overlap_before_random",
                                              NULL};
    static const char *const ngram_columns[] = {"layer", "cell", "n", "triggers", "ngram", NULL};
    const struct options *options = shallow->options;
    shallow->layers = table_open(options->out.output, layer_columns);
    shallow->of_keys = options->keys ? table_open(options->keys, key_columns) : NULL;
    shallow->of_ngrams = options->ngrams ? table_open(options->ngrams, ngram_columns) : NULL;
}

static void end_layer(struct shallow *shallow)
{
    if (shallow->layer.keys)
        write_layer(shallow->layers, &shallow->layer);
    shallow->layer.keys = 0;
}

static void tell_key(void *tables, const void *of_key)
{
    struct shallow *shallow = tables;
    const struct measured_key *key = of_key;
    if (key->triggers < 2)
        return;
    if (shallow->layer.layer != key->layer)
        end_layer(shallow);
    add_measures(&shallow->layer, key);
    if (shallow->of_keys)
        write_key(shallow, key);
    if (shallow->of_ngrams)
        write_ngrams(shallow, key);
}

static void finish_tables(void *tables, const struct stream_reader *input,
                          const struct token_counts *token_counts)
{
    (void)token_counts;
    struct shallow *shallow = tables;
    if (!shallow->layer.keys)
        die("%s: no key in it has two triggers", input_name(stream_input(input)));
    end_layer(shallow);
    if (shallow->of_keys)
        table_finish(shallow->of_keys);
    if (shallow->of_ngrams)
        table_finish(shallow->of_ngrams);
    table_finish(shallow->layers);
}

/* ---- records of keys, for --sums and --merge ---- */

enum { MEASURED = 1, RANDOM = 2 };

static const struct field key_record_fields[] = {
    FIELD_INTEGER(struct measured_key, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct measured_key, cell, "cell", FIELD_NUMBER),
    FIELD_INTEGER(struct measured_key, triggers, "triggers", FIELD_NUMBER),
    FIELD_WITHIN_IN(struct measured_key, found.same_last, "same_last", MEASURED),
    FIELD_WITHIN_IN(struct measured_key, last, "last", MEASURED),
    FIELD_WITHIN_IN(struct measured_key, found.overlap, "overlap", MEASURED),
    FIELD_WITHIN_IN(struct measured_key, random.same_last, "same_last_random", RANDOM),
    FIELD_WITHIN_IN(struct measured_key, random.overlap, "overlap_random", RANDOM),
    FIELD_ARRAY(struct measured_key, ngram_length, "ngram_length", "ngrams", ngrams, MEASURED),
    FIELD_ARRAY(struct measured_key, ngram_triggers, "ngram_triggers", "ngrams", ngrams, MEASURED),
    FIELD_MATRIX(struct measured_key, ngram, "ngram", "ngrams", ngrams, ngram_tokens, MEASURED),
    FIELD_END,
};

static unsigned record_groups(const void *of_key)
{
    const struct measured_key *key = of_key;
    return (key->triggers > 1 ? MEASURED : 0) | (key->has_random ? RANDOM : 0);
}

/* The header of triggers, or of records of keys. */
static void begin(void *tables, const struct stream_reader *input)
{
    struct shallow *shallow = tables;
    const struct options *options = shallow->options;
    shallow->vocabulary = shape_read(input).vocabulary;
    shallow->has_random = json_object_get(json_object_get(stream_header(input), "arrays"), "overlap_random");
    shallow->tokenizer = options->model ? tokenizer_open(options->model, input) : NULL;
}

static void begin_merge(void *tables, const struct stream_reader *input)
{
    struct shallow *shallow = tables;
    begin(tables, input);
    if (!shallow->options->out.sums)
        open_tables(shallow);
}

static void prepare_record(const void *tables, void *key)
{
    (void)tables;
    ((struct measured_key *)key)->ngram_tokens = MAX_NGRAM;
}

static bool are_right(const struct measures *measures, size_t triggers)
{
    bool right = true;
    for (size_t n = 0; n < MAX_NGRAM; n++)
        right = right && measures->same_last[n] <= triggers;
    for (size_t i = 0; i < OVERLAPS; i++)
        right = right && measures->overlap[i] >= 0 && measures->overlap[i] <= 1;
    return right;
}

static void check_record(void *tables, const struct record *record, unsigned groups, void *of_key)
{
    const struct shallow *shallow = tables;
    struct measured_key *key = of_key;
    key->has_random = groups & RANDOM;
    bool right = key->triggers <= MAX_TRIGGERS && groups == record_groups(key)
              && key->has_random == (shallow->has_random && key->triggers > 1)
              && are_right(&key->found, key->triggers) && are_right(&key->random, key->triggers);
    for (size_t i = 0; i < MAX_NGRAM * MAX_NGRAM; i++)
        right = right && key->last[i] < shallow->vocabulary;
    for (size_t i = 0; i < key->ngrams; i++)
        right = right && key->ngram_length[i] >= 1 && key->ngram_length[i] <= MAX_NGRAM;
    for (size_t i = 0; i < key->ngrams * MAX_NGRAM; i++)
        right = right && key->ngram[i] < shallow->vocabulary;
    if (!right)
        stream_fail(record->reader, "what it says of layer %zu cell %zu is out of range",
                    layer_shown(key->layer), key->cell);
}

static const struct key_records_kind kind = {
    .stream = "shallow", .fields = key_record_fields, .size = sizeof(struct measured_key),
    .groups = record_groups, .begin = begin_merge, .prepare = prepare_record, .check = check_record,
    .tell = tell_key, .end = finish_tables,
};

/* What shapes the measures. */
static json_t *shaping_options(const struct shallow *shallow, const struct triggers_reader *triggers)
{
    const struct options *options = shallow->options;
    json_t *shaping = json_make("{s:I, s:I, s:I}", "top", (json_int_t)options->top, "skip_frequent",
                                (json_int_t)options->skip, "least", (json_int_t)options->least);
    options_set_list(shaping, triggers);
    if (shallow->corpus) {
        char *hash = random_prefixes_hash(shallow->corpus);
        json_put(shaping, "corpus", json_string(hash));
        json_put(shaping, "seed", json_integer((json_int_t)options->seed));
        free(hash);
    }
    return shaping;
}

static struct key_writer *create_sums(const struct shallow *shallow, const struct triggers_reader *triggers)
{
    const struct measured_key columns = {.ngram_tokens = MAX_NGRAM};
    json_t *header = header_new(kind.stream, stream_header(triggers->stream));
    header_add_stage(header, "shallow-stats", shaping_options(shallow, triggers));
    return key_writer_create(&kind, &shallow->options->out, header,
                             MEASURED | (shallow->corpus ? RANDOM : 0), &columns, NULL);
}

/* ---- runs ---- */

/* Of the keys that were read, to tables or sums. */
static void measure_keys(struct shallow *shallow, const struct triggers_reader *triggers)
{
    const bool sums = shallow->options->out.sums;
    struct key_writer *writer = sums ? create_sums(shallow, triggers) : NULL;
    if (!sums)
        open_tables(shallow);
    for (size_t k = 0; k < shallow->key_count; k++) {
        struct measured_key key = measure_key(shallow, &shallow->keys[k]);
        if (sums)
            key_writer_put(writer, &key);
        else
            tell_key(shallow, &key);
        fields_free(key_record_fields, &key);
    }
    if (sums)
        key_writer_finish(writer, stream_trailer(triggers->stream));
    else
        finish_tables(shallow, triggers->stream, &triggers->token_counts);
}

static void run(struct shallow *shallow, const char *path)
{
    const struct options *options = shallow->options;
    struct stream_reader *reader = stream_open(path, "triggers");
    stream_need_sentences(reader);
    struct triggers_reader triggers = triggers_open_list(reader, options->list);
    triggers.is_part = options->out.sums;
    begin(shallow, reader);
    read_triggers(shallow, &triggers);
    choose_skipped(shallow, &triggers);
    if (options->corpus)
        shallow->corpus = random_prefixes_read(strcmp(options->corpus, "-") ? options->corpus : NULL, reader,
                                               triggers.shape.vocabulary, options->seed);
    measure_keys(shallow, &triggers);
    triggers_close(&triggers);
    stream_close(reader);
}

static void shallow_free(struct shallow *shallow)
{
    for (size_t i = 0; i < shallow->key_count; i++)
        prefixes_free(&shallow->keys[i].prefixes);
    for (size_t c = 0; c < MEASURE_COLUMNS; c++)
        free(shallow->layer.column[c]);
    if (shallow->corpus)
        random_prefixes_free(shallow->corpus);
    free(shallow->keys);
    free(shallow->skip);
    if (shallow->tokenizer)
        tokenizer_free(shallow->tokenizer);
}

/* Checks them, and gives those that were not given their defaults. */
static void settle_options(struct options *options, size_t operands)
{
    static const struct options defaults = {.top = 25, .sample = 0, .seed = 1, .skip = 100, .least = 3};
    const uint64_t *const default_of[] = {&defaults.top, &defaults.sample, &defaults.seed, &defaults.skip,
                                          &defaults.least};
    uint64_t *const numbers[] = {&options->top, &options->sample, &options->seed, &options->skip,
                                 &options->least};
    bool given = options->list || options->corpus;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        given = given || *numbers[i] != NOT_GIVEN;
        if (*numbers[i] == NOT_GIVEN)
            *numbers[i] = *default_of[i];
    }
    cli_check_sums(&options->out, operands);
    if (options->out.merge && given)
        die_usage("--merge keeps what its inputs were made with: --list, --top, --sample, --corpus, "
                  "--skip-frequent, --least and --seed do not go with it");
    if (options->out.sums && (options->keys || options->ngrams))
        die_usage("--sums writes no tables: --keys and --ngrams do not go with it");
    if (options->out.sums && options->sample)
        die_usage("--sums is of all keys: a sample of them is drawn before they are divided, by topk-keys "
                  "--sample");
    if ((options->keys || options->ngrams) && !options->model)
        die_usage("--keys and --ngrams need --model DIR for the words");
}

int main(int argc, char **argv)
{
    struct options options = {.top = NOT_GIVEN, .sample = NOT_GIVEN, .seed = NOT_GIVEN, .skip = NOT_GIVEN,
                              .least = NOT_GIVEN};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        OPTION_LIST(&options.list),
        {'t', "top", "N", "only the N best triggers of each key (default 25)", OPTION_NUMBER, &options.top, 2,
         MAX_TRIGGERS, NULL},
        {0, "sample", "N", "only N random keys of each layer, of those with triggers (default 0: all)",
         OPTION_NUMBER, &options.sample, 0, MAX_STREAM_SIZE, NULL},
        {0, "corpus", "FILE",
         "a tokens stream, or - for standard input, for the same measures of random prefixes", OPTION_IN,
         &options.corpus, 0, 0, NULL},
        {0, "skip-frequent", "N", "of overlap and n-grams: without the N most frequent tokens (default 100)",
         OPTION_NUMBER, &options.skip, 0, MAX_VOCABULARY, NULL},
        {0, "keys", "FILE", "write each key's measures to FILE; needs --model", OPTION_OUT_TOO, &options.keys,
         0, 0, NULL},
        {0, "ngrams", "FILE", "write the n-grams that a key's triggers share to FILE; needs --model",
         OPTION_OUT_TOO, &options.ngrams, 0, 0, NULL},
        {0, "least", "N", "of --ngrams: those of N triggers or more (default 3)", OPTION_NUMBER,
         &options.least, 1, MAX_TRIGGERS, NULL},
        OPTION_SEED(&options.seed),
        OPTIONS_SUMS(&options.out),
        OPTION_OUTPUT(&options.out.output),
        OPTION_GZIP(&options.out.gzip),
        OPTION_END,
    };
    const struct tool tool = {"shallow-stats", "Tells what the triggers of keys have in common.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    settle_options(&options, (size_t)(argc - first));
    struct shallow shallow = {.options = &options};
    if (options.out.merge) {
        key_records_merge(&kind, &options.out, argv + first, (size_t)(argc - first), &shallow);
    } else {
        const char *input = cli_input(argc, argv, first);
        if (!input && options.corpus && !strcmp(options.corpus, "-"))
            die_usage("--corpus - and no FILE: standard input cannot be both");
        run(&shallow, input);
    }
    shallow_free(&shallow);
    return STATUS_DONE;
}
