/*
 * shallow-stats: triggers in, measures out of what a key's triggers have in common,
 * per layer and key: the same last tokens and the same n-grams (shallow patterns),
 * the same words anywhere (a sign of a topic). They need no reader, and are this
 * project's own, not the paper's, whose figure 2 comes of annotations.
 *
 * Beside them stand the same measures of random prefixes of the same lengths,
 * where --corpus gives sentences to take these from. Layers count from 1 here, and
 * from 0 in streams.
 */
#include "cli.h"
#include "hash.h"
#include "key_sample.h"
#include "messages.h"
#include "prefixes.h"
#include "records.h"
#include "sentence_sample.h"
#include "statistics.h"
#include "stop_words.h"
#include "stream.h"
#include "table.h"
#include "tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sentences of the corpus that random prefixes are taken from; n-grams of each length that --ngrams lists. */
enum { MOST_SENTENCES = 10000, NGRAMS = 5 };

struct options {
    const char *model, *corpus, *output, *keys, *ngrams;
    uint64_t top, sample, seed, skip, least;
};

/* Of one key; not defined (NaN): of random prefixes without a corpus. */
struct measures {
    struct ngram end[MOST_NGRAM];     /* of n + 1 tokens */
    double same_last[MOST_NGRAM];     /* share of the prefixes that end with it */
    double overlap, overlap_before;   /* before: without each prefix's last token */
};

struct key {
    size_t layer, cell;
    struct prefixes prefixes; /* of its best triggers: at least two */
};

struct sentence {
    struct sampled_sentence sampled;
    size_t used_by; /* the last key that had a prefix of it, counted from 1 */
};

struct shallow {
    const struct options *options;
    struct key *keys;
    size_t key_count, key_capacity;
    bool *skip;                  /* vocabulary: the most frequent tokens */
    struct sentence_sample *sample; /* of the corpus; NULL without one */
    struct sentence *sentences;  /* in it, the shortest first */
    size_t sentence_count;
};

/* ---- triggers ---- */

/* The best triggers' prefixes, which are the key's from now on. */
static void keep_key(struct shallow *shallow, struct key_triggers *triggers)
{
    size_t count = triggers->count < shallow->options->top ? triggers->count : (size_t)shallow->options->top;
    if (shallow->key_count == shallow->key_capacity) {
        shallow->key_capacity = 2 * shallow->key_capacity + 1024;
        shallow->keys = grow_array(shallow->keys, shallow->key_capacity, sizeof *shallow->keys);
    }
    struct key *key = &shallow->keys[shallow->key_count++];
    *key = (struct key){triggers->layer, triggers->cell, {count, triggers->position, triggers->prefix}};
    triggers->position = triggers->prefix = NULL;
}

static void read_triggers(struct shallow *shallow, struct triggers_reader *reader)
{
    struct key_sample *sample = key_sample_new(reader, (size_t)shallow->options->sample, shallow->options->seed);
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
    if (shallow->options->skip && !reader->token_counts)
        stream_fail(reader->stream, "it does not tell how often tokens occur: only --skip-frequent 0 is possible");
    shallow->skip = shallow->options->skip
        ? frequent_tokens(reader->token_counts, vocabulary, (size_t)shallow->options->skip)
        : new_array(vocabulary, sizeof *shallow->skip);
}

/* ---- random prefixes ---- */

static int by_length(const void *a, const void *b)
{
    const struct sentence *left = a, *right = b;
    if (left->sampled.length != right->sampled.length)
        return left->sampled.length < right->sampled.length ? -1 : 1;
    return left->sampled.sentence < right->sampled.sentence ? -1 : left->sampled.sentence > right->sampled.sentence;
}

