/*
 * generate: a prompt in, the text that the model goes on with out.
 *
 * A token is chosen, written, and read as the next one, at a time: the keys and values of attention are kept,
 * so that it costs one position. Edits are made at all positions, those of the prompt among them.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "base/output.h"
#include "base/team.h"
#include "model/decoding.h"
#include "model/end_tokens.h"
#include "model/projection.h"
#include "model/sampling.h"
#include "numeric/matrix.h"
#include "stream/records.h"
#include "table/table.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *model, *output, *steps;
    struct edit_options edits;
    struct sampling sampling;
    uint64_t tokens, top_k, threads;
    bool sample, all_tokens;
};

struct generation {
    const struct options *options;
    struct model *model;
    struct tokenizer *tokenizer;
    struct end_tokens ends;
    struct candidates candidates;
    struct edits *edits; /* NULL: the model as it is */
    struct output *output;
    struct table *steps; /* NULL: they are not asked for */
};

/* ---- the prompt ---- */

/* A prompt with its length, which the caller frees. */
struct prompt {
    char *bytes;
    size_t length;
};

/* Standard input, without the end of its last line. */
static struct prompt read_prompt(void)
{
    struct prompt prompt = {.bytes = new_array(MAX_PROMPT_BYTES + 1, 1)};
    struct input *input = input_open(NULL);
    input_expect(input, "a prompt");
    prompt.length = input_read(input, prompt.bytes, MAX_PROMPT_BYTES + 1);
    if (prompt.length > MAX_PROMPT_BYTES)
        die("%s: a prompt of more than %d bytes", input_name(input), MAX_PROMPT_BYTES);
    input_close(input);
    if (prompt.length && prompt.bytes[prompt.length - 1] == '\n')
        prompt.length--;
    return prompt;
}

static struct prompt get_prompt(const char *operand)
{
    return operand ? (struct prompt){copy_string(operand), strlen(operand)} : read_prompt();
}

/* Ends the program where the model cannot read so many tokens, of which count are the prompt's. */
static void check_length(const struct generation *generation, uint32_t bos, size_t count)
{
    const struct model_config *config = &generation->model->config;
    uint64_t room = config->context && config->context < MAX_SENTENCE_TOKENS ? config->context
                                                                             : MAX_SENTENCE_TOKENS;
    uint64_t read = count + (bos != NO_TOKEN) + generation->options->tokens - 1; /* not the last one */
    if (!count && bos == NO_TOKEN)
        die("%s has no token to begin a text with: give a prompt", config->path);
    if (read > room)
        die("the prompt has %zu tokens: with --tokens %llu, %s is to read %llu, but it can attend to %llu",
            count, (unsigned long long)generation->options->tokens, config->path, (unsigned long long)read,
            (unsigned long long)room);
}

/* ---- the text ---- */

static void write_token(const struct generation *generation, uint32_t token, bool first)
{
    const char *joint = first ? "" : tokenizer_joint(generation->tokenizer);
    size_t length;
    char *bytes = tokenizer_bytes(generation->tokenizer, &token, 1, &length);
    output_write(generation->output, joint, strlen(joint));
    output_write(generation->output, bytes, length);
    output_flush(generation->output);
    free(bytes);
}

static void note_token(const struct generation *generation, uint32_t token, const float *log_probabilities)
{
    table_number(generation->steps, token);
    table_own_text(generation->steps, tokenizer_text(generation->tokenizer, &token, 1));
    table_real(generation->steps, (double)log_probabilities[token]);
}

static uint32_t choose(const struct generation *generation, const float *log_probabilities, uint64_t step)
{
    const struct candidates *candidates = &generation->candidates;
    uint32_t top = (uint32_t)projection_top(log_probabilities, candidates);
    uint32_t token = !generation->options->sample ? top
        : sample_token(&generation->options->sampling, log_probabilities, candidates, step);
    if (generation->steps) {
        table_number(generation->steps, step + 1);
        note_token(generation, token, log_probabilities);
        note_token(generation, top, log_probabilities);
    }
    return token;
}

static void generate(struct generation *generation, struct decoder *decoder, const uint32_t *tokens,
                     size_t count, bool empty)
{
    const float *log_probabilities = decoder_read(decoder, tokens, count);
    for (uint64_t step = 0;;) {
        uint32_t token = choose(generation, log_probabilities, step);
        if (is_end_token(&generation->ends, token))
            return;
        write_token(generation, token, empty && !step);
        if (++step == generation->options->tokens)
            return;
        log_probabilities = decoder_read(decoder, &token, 1);
    }
}

static void run(struct generation *generation, const struct prompt *prompt)
{
    uint32_t *tokens = NULL, bos = tokenizer_bos(generation->tokenizer, &generation->model->config);
    size_t capacity = 0;
    size_t count = tokenizer_encode_text(generation->tokenizer, (struct span){prompt->bytes, prompt->length},
                                         &tokens, &capacity);
    check_length(generation, bos, count);
    struct team *team = team_new((size_t)generation->options->threads);
    size_t most = count + (size_t)generation->options->tokens;
    struct decoder *decoder = decoder_new(generation->model, bos, most, generation->edits, team);
    output_write(generation->output, prompt->bytes, prompt->length);
    generate(generation, decoder, tokens, count, !prompt->length);
    output_write(generation->output, "\n", 1);
    decoder_free(decoder);
    team_free(team);
    free(tokens);
}

