/*
 * model-info: whether a model is supported, what it is, and what an experiment with it would take.
 *
 * Each part of a model, its settings, its files, its weights, its tokenizer, is read as the other tools read
 * it, in a process of its own: what they would refuse is told in their words, and the other parts as well.
 * Weights are read whole only where they are few, or on demand.
 */
#include "analysis/cost.h"
#include "base/attempt.h"
#include "base/cli.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/memory_text.h"
#include "base/messages.h"
#include "base/output.h"
#include "formats/gguf.h"
#include "model/config_facts.h"
#include "model/model.h"
#include "model/weights.h"
#include "numeric/matrix.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Weights of so many bytes, as 32-bit floats, are read whole: it takes about a second. */
static const double FEW_BYTES = 1e9;

struct options {
    const char *output;
    bool json, whole;
    uint64_t tokens, top, threads;
    double rate;
    int products;
};

/* A model, and what is known of it so far. */
struct inquiry {
    const struct options *options;
    const char *path;
    json_t *facts;       /* an object of the parts that are known */
    json_t *refused;     /* {part: message} */
};

/* ---- the parts, each in a process of its own ---- */

static json_t *settings_part(const void *context)
{
    const struct inquiry *inquiry = context;
    struct model_config config = model_config_read(inquiry->path);
    json_t *facts = config_facts(&config);
    config_free(&config);
    return facts;
}

static json_t *files_part(const void *context)
{
    const struct inquiry *inquiry = context;
    struct weights *weights = weights_open(inquiry->path);
    struct weights_summary summary = weights_summarize(weights);
    json_t *types = json_make("{}"), *tensors = json_make("{}");
    for (size_t i = 0; i < summary.type_count; i++) {
        json_put(types, summary.type[i].name, json_integer((json_int_t)summary.type[i].bytes));
        json_put(tensors, summary.type[i].name, json_integer((json_int_t)summary.type[i].tensors));
    }
    json_t *facts = json_make("{s:s, s:I, s:I, s:o, s:o}", "format",
                              is_gguf(inquiry->path) ? "GGUF" : "safetensors", "count",
                              (json_int_t)summary.files, "all_bytes", (json_int_t)summary.bytes, "tensors",
                              tensors, "weights_bytes", types);
    free(summary.type);
    weights_close(weights);
    return facts;
}

static json_t *described_part(const void *context)
{
    const struct inquiry *inquiry = context;
    matrix_start(1, (enum product_kind)inquiry->options->products);
    struct model *model = model_describe(inquiry->path);
    size_t copied = model_outer_bytes(model).copied + model_output_bytes(model).copied;
    for (size_t i = 0; i < model->config.layers; i++)
        copied += model_layer_bytes(model, i).copied;
    model_free(model);
    return json_make("{s:I}", "copied_bytes", (json_int_t)copied);
}

static json_t *whole_part(const void *context)
{
    const struct inquiry *inquiry = context;
    struct model *model = model_load(inquiry->path);
    for (size_t i = 0; i < model->config.layers; i++) {
        model_layer_ready(model, i, LAYER_ALL);
        model_layer_release(model, i);
    }
    json_t *facts = json_make("{s:s}", "id", model->id);
    model_free(model);
    return facts;
}

static json_t *tokenizer_part(const void *context)
{
    const struct inquiry *inquiry = context;
    struct model_config config = model_config_read(inquiry->path);
    struct tokenizer *tokenizer = tokenizer_read(&config);
    struct candidates candidates = tokenizer_candidates(tokenizer, &config);
    json_t *facts = json_make("{s:s, s:I, s:I}", "kind", tokenizer_kind(tokenizer), "tokens",
                              (json_int_t)tokenizer_size(tokenizer), "can_follow",
                              (json_int_t)candidates.count);
    json_t *header = tokenizer_json(tokenizer, &config, tokenizer_bos(tokenizer, &config));
    json_object_del(header, "vocabulary"); /* which the settings have */
    json_object_update(facts, header);
    json_decref(header);
    candidates_free(&candidates);
    tokenizer_free(tokenizer);
    config_free(&config);
    return facts;
}

/* A member of a part, a number; 0 where it is not known. */
static double known_number(const struct inquiry *inquiry, const char *part, const char *name)
{
    return json_number_value(json_object_get(json_object_get(inquiry->facts, part), name));
}

static json_t *cost_part(const void *context)
{
    const struct inquiry *inquiry = context;
    const struct options *options = inquiry->options;
    double rate = 1e9 * options->rate;
    matrix_start(1, (enum product_kind)options->products);
    struct model *model = model_describe(inquiry->path);
    if (!(rate > 0))
        rate = cost_measure_rate(&model->config, weights_have_bfloats(model->weights));
    json_t *facts = cost_estimate(&(struct cost_case){
        .config = &model->config, .memory = memory_of_model(model), .tokens = options->tokens,
        .top = options->top, .threads = options->threads, .rate = rate});
    model_free(model);
    return facts;
}