/* A seeded sample of the corpus' sentences, whose tokens must be those of the triggers. */
static void read_corpus(struct shallow *shallow, const struct stream_reader *triggers, size_t vocabulary)
{
    struct stream_reader *reader = stream_open(strcmp(shallow->options->corpus, "-") ? shallow->options->corpus : NULL, "tokens");
    if (strcmp(header_text(reader, "tokenizer", "id"), header_text(triggers, "tokenizer", "id")))
        stream_fail(reader, "made with another tokenizer than the triggers");
    shallow->sample = sentence_sample_new(MOST_SENTENCES, shallow->options->seed);
    struct record record;
    while (stream_next(reader, &record)) {
        struct batch batch = batch_read(&record, vocabulary);
        const uint32_t *token = batch.token;
        for (size_t s = 0; s < batch.sentences; token += batch.length[s], s++)
            sentence_sample_offer(shallow->sample, batch_sentence(&batch, s), token, batch.length[s], false);
        batch_free(&batch);
    }
    const struct sampled_sentence *sampled = sentence_sample_take(shallow->sample, &shallow->sentence_count);
    if (!shallow->sentence_count)
        stream_fail(reader, "there is no sentence in it");
    shallow->sentences = new_array(shallow->sentence_count, sizeof *shallow->sentences);
    for (size_t i = 0; i < shallow->sentence_count; i++)
        shallow->sentences[i].sampled = sampled[i];
    qsort(shallow->sentences, shallow->sentence_count, sizeof *shallow->sentences, by_length);
    stream_close(reader);
}

