/*
 * tokenize: text in, a stream of token batches out.
 *
 * Sentences are packed into batches in the order of the corpus, up to a budget
 * of positions: a sentence of n tokens takes n (BOS and all but the last token).
 * Batches are the unit of everything that follows, so a shard takes whole ones,
 * and what a shard gives is what the whole run gives for these batches. A sample
 * is drawn from the whole corpus, before batches are packed. Every run reads all of
 * the corpus: its trailer tells which batches it took, of how many, of which text.
 * A prompt is a sentence with a placeholder behind it, so that its last token, too, is read.
 */
#include "analysis/sentence_sample.h"
#include "base/cli.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/model.h"
#include "stream/coverage.h"
#include "stream/header.h"
#include "stream/records.h"
#include "stream/stream_writer.h"
#include "text/text.h"
#include "text/token_find.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unicode/uvernum.h>

enum long_sentences { LONG_ERROR, LONG_TRUNCATE, LONG_SKIP };
static const char *const long_words[] = {"error", "truncate", "skip", NULL};
static const char *const mode_words[] = {"lines", "wikitext", "raw", NULL};
static const char *const prompt_words[] = {"prompts", "prompt"}; /* what the header says in its place */

struct options {
    const char *model, *output, *name, *shard, *language, *bos;
    bool gzip, prompt, whole;
    int mode, long_sentences;
    uint64_t batch, max_length, limit, sample, seed, from, to;
};

/* What the trailer counts; of one batch, and of all batches taken. */
struct counts {
    uint64_t sentences, tokens, unknown, truncated, skipped, ending_unknown;
};

struct packer {
    const struct options *options;
    struct tokenizer *tokenizer;
    struct stream_writer *writer;
    msgpack_sbuffer buffer;
    struct batch batch;             /* being filled */
    struct batch_capacity capacity;
    struct counts in_batch, taken;
    struct coverage coverage;       /* which batches were taken */
    uint64_t sentences;             /* of the corpus so far */
    struct sentence_sample *sample; /* NULL: all sentences are taken */
};

static void flush_batch(struct packer *packer)
{
    const struct options *options = packer->options;
    struct batch *batch = &packer->batch;
    if (batch->sentences == 0)
        return;
    batch_hash(batch, packer->coverage.hash);
    if (coverage_take(&packer->coverage, batch->id >= options->from && batch->id < options->to)) {
        struct counts *taken = &packer->taken;
        const struct counts *more = &packer->in_batch;
        fields_pack(&packer->buffer, batch_fields, batch_groups(batch), batch);
        stream_append(packer->writer, &packer->buffer, 1);
        *taken = (struct counts){taken->sentences + batch->sentences,
                                 taken->tokens + batch->tokens,
                                 taken->unknown + more->unknown,
                                 taken->truncated + more->truncated,
                                 taken->skipped + more->skipped,
                                 taken->ending_unknown + more->ending_unknown};
    }
    packer->in_batch = (struct counts){0};
    batch->sentences = batch->tokens = 0;
}

/* The length that --long leaves of a sentence of count words: 0 for none. */
static size_t allowed_length(struct packer *packer, const struct text_reader *text, size_t count)
{
    const struct options *options = packer->options;
    if (count - options->prompt <= options->max_length)
        return count;
    switch ((enum long_sentences)options->long_sentences) {
    case LONG_TRUNCATE:
        return (size_t)options->max_length;
    case LONG_SKIP:
        return 0;
    case LONG_ERROR:
        break;
    }
    die("%s: line %llu: a sentence of %zu tokens, more than --max-length %llu; raise it, or say --long "
        "%sskip",
        input_name(text_input(text)), (unsigned long long)text_line(text), count - options->prompt,
        (unsigned long long)options->max_length, options->prompt ? "" : "truncate or --long ");
}