/* ---- putting them together ---- */

/* Whether the part is known now. */
static bool find_out(struct inquiry *inquiry, const char *part, json_t *(*work)(const void *context))
{
    char *message;
    json_t *facts = attempt(work, inquiry, &message);
    if (facts && json_object_get(inquiry->facts, part)) {
        json_object_update(json_object_get(inquiry->facts, part), facts);
        json_decref(facts);
    } else if (facts) {
        json_put(inquiry->facts, part, facts);
    } else {
        json_put(inquiry->refused, part, json_readable(message));
        free(message);
    }
    return facts;
}

/* The weights; and what the files have when they are read whole, where they are few or that is asked for. */
static void find_weights(struct inquiry *inquiry)
{
    if (!find_out(inquiry, "weights", described_part))
        return;
    double bytes = known_number(inquiry, "files", "all_bytes")
                 + known_number(inquiry, "weights", "copied_bytes");
    json_put(json_object_get(inquiry->facts, "weights"), "id", json_null());
    if (inquiry->options->whole || bytes <= FEW_BYTES)
        find_out(inquiry, "weights", whole_part);
}

static void find_all(struct inquiry *inquiry)
{
    bool settings = find_out(inquiry, "settings", settings_part);
    bool files = find_out(inquiry, "files", files_part);
    if (settings && files)
        find_weights(inquiry);
    if (settings)
        find_out(inquiry, "tokenizer", tokenizer_part);
    if (settings && files && !json_object_get(inquiry->refused, "weights"))
        find_out(inquiry, "cost", cost_part);
}

static void write_answer(const struct inquiry *inquiry)
{
    json_t *answer = json_make("{s:o, s:b}", "model", json_readable(inquiry->path), "supported",
                               json_object_size(inquiry->refused) == 0);
    char *text;
    size_t length;
    FILE *out = memory_text_open(&text, &length);
    json_object_update(answer, inquiry->facts);
    if (json_object_size(inquiry->refused) || inquiry->options->json)
        json_put(answer, "refused", json_incref(inquiry->refused));
    if (inquiry->options->json) {
        char *line = json_line(answer);
        fprintf(out, "%s\n", line);
        free(line);
    } else {
        json_print_lines(out, answer);
    }
    memory_text_close(out);
    struct output *output = output_open(inquiry->options->output, OUTPUT_TEXT);
    output_write(output, text, length);
    output_finish(output);
    free(text);
    json_decref(answer);
}

/* One line, however many parts are refused. */
static void say_refused(const struct inquiry *inquiry)
{
    char *all = copy_string("");
    const char *part;
    json_t *message;
    json_object_foreach(inquiry->refused, part, message) {
        if (strstr(all, json_string_value(message)))
            continue; /* several parts may be in one file */
        char *longer = format_string("%s%s%s", all, *all ? "; and " : "", json_string_value(message));
        free(all);
        all = longer;
    }
    message_warn("%s", all);
    free(all);
}

int main(int argc, char **argv)
{
    struct options options = {.tokens = 1000000, .top = 50, .threads = cli_threads()};
    const struct option_spec specs[] = {
        {0, "tokens", "N", "estimate memory and time for a text of N tokens (default 1000000)", OPTION_NUMBER,
         &options.tokens, 1, INT64_MAX, NULL},
        {0, "top", "N", "for N triggers a key (default 50)", OPTION_NUMBER, &options.top, 1, MAX_TRIGGERS,
         NULL},
        {0, "threads", "N", "for so many threads (default: the processors there are)", OPTION_NUMBER,
         &options.threads, 1, MAX_THREADS, NULL},
        {0, "rate", "G", "take 10^9 G operations a second of a thread, and measure nothing", OPTION_REAL,
         &options.rate, 0, 0, NULL},
        OPTION_PRODUCTS(&options.products),
        {0, "whole", NULL, "read all of the weights, however many: their id, and whether any is damaged",
         OPTION_FLAG, &options.whole, 0, 0, NULL},
        {0, "json", NULL, "write a JSON object on one line, for programs", OPTION_FLAG, &options.json, 0, 0,
         NULL},
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"model-info",
                              "Tells whether a model is supported, what it is, and what it takes.", "MODEL",
                              specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (first == argc)
        die_usage("no model given; try '%s --help'", program_name());
    struct inquiry inquiry = {&options, argv[first], json_make("{}"), json_make("{}")};
    find_all(&inquiry);
    write_answer(&inquiry);
    bool supported = json_object_size(inquiry.refused) == 0;
    if (!supported)
        say_refused(&inquiry);
    json_decref(inquiry.facts);
    json_decref(inquiry.refused);
    return supported ? STATUS_DONE : STATUS_FAILED;
}
