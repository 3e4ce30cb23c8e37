/*
 * perturb-triggers: triggers in, token batches of their changed prefixes out, each
 * with its key and the coefficient that the key had at the unchanged prefix.
 *
 * The paper's local modifications (section 3, figure 3): the first, the last or a
 * random token is removed; beside these, a token is replaced, or all but the last
 * few tokens go. A changed prefix is written as a sentence, with the token that
 * followed the trigger behind it: the model reads BOS, if it has one, and the prefix, and the
 * wanted coefficient is that of the sentence's last position. A prefix that is too
 * short for the change is a sentence of the next token alone.
 *
 * A batch has sentences of one layer only, so that nothing above it is computed. Batches are numbered
 * as those of a text are, and --shard takes whole ones: what a shard gives is what the whole run gives for
 * them, whose sample of keys is drawn from all of the input in each shard.
 */
#include "analysis/key_sample.h"
#include "analysis/sentence_keys.h"
#include "base/cli.h"
#include "base/hash.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "stream/coverage.h"
#include "stream/fields.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"

#include <stdlib.h>
#include <string.h>

enum change {
    REMOVE_FIRST,
    REMOVE_LAST,
    REMOVE_RANDOM,
    REPLACE_FIRST,
    REPLACE_LAST,
    REPLACE_RANDOM,
    TRUNCATE,
    NO_CHANGE,
    CHANGES
};
static const char *const change_words[] = {"first", "last", "random", "replace-first", "replace-last",
                                           "replace-random", "truncate", "none", NULL};
enum { DEFAULT_CHANGES = 1 << REMOVE_FIRST | 1 << REMOVE_LAST | 1 << REMOVE_RANDOM };

static const char *const replacement_words[] = {"random", "unknown", NULL};
enum { REPLACEMENT_RANDOM, REPLACEMENT_UNKNOWN };

/* What a random number is drawn for. */
enum draw { DRAW_INDEX, DRAW_TOKEN };

struct options {
    const char *list, *shard, *output;
    bool gzip;
    unsigned changes;
    int replacement;
    uint64_t keep, sample, top, seed;
};

struct perturbation {
    const struct options *options;
    uint32_t vocabulary, bos, unknown; /* unknown: only where it is the replacement */
    struct stream_writer *writer;
    msgpack_sbuffer buffer;
    size_t budget;                     /* tokens of a batch */
    struct batch batch;                /* that is being filled; of one layer */
    struct sentence_keys keys;
    struct batch_capacity capacity;
    size_t key_capacity;
    struct coverage coverage;          /* which batches were written */
    uint64_t sentences, tokens;        /* written */
};

/* One trigger. */
struct trigger {
    const struct key_triggers *key;
    struct prefix_walk prefix; /* at the trigger's */
};

/* ---- changes ---- */

/* Below bound; a function of the seed, the key, the trigger's sentence and position, and the purpose. */
static uint32_t random_below(const struct options *options, const struct trigger *trigger, enum draw draw,
                             size_t bound)
{
    const struct key_triggers *key = trigger->key;
    uint64_t of_key = hash_random(options->seed, key->layer, key->cell);
    uint64_t of_trigger = hash_random(of_key, key->sentence[trigger->prefix.index], trigger->prefix.length);
    return (uint32_t)(hash_random(of_trigger, draw, 0) % bound);
}

/* Any token but BOS, where there is one, and the one that is replaced, all alike. */
static uint32_t random_replacement(const struct perturbation *perturbation, const struct trigger *trigger,
                                   uint32_t replaced)
{
    uint32_t bos = perturbation->bos == NO_TOKEN ? replaced : perturbation->bos;
    uint32_t low = replaced < bos ? replaced : bos, high = replaced < bos ? bos : replaced;
    uint32_t token = random_below(perturbation->options, trigger, DRAW_TOKEN,
                                  perturbation->vocabulary - (low == high ? 1 : 2));
    token += token >= low;
    return token + (low != high && token >= high);
}

/* Which token the change is about. */
static size_t changed_index(const struct options *options, const struct trigger *trigger, enum change change)
{
    if (change == REMOVE_RANDOM || change == REPLACE_RANDOM)
        return random_below(options, trigger, DRAW_INDEX, trigger->prefix.length);
    return change == REMOVE_LAST || change == REPLACE_LAST ? trigger->prefix.length - 1 : 0;
}

/*
 * Writes the changed prefix to tokens, room for the unchanged one. Returns its
 * length, 0: too short for the change.
 */