/* Puts a sentence into the batch, or into the next one when this one is full. */
static void pack_sentence(struct packer *packer, uint64_t sentence, const uint32_t *tokens, size_t length,
                          bool truncated)
{
    struct batch *batch = &packer->batch;
    if (batch->tokens + length > packer->options->batch)
        flush_batch(packer);
    if (batch->sentences == 0)
        batch->id = sentence;
    batch_reserve(batch, packer->sample ? BATCH_NUMBERED : 0, &packer->capacity, batch->sentences + 1,
                  batch->tokens + length);
    uint32_t unknown = tokenizer_unknown(packer->tokenizer);
    for (size_t i = 0; i < length; i++) {
        batch->token[batch->tokens++] = tokens[i];
        packer->in_batch.unknown += tokens[i] == unknown && !(packer->options->prompt && i == length - 1);
    }
    packer->in_batch.ending_unknown += !truncated && tokens[length - 1] == unknown;
    packer->in_batch.truncated += truncated;
    if (packer->sample)
        batch->sentence[batch->sentences] = sentence;
    batch->length[batch->sentences++] = (uint32_t)length;
}

static void add_sentence(struct packer *packer, const struct text_reader *text, const uint32_t *tokens,
                         size_t count)
{
    size_t length = allowed_length(packer, text, count);
    if (length == 0) {
        packer->in_batch.skipped++;
        return;
    }
    if (packer->sample)
        sentence_sample_offer(packer->sample, packer->sentences, tokens, length, length < count);
    else
        pack_sentence(packer, packer->sentences, tokens, length, length < count);
    packer->sentences++;
}

static void pack_sample(struct packer *packer)
{
    size_t count;
    const struct sampled_sentence *sampled = sentence_sample_take(packer->sample, &count);
    for (size_t i = 0; i < count; i++)
        pack_sentence(packer, sampled[i].sentence, sampled[i].token, sampled[i].length, sampled[i].truncated);
}

/* The tokens of what text_next gave, a prompt's with the placeholder behind them. */
static size_t encode(struct packer *packer, struct text_reader *text, struct span sentence, uint32_t **tokens,
                     size_t *capacity)
{
    if (!packer->options->prompt)
        return tokenizer_encode(packer->tokenizer, text, sentence, tokens, capacity);
    size_t count = tokenizer_encode_text(packer->tokenizer, sentence, tokens, capacity);
    if (!count)
        return 0;
    *tokens = reserve_array(*tokens, capacity, count + 1, sizeof **tokens);
    (*tokens)[count] = 0;
    return count + 1;
}

static void tokenize(struct packer *packer, struct text_reader *text)
{
    struct span sentence;
    uint32_t *tokens = NULL;
    size_t capacity = 0;
    /* Also behind --to, where there is nothing to take: the trailer tells of all. */
    while (packer->sentences < packer->options->limit && text_next(text, &sentence)) {
        size_t count = encode(packer, text, sentence, &tokens, &capacity);
        if (count)
            add_sentence(packer, text, tokens, count);
        input_count(text_input(text), count, "tokens");
    }
    free(tokens);
    if (packer->sample)
        pack_sample(packer);
    flush_batch(packer);
    if (packer->sentences == 0)
        die("%s: there is no sentence in it%s", input_name(text_input(text)),
            packer->in_batch.skipped ? " that is not longer than --max-length" : "");
    if (packer->options->from >= packer->sentences)
        die("%s: --from %llu is behind its end: it has %llu sentences, which count from 0",
            input_name(text_input(text)), (unsigned long long)packer->options->from,
            (unsigned long long)packer->sentences);
}

/* BOS as the model has it, or as it is said. */
static uint32_t choose_bos(const struct options *options, struct tokenizer *tokenizer,
                           const struct model_config *config)
{
    if (!options->bos)
        return tokenizer_bos(tokenizer, config);
    return strcmp(options->bos, "none") ? token_find(tokenizer, config->vocabulary, options->bos, "bos")
                                        : NO_TOKEN;
}