/* ---- main ---- */

/* The tokens that can follow, and those that end the text, as the model's. */
static struct candidates find_candidates(const struct generation *generation)
{
    const struct model_config *config = &generation->model->config;
    if (generation->options->all_tokens)
        return candidates_all(config->vocabulary);
    struct candidates text = tokenizer_candidates(generation->tokenizer, config);
    bool *can_follow = new_array(config->vocabulary, sizeof *can_follow);
    for (size_t r = 0; r < text.range_count; r++)
        for (size_t token = text.range[r].first; token < text.range[r].end; token++)
            can_follow[token] = true;
    for (size_t i = 0; i < generation->ends.count; i++)
        can_follow[generation->ends.token[i]] = true;
    struct candidates all = candidates_new(can_follow, config->vocabulary, config->path);
    candidates_free(&text);
    free(can_follow);
    return all;
}

static struct generation generation_open(const struct options *options)
{
    static const char *const columns[] = {"step", "id", "token", "log_probability", "top", "top_token",
                                          "top_log_probability", NULL};
    struct generation generation = {.options = options, .model = model_load(options->model)};
    const struct model_config *config = &generation.model->config;
    generation.edits = edits_read(&options->edits, generation.model, options->sampling.seed);
    generation.tokenizer = tokenizer_read(config);
    generation.ends = end_tokens_read(config);
    generation.candidates = find_candidates(&generation);
    generation.output = output_open(options->output, OUTPUT_TEXT);
    generation.steps = options->steps ? table_open(options->steps, columns) : NULL;
    return generation;
}

static void generation_close(struct generation *generation, struct options *options)
{
    if (generation->steps)
        table_finish(generation->steps);
    output_finish(generation->output);
    candidates_free(&generation->candidates);
    end_tokens_free(&generation->ends);
    tokenizer_free(generation->tokenizer);
    edits_free(generation->edits, &options->edits);
    model_free(generation->model);
}

static void check_options(struct options *options)
{
    struct sampling *sampling = &options->sampling;
    if (!options->model)
        die_usage("--model DIR is needed");
    if (!options->sample && (options->top_k || sampling->temperature < 1 || sampling->temperature > 1
                             || sampling->top_p < 1))
        die_usage("--temperature, --top-k and --top-p go with --sample");
    if (!(sampling->temperature > 0))
        die_usage("--temperature must be above 0; without --sample the most probable token is taken");
    if (!(sampling->top_p > 0 && sampling->top_p <= 1))
        die_usage("--top-p takes a share above 0, up to 1");
    sampling->top_k = (size_t)options->top_k;
}

int main(int argc, char **argv)
{
    struct options options = {.tokens = 50, .threads = cli_threads(),
                              .sampling = {.temperature = 1, .top_p = 1, .seed = 1}};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "tokens", "N", "write at most N tokens (default 50)", OPTION_NUMBER, &options.tokens, 1,
         MAX_SENTENCE_TOKENS, NULL},
        OPTION_EDIT(&options.edits),
        OPTION_EDITS(&options.edits),
        OPTION_EDIT_WHERE(&options.edits),
        {0, "sample", NULL, "draw each token at random (default: take the most probable one)", OPTION_FLAG,
         &options.sample, 0, 0, NULL},
        {0, "temperature", "X", "of --sample: divide log-probabilities by X (default 1)", OPTION_REAL,
         &options.sampling.temperature, 0, 0, NULL},
        {0, "top-k", "N", "of --sample: draw from the N most probable tokens (default: all)", OPTION_NUMBER,
         &options.top_k, 1, MAX_VOCABULARY, NULL},
        {0, "top-p", "X", "of --sample: draw from the most probable ones that have the share X together "
         "(default 1)", OPTION_REAL, &options.sampling.top_p, 0, 0, NULL},
        OPTION_SEED(&options.sampling.seed),
        {0, "all-tokens", NULL, "choose among all tokens, also special and filler ones, which no text has",
         OPTION_FLAG, &options.all_tokens, 0, 0, NULL},
        {0, "steps", "FILE", "write each token with its log-probability, and the most probable one, as CSV",
         OPTION_OUT_TOO, &options.steps, 0, 0, NULL},
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"generate", "Goes on with a text, as the model does, or the model with edits.",
                              "[PROMPT]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options);
    matrix_start(1); /* a prompt's products; those of one row are the team's */
    struct generation generation = generation_open(&options);
    struct prompt prompt = get_prompt(cli_input(argc, argv, first));
    run(&generation, &prompt);
    free(prompt.bytes);
    generation_close(&generation, &options);
    return STATUS_DONE;
}