/* The first sentence with more than length tokens, so that a next token follows; the longest where there is none. */
static size_t first_longer(const struct shallow *shallow, size_t length)
{
    size_t low = 0, high = shallow->sentence_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (shallow->sentences[middle].sampled.length > length)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/*
 * A random sentence for trigger number trigger of a key: among those that are long
 * enough, one that no trigger of the key has, as long as there is one.
 */
static struct sentence *draw_sentence(const struct shallow *shallow, size_t key, size_t trigger, size_t length)
{
    size_t first = first_longer(shallow, length), choices = shallow->sentence_count - first;
    uint64_t of_key = random_number(shallow->options->seed, shallow->keys[key].layer, shallow->keys[key].cell);
    size_t start = (size_t)(random_number(of_key, trigger, 0) % choices);
    for (size_t i = 0; i < choices; i++) {
        struct sentence *sentence = &shallow->sentences[first + (start + i) % choices];
        if (sentence->used_by != key + 1) {
            sentence->used_by = key + 1;
            return sentence;
        }
    }
    return &shallow->sentences[first + start];
}

/* Random prefixes of the lengths that the key's have; only a sentence that is too short gives a shorter one. */
static struct prefixes random_prefixes(const struct shallow *shallow, size_t key)
{
    const struct prefixes *like = &shallow->keys[key].prefixes;
    struct prefixes prefixes = {like->count, new_array(like->count, sizeof(uint32_t)), NULL};
    size_t tokens = 0;
    for (size_t i = 0; i < like->count; i++) {
        const struct sentence *sentence = draw_sentence(shallow, key, i, like->length[i]);
        size_t longest = sentence->sampled.length;
        uint32_t length = like->length[i] < longest ? like->length[i] : (uint32_t)longest;
        prefixes.token = grow_array(prefixes.token, tokens + length + 1, sizeof(uint32_t));
        memcpy(prefixes.token + tokens, sentence->sampled.token, length * sizeof(uint32_t));
        prefixes.length[i] = length;
        tokens += length;
    }
    return prefixes;
}

/* ---- measures ---- */

static struct measures measure(const struct prefixes *prefixes, const bool *skip)
{
    struct measures measures = {.overlap = common_tokens(prefixes, skip, 0),
                                .overlap_before = common_tokens(prefixes, skip, 1)};
    for (size_t n = 0; n < MOST_NGRAM; n++) {
        measures.end[n] = common_end(prefixes, n + 1);
        measures.same_last[n] = share(measures.end[n].prefixes, prefixes->count);
    }
    return measures;
}

static struct measures measure_random(const struct shallow *shallow, size_t key)
{
    if (!shallow->sentences)
        return (struct measures){.same_last = {(double)NAN, (double)NAN, (double)NAN}, .overlap = (double)NAN,
                                 .overlap_before = (double)NAN};
    struct prefixes prefixes = random_prefixes(shallow, key);
    struct measures measures = measure(&prefixes, shallow->skip);
    free(prefixes.length);
    free(prefixes.token);
    return measures;
}

/* ---- tables ---- */

static void put_ngram(struct table *table, const struct tokenizer *tokenizer, const struct ngram *ngram, size_t n)
{
    char *text = tokenizer_text(tokenizer, ngram->token, ngram->prefixes ? n : 0);
    table_text(table, text);
    free(text);
}

static void write_key(struct table *table, const struct tokenizer *tokenizer, const struct key *key,
                      const struct measures *found, const struct measures *random)
{
    table_number(table, key->layer + 1);
    table_number(table, key->cell);
    table_number(table, key->prefixes.count);
    for (size_t n = 0; n < MOST_NGRAM; n++) {
        table_real(table, found->same_last[n]);
        put_ngram(table, tokenizer, &found->end[n], n + 1);
    }
    table_real(table, found->overlap);
    table_real(table, random->overlap);
    table_real(table, found->overlap_before);
    table_real(table, random->overlap_before);
}

static void write_ngrams(struct table *table, const struct shallow *shallow, const struct tokenizer *tokenizer,
                         const struct key *key)
{
    for (size_t n = 1; n <= MOST_NGRAM; n++) {
        struct ngram found[NGRAMS];
        size_t count = common_ngrams(&key->prefixes, n, shallow->skip, (size_t)shallow->options->least, found, NGRAMS);
        for (size_t i = 0; i < count; i++) {
            table_number(table, key->layer + 1);
            table_number(table, key->cell);
            table_number(table, n);
            table_number(table, found[i].prefixes);
            put_ngram(table, tokenizer, &found[i], n);
        }
    }
}

static void add_measures(struct measures *sums, const struct measures *measures)
{
    for (size_t n = 0; n < MOST_NGRAM; n++)
        sums->same_last[n] += measures->same_last[n];
    sums->overlap += measures->overlap;
    sums->overlap_before += measures->overlap_before;
}

/* The means over count keys. */
static void write_layer(struct table *table, size_t layer, size_t count, const struct measures *found,
                        const struct measures *random)
{
    double keys = (double)count;
    table_number(table, layer + 1);
    table_number(table, count);
    for (size_t n = 0; n < MOST_NGRAM; n++)
        table_real(table, found->same_last[n] / keys);
    table_real(table, found->overlap / keys);
    table_real(table, random->overlap / keys);
    table_real(table, found->overlap_before / keys);
    table_real(table, random->overlap_before / keys);
    for (size_t n = 0; n < MOST_NGRAM; n++)
        table_real(table, random->same_last[n] / keys);
}

static void write_tables(const struct shallow *shallow, const struct tokenizer *tokenizer)
{
    static const char *const layer_columns[] = {"layer", "keys", "same_last_1", "same_last_2", "same_last_3",
        "overlap", "overlap_random", "overlap_before", "overlap_before_random", "same_last_1_random",
        "same_last_2_random", "same_last_3_random", NULL};
    static const char *const key_columns[] = {"layer", "cell", "triggers", "same_last_1", "last_1", "same_last_2",
        "last_2", "same_last_3", "last_3", "overlap", "overlap_random", "overlap_before", "overlap_before_random", NULL};
    static const char *const ngram_columns[] = {"layer", "cell", "n", "triggers", "ngram", NULL};
    const struct options *options = shallow->options;
    struct table *layers = table_open(options->output, layer_columns);
    struct table *keys = options->keys ? table_open(options->keys, key_columns) : NULL;
    struct table *ngrams = options->ngrams ? table_open(options->ngrams, ngram_columns) : NULL;
    struct measures found_sums = {0}, random_sums = {0};
    for (size_t k = 0, first = 0; k < shallow->key_count; k++) {
        const struct key *key = &shallow->keys[k];
        struct measures found = measure(&key->prefixes, shallow->skip), random = measure_random(shallow, k);
        add_measures(&found_sums, &found);
        add_measures(&random_sums, &random);
        if (keys)
            write_key(keys, tokenizer, key, &found, &random);
        if (ngrams)
            write_ngrams(ngrams, shallow, tokenizer, key);
        if (k + 1 < shallow->key_count && shallow->keys[k + 1].layer == key->layer)
            continue;
        write_layer(layers, key->layer, k + 1 - first, &found_sums, &random_sums);
        found_sums = random_sums = (struct measures){0};
        first = k + 1;
    }
    if (keys)
        table_finish(keys);
    if (ngrams)
        table_finish(ngrams);
    table_finish(layers);
}

int main(int argc, char **argv)
{
    struct options options = {.top = 25, .seed = 1, .skip = 100, .least = 3};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'t', "top", "N", "only the N best triggers of each key (default 25)", OPTION_NUMBER, &options.top, 2,
         MOST_TRIGGERS, NULL},
        {0, "sample", "N", "only N random keys of each layer, of those with triggers (default 0: all)", OPTION_NUMBER,
         &options.sample, 0, 0, NULL},
        {0, "corpus", "FILE", "a tokens stream, or - for standard input, for the same measures of random prefixes", OPTION_TEXT, &options.corpus,
         0, 0, NULL},
        {0, "skip-frequent", "N", "of overlap and n-grams: without the N most frequent tokens (default 100)",
         OPTION_NUMBER, &options.skip, 0, 0, NULL},
        {0, "keys", "FILE", "write each key's measures to FILE; needs --model", OPTION_TEXT, &options.keys, 0, 0, NULL},
        {0, "ngrams", "FILE", "write the n-grams that a key's triggers share to FILE; needs --model", OPTION_TEXT,
         &options.ngrams, 0, 0, NULL},
        {0, "least", "N", "of --ngrams: those of N triggers or more (default 3)", OPTION_NUMBER, &options.least, 1, 0, NULL},
        OPTION_SEED(&options.seed),
        {'o', "output", "FILE", "write the layers' table to FILE instead of standard output", OPTION_TEXT,
         &options.output, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"shallow-stats", "Tells what the triggers of keys have in common.", "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if ((options.keys || options.ngrams) && !options.model)
        die_usage("--keys and --ngrams need --model DIR for the words");

    const char *input = cli_input(argc, argv, first);
    if (!input && options.corpus && !strcmp(options.corpus, "-"))
        die_usage("--corpus - and no FILE: standard input cannot be both");

    struct stream_reader *reader = stream_open(input, "triggers");
    struct triggers_reader triggers = triggers_open(reader);
    struct tokenizer *tokenizer = options.model ? tokenizer_open(options.model, reader) : NULL;
    struct shallow shallow = {.options = &options};
    read_triggers(&shallow, &triggers);
    choose_skipped(&shallow, &triggers);
    if (options.corpus)
        read_corpus(&shallow, reader, triggers.shape.vocabulary);
    write_tables(&shallow, tokenizer);

    for (size_t i = 0; i < shallow.key_count; i++) {
        free(shallow.keys[i].prefixes.length);
        free(shallow.keys[i].prefixes.token);
    }
    if (shallow.sample)
        sentence_sample_free(shallow.sample);
    free(shallow.sentences);
    free(shallow.keys);
    free(shallow.skip);
    if (tokenizer)
        tokenizer_free(tokenizer);
    triggers_close(&triggers);
    stream_close(reader);
    return STATUS_DONE;
}