static size_t change_prefix(const struct perturbation *perturbation, const struct trigger *trigger,
                            enum change change, uint32_t *tokens)
{
    const struct options *options = perturbation->options;
    size_t length = trigger->prefix.length, skipped = 0;
    if (length == 0)
        return 0;
    if (change == TRUNCATE) {
        if (length <= options->keep)
            return 0;
        skipped = length - (size_t)options->keep;
    }
    memcpy(tokens, trigger->prefix.token + skipped, (length - skipped) * sizeof *tokens);
    if (change == TRUNCATE || change == NO_CHANGE)
        return length - skipped;
    size_t index = changed_index(options, trigger, change);
    if (change == REMOVE_FIRST || change == REMOVE_LAST || change == REMOVE_RANDOM) {
        memmove(tokens + index, tokens + index + 1, (length - index - 1) * sizeof *tokens);
        return length - 1;
    }
    tokens[index] = options->replacement == REPLACEMENT_UNKNOWN
        ? perturbation->unknown : random_replacement(perturbation, trigger, tokens[index]);
    return length;
}

/* ---- batches ---- */

static void write_batch(struct perturbation *perturbation)
{
    struct batch *batch = &perturbation->batch;
    if (!batch->sentences)
        return;
    perturbation->keys.sentences = batch->sentences;
    batch_hash(batch, perturbation->coverage.hash);
    sentence_keys_hash(&perturbation->keys, perturbation->coverage.hash);
    if (coverage_take(&perturbation->coverage, true)) {
        const struct record_part parts[] = {{batch_fields, 0, batch},
                                            {sentence_keys_fields, 0, &perturbation->keys}};
        record_pack(&perturbation->buffer, parts, 2);
        stream_append(perturbation->writer, &perturbation->buffer, 1);
        perturbation->sentences += batch->sentences;
        perturbation->tokens += batch->tokens;
    }
    batch->id += batch->sentences;
    batch->sentences = batch->tokens = 0;
}

/* change_index: among those that were asked for. prefix: changed, of length tokens. */
static void add_sentence(struct perturbation *perturbation, const struct trigger *trigger,
                         uint32_t change_index, const uint32_t *prefix, size_t length)
{
    const struct key_triggers *key = trigger->key;
    struct batch *batch = &perturbation->batch;
    struct sentence_keys *keys = &perturbation->keys;
    if (batch->sentences
        && (batch->tokens + length + 1 > perturbation->budget || keys->layer[0] != key->layer))
        write_batch(perturbation);
    batch_reserve(batch, 0, &perturbation->capacity, batch->sentences + 1, batch->tokens + length + 1);
    fields_reserve(sentence_keys_fields, 0, "sentences", &perturbation->key_capacity, batch->sentences + 1,
                   keys);
    if (length)
        memcpy(batch->token + batch->tokens, prefix, length * sizeof *prefix);
    batch->token[batch->tokens + length] = key->next[trigger->prefix.index];
    batch->tokens += length + 1;
    size_t s = batch->sentences++;
    batch->length[s] = (uint32_t)length + 1;
    keys->layer[s] = (uint32_t)key->layer;
    keys->cell[s] = (uint32_t)key->cell;
    keys->coefficient[s] = key->coefficient[trigger->prefix.index];
    keys->change[s] = change_index;
}

static void perturb_key(struct perturbation *perturbation, const struct key_triggers *key)
{
    const struct options *options = perturbation->options;
    size_t count = options->top < key->count ? (size_t)options->top : key->count;
    struct trigger trigger = {key, key_prefixes(key, count)};
    uint32_t *changed = NULL;
    while (prefix_next(&trigger.prefix)) {
        changed = grow_array(changed, trigger.prefix.length + 1, sizeof *changed);
        uint32_t change_index = 0;
        for (int change = 0; change < CHANGES; change++)
            if (options->changes & 1u << change) {
                size_t length = change_prefix(perturbation, &trigger, (enum change)change, changed);
                add_sentence(perturbation, &trigger, change_index++, changed, length);
            }
    }
    free(changed);
}

/* ---- header and main ---- */

/* The names of the changes, by which tables call them. */
static json_t *change_names(const struct options *options)
{
    json_t *names = json_make("[]");
    for (int change = 0; change < CHANGES; change++) {
        if (!(options->changes & 1u << change))
            continue;
        char *name = change == TRUNCATE
            ? format_string("%s-%llu", change_words[change], (unsigned long long)options->keep)
            : copy_string(change_words[change]);
        if (json_array_append_new(names, json_string(name)) != 0)
            die("out of memory");
        free(name);
    }
    return names;
}