static json_t *make_header(const struct options *options, struct tokenizer *tokenizer,
                           const struct model_config *config)
{
    json_t *header = header_new("tokens", NULL);
    json_t *values = json_make(
        "{s:s, s:I, s:I, s:s}", "mode",
        options->prompt ? prompt_words[options->whole] : mode_words[options->mode],
        "batch", (json_int_t)options->batch,
        "max_length", (json_int_t)options->max_length, "long", long_words[options->long_sentences]);
    if (options->limit != OPTION_NO_LIMIT)
        json_put(values, "limit", json_integer((json_int_t)options->limit));
    if (options->sample) {
        json_put(values, "sample", json_integer((json_int_t)options->sample));
        json_put(values, "seed", json_integer((json_int_t)options->seed));
    }
    if (options->mode == TEXT_RAW) { /* whose rules shape the sentences */
        json_put(values, "language", json_string(options->language));
        json_put(values, "icu", json_string(U_ICU_VERSION));
    }
    json_t *name = json_string(options->name);
    if (!name)
        die_usage("--name takes UTF-8 text, not '%s'", options->name);
    json_put(header, "corpus", json_make("{s:o}", "name", name));
    json_put(header, "tokenizer", tokenizer_json(tokenizer, config, choose_bos(options, tokenizer, config)));
    if (options->prompt)
        header_set_prompts(header);
    json_put(header, "batch", json_make("{s:I}", "positions", (json_int_t)options->batch));
    fields_declare(header, batch_fields, options->sample ? BATCH_NUMBERED : 0, NULL);
    header_add_stage(header, "tokenize", values);
    return header;
}

/* The trailer's counts, and what this run has of the corpus. */
static json_t *make_counts(struct packer *packer)
{
    const struct counts *taken = &packer->taken;
    json_t *counts =
        json_make("{s:I, s:I, s:I, s:I, s:I}", "sentences", (json_int_t)taken->sentences, "tokens",
                  (json_int_t)taken->tokens, "unknown", (json_int_t)taken->unknown, "truncated",
                  (json_int_t)taken->truncated, "skipped", (json_int_t)taken->skipped);
    coverage_end(&packer->coverage, &whole_corpus, counts);
    return counts;
}

/*
 * Prose that is read as words between white space has its punctuation in them: most sentences
 * then end in a word that no dictionary has. Those of separated words end in a full stop.
 */
static void warn_of_prose(const struct packer *packer, const char *name)
{
    static const double MUCH_UNKNOWN = 0.05;
    const struct counts *taken = &packer->taken;
    double share = (double)taken->unknown / (double)taken->tokens;
    bool lines = packer->options->mode == TEXT_LINES && !packer->options->prompt;
    if (lines && taken->tokens && share > MUCH_UNKNOWN
        && 2 * taken->ending_unknown > taken->sentences)
        message_warn(
            "%s: %.1f %% of the words are not in the model's dictionary and became <unk>, those at the end "
            "of most lines among them: --mode raw separates punctuation from words",
            name, 100 * share);
}

static void check_prompt(const struct options *options)
{
    if (options->whole && !options->prompt)
        die_usage("--whole goes with --prompt");
    if (options->prompt && (options->mode != TEXT_LINES || options->long_sentences == LONG_TRUNCATE))
        die_usage("--prompt reads what the user typed, to its end: --mode and --long truncate do not go with "
                  "it");
    if (options->prompt && options->max_length == MAX_SENTENCE_TOKENS)
        die_usage("a prompt has at most %d tokens, since a placeholder is behind them: lower --max-length",
                  MAX_SENTENCE_TOKENS - 1);
}

/* The language of raw text; the other modes have none. */
static void check_language(struct options *options)
{
    if (options->mode != TEXT_RAW && options->language)
        die_usage("--language goes with --mode raw");
    if (options->mode == TEXT_RAW && !options->language)
        options->language = "en";
    if (options->language && !text_is_language(options->language))
        die_usage("--language takes a language's code of ISO 639, such as en, not '%s'", options->language);
}

static void run(struct packer *packer, const char *path)
{
    const struct options *options = packer->options;
    struct model_config config = model_config_read(options->model);
    struct tokenizer *tokenizer = tokenizer_read(&config);
    enum text_mode mode = !options->prompt ? (enum text_mode)options->mode
                          : options->whole ? TEXT_PROMPT : TEXT_PROMPTS;
    struct text_reader *text = text_open(path, mode, options->language);
    json_t *header = make_header(options, tokenizer, &config);
    packer->tokenizer = tokenizer;
    packer->writer = stream_create(options->output, options->gzip, header);
    msgpack_sbuffer_init(&packer->buffer);
    if (options->sample)
        packer->sample = sentence_sample_new((size_t)options->sample, options->seed);

    tokenize(packer, text);
    warn_of_prose(packer, input_name(text_input(text)));

    json_t *counts = make_counts(packer);
    text_close(text); /* which may fail: before there is a trailer */
    stream_finish(packer->writer, counts);
    json_decref(counts);
    json_decref(header);
    msgpack_sbuffer_destroy(&packer->buffer);
    batch_free(&packer->batch);
    if (packer->sample)
        sentence_sample_free(packer->sample);
    tokenizer_free(tokenizer);
    config_free(&config);
}

int main(int argc, char **argv)
{
    struct options options = {.name = "text", .batch = 512, .max_length = 4096, .seed = 1,
                              .limit = OPTION_NO_LIMIT, .to = OPTION_NO_LIMIT};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "mode", "MODE", "lines: a sentence a line (default); wikitext; raw: any plain text",
         OPTION_CHOICE, &options.mode, 0, 0, mode_words},
        {0, "language", "CODE", "of --mode raw: whose abbreviations end no sentence (default: en)",
         OPTION_TEXT, &options.language, 0, 0, NULL},
        {0, "prompt", NULL, "each line is a prompt, as it is, whose last token is read, too", OPTION_FLAG,
         &options.prompt, 0, 0, NULL},
        {0, "whole", NULL, "with --prompt: all of the text is one prompt", OPTION_FLAG, &options.whole, 0, 0,
         NULL},
        {0, "name", "NAME", "the corpus' name, for the stream's header (default: text)", OPTION_TEXT,
         &options.name, 0, 0, NULL},
        {0, "bos", "TOKEN", "what is read before each sentence, or none (default: as the model has it)",
         OPTION_TEXT, &options.bos, 0, 0, NULL},
        {0, "batch", "N", "positions in a batch (default 512)", OPTION_NUMBER, &options.batch, 1,
         MAX_BATCH_POSITIONS, NULL},
        {0, "max-length", "N", "tokens that a sentence may have (default 4096)", OPTION_NUMBER,
         &options.max_length, 1, MAX_SENTENCE_TOKENS, NULL},
        {0, "long", "WHAT", "longer sentences: error (default), truncate or skip; the trailer counts them",
         OPTION_CHOICE, &options.long_sentences, 0, 0, long_words},
        {0, "limit", "N", "stop after N sentences", OPTION_NUMBER, &options.limit, 1, INT64_MAX, NULL},
        {0, "sample", "N", "take only N random sentences of all these, in their order", OPTION_NUMBER,
         &options.sample, 1, MAX_SAMPLE_SENTENCES, NULL},
        OPTION_SEED(&options.seed),
        {0, "from", "N", "take only batches that begin at sentence N (from 0) or later", OPTION_NUMBER,
         &options.from, 0, 0, NULL},
        {0, "to", "N", "take only batches that begin before sentence N", OPTION_NUMBER, &options.to, 0, 0,
         NULL},
        OPTION_SHARD(&options.shard, "batch"),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"tokenize", "Turns text into a stream of token batches.", "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    struct packer packer = {.options = &options, .coverage = coverage_begin(options.shard)};
    if (options.from >= options.to)
        die_usage("--from %llu --to %llu: no sentence lies between", (unsigned long long)options.from,
                  (unsigned long long)options.to);
    check_prompt(&options);
    check_language(&options);
    if (!options.model)
        die_usage("--model DIR is needed: it has the tokenizer");

    run(&packer, cli_input(argc, argv, first));
    return STATUS_DONE;
}