static json_t *make_header(const struct options *options, const struct triggers_reader *triggers)
{
    static const char *const of_triggers[] = {"layers", "cells", "positions", "first", "rank", "keys", "top",
                                              "prefixes", "following"};
    json_t *header = header_new("tokens", stream_header(triggers->stream));
    for (size_t i = 0; i < sizeof of_triggers / sizeof *of_triggers; i++)
        json_object_del(header, of_triggers[i]);
    json_put(header, "arrays", json_object());
    fields_declare(header, batch_fields, 0, NULL);
    header_set_changes(header, change_names(options));
    json_t *values = json_make("{s:o, s:I, s:I, s:I}", "change", change_names(options), "sample",
                               (json_int_t)options->sample, "top", (json_int_t)options->top, "seed",
                               (json_int_t)options->seed);
    if (options->changes & (1u << REPLACE_FIRST | 1u << REPLACE_LAST | 1u << REPLACE_RANDOM))
        json_put(values, "replacement", json_string(replacement_words[options->replacement]));
    options_set_list(values, triggers);
    header_add_stage(header, "perturb-triggers", values);
    return header;
}

static void perturb_all(struct perturbation *perturbation, struct stream_reader *reader)
{
    const struct options *options = perturbation->options;
    stream_need_sentences(reader);
    struct triggers_reader triggers = triggers_open_list(reader, options->list);
    struct key_sample *sample = key_sample_new(&triggers, (size_t)options->sample, options->seed);
    json_t *header = make_header(options, &triggers);
    perturbation->writer = stream_create(options->output, options->gzip, header);
    msgpack_sbuffer_init(&perturbation->buffer);
    struct key_triggers key;
    while (key_sample_next(sample, &key)) {
        perturb_key(perturbation, &key);
        key_triggers_free(&key);
        input_count(stream_input(reader), 1, "keys");
    }
    write_batch(perturbation);
    if (!perturbation->coverage.units)
        die("%s: no key in it has a trigger", input_name(stream_input(reader)));
    json_t *counts = json_make("{s:I, s:I}", "sentences", (json_int_t)perturbation->sentences, "tokens",
                               (json_int_t)perturbation->tokens);
    coverage_end(&perturbation->coverage, &whole_corpus, counts);
    stream_finish(perturbation->writer, counts);
    json_decref(counts);
    json_decref(header);
    msgpack_sbuffer_destroy(&perturbation->buffer);
    key_sample_free(sample);
    triggers_close(&triggers);
}

int main(int argc, char **argv)
{
    struct options options = {.changes = DEFAULT_CHANGES, .keep = 1, .sample = 100, .top = 50, .seed = 1};
    const struct option_spec specs[] = {
        {0, "change", "LIST",
         "of first, last, random (default: these three, removed), replace-first, replace-last, "
         "replace-random, truncate, none",
         OPTION_CHOICES, &options.changes, 0, 0, change_words},
        {0, "replacement", "WHICH",
         "what replaced tokens become: a random token (default: random), or the unknown one", OPTION_CHOICE,
         &options.replacement, 0, 0, replacement_words},
        {0, "keep", "N", "of truncate: the last N tokens stay (default 1)", OPTION_NUMBER, &options.keep, 1,
         MAX_SENTENCE_TOKENS, NULL},
        {0, "sample", "N", "only N random keys of each layer, of those with triggers (default 100; 0: all)",
         OPTION_NUMBER, &options.sample, 0, INT64_MAX, NULL},
        {'t', "top", "N", "only the N best triggers of each key (default 50)", OPTION_NUMBER, &options.top, 1,
         MAX_TRIGGERS, NULL},
        OPTION_LIST(&options.list),
        OPTION_SEED(&options.seed),
        OPTION_SHARD(&options.shard, "batch"),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"perturb-triggers",
                              "Turns triggers into token batches of their changed prefixes.", "[FILE]", specs,
                              1};
    int first = cli_parse(&tool, argc, argv);

    struct stream_reader *reader = stream_open(cli_input(argc, argv, first), "triggers");
    struct perturbation perturbation = {
        .options = &options,
        .vocabulary = (uint32_t)shape_read(reader).vocabulary,
        .coverage = coverage_begin(options.shard),
        .budget = (size_t)header_number(reader, "batch", "positions", MAX_BATCH_POSITIONS),
    };
    if (!perturbation.budget)
        stream_fail(reader, "the header's batch.positions is 0");
    perturbation.bos = header_bos(reader, perturbation.vocabulary);
    if (options.replacement == REPLACEMENT_UNKNOWN)
        perturbation.unknown =
            (uint32_t)header_number(reader, "tokenizer", "unknown", perturbation.vocabulary - 1);
    else if (perturbation.vocabulary < (perturbation.bos == NO_TOKEN ? 2 : 3))
        stream_fail(reader, "a vocabulary of %u tokens has none to take another's place",
                    perturbation.vocabulary);
    perturb_all(&perturbation, reader);

    batch_free(&perturbation.batch);
    sentence_keys_free(&perturbation.keys);
    stream_close(reader);
    return STATUS_DONE;
}
