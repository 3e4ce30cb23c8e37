/*
 * trace-prompts: what a model's layers say to a prompt.
 *
 * For each prompt and layer, at its last position or at all: the most probable tokens of the
 * residual r^l, of the feed-forward block's output y^l and of their sum o^l; which of these the layer's
 * prediction is (paper, section 5.2); and the memories that contribute most to y^l, each with what its
 * value promotes, its best triggers, and what it adds to the logit of the model's final token. As tables,
 * as a stream, and as one HTML page, tools/trace-prompts.html. analysis/trace.h has the work.
 */
#include "analysis/examples.h"
#include "analysis/trace.h"
#include "analysis/trace_records.h"
#include "base/cli.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "numeric/matrix.h"
#include "report/embedded.h"
#include "report/page_links.h"
#include "report/trace_page.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "table/table.h"
#include "text/tokenizer.h"

#include <stdlib.h>

EMBEDDED(tools_trace_prompts_html);

enum { POSITIONS_LAST, POSITIONS_ALL };
static const char *const position_words[] = {"last", "all", NULL};
static const char *const case_words[] = {"residual", "ffn", "agreement", "composition"}; /* CASE_ */

struct options {
    const char *model, *output, *memories_table, *stream, *page, *report, *triggers, *list;
    bool all_tokens;
    int positions, norm;
    uint64_t tops, memories, threads;
    int products; /* of enum product_kind */
};

struct tracing {
    const struct options *options;
    struct model *model;
    struct tokenizer *tokenizer;
    struct candidates candidates;
    struct examples examples;
    struct stream_reader *stream;
    struct activations_reader activations;
    struct table *layers, *memories; /* memories NULL: not asked for */
    struct trace_records *records; /* NULL: not asked for */
    char *report; /* its address on the page; NULL: not asked for */
    struct trace_page page;
};

/* ---- tables ---- */

static void put_token(struct table *table, const struct tokenizer *tokenizer, uint32_t token)
{
    table_own_text(table, tokenizer_text(tokenizer, &token, token != NO_TOKEN));
}

/* A list as JSON, in one field. */
static void put_list(struct table *table, json_t *list)
{
    table_own_text(table, json_line(list));
    json_decref(list);
}

static void put_tokens(struct table *table, const struct tokenizer *tokenizer, const uint32_t *token,
                       size_t count)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++) {
        char *text = tokenizer_text(tokenizer, &token[i], 1);
        json_add(list, json_make("s", text));
        free(text);
    }
    put_list(table, list);
}

/* Prompt, position, and the token that is read there; tokens: the prompt's. */
static void put_row(struct table *table, const struct tracing *tracing, const struct trace *trace, size_t row,
                    const uint32_t *tokens)
{
    table_number(table, batch_sentence(&trace->tokens, trace->sentence[row]));
    table_number(table, trace->position[row]);
    put_token(table, tracing->tokenizer, read_token(&trace->tokens, tokens, trace->position[row]));
}

static void write_layer(struct tracing *tracing, const struct trace *trace, size_t layer, size_t row,
                        const uint32_t *tokens)
{
    struct table *table = tracing->layers;
    size_t cell = layer * trace->rows + row;
    for (size_t i = 0; i < trace->tops; i++) {
        put_row(table, tracing, trace, row, tokens);
        table_layer(table, layer);
        table_number(table, i + 1);
        for (int vector = 0; vector < TRACE_VECTORS; vector++) {
            put_token(table, tracing->tokenizer, trace_tokens(trace, vector, cell)[i]);
            table_real(table, (double)trace_probabilities(trace, vector, cell)[i]);
        }
        table_text(table, case_words[trace_case(trace, cell)]);
        put_token(table, tracing->tokenizer, trace->final[row]);
        table_real(table, trace->ffn_logit[cell]);
    }
}

static void write_memory(struct tracing *tracing, const struct trace *trace, size_t layer,
                         const struct trace_memory *memory)
{
    struct table *table = tracing->memories;
    size_t value = trace_value_index(trace, layer, memory->cell) * trace->tops;
    const uint32_t *top = trace->value_top + value, *bottom = trace->value_bottom + value;
    bool promotes = memory->coefficient > 0; /* what its value does; else what that demotes */
    table_number(table, memory->cell);
    table_real(table, (double)memory->coefficient);
    table_real(table, memory->size);
    table_real(table, memory->share);
    table_real(table, memory->logit);
    put_tokens(table, tracing->tokenizer, promotes ? top : bottom, trace->tops);
    put_tokens(table, tracing->tokenizer, promotes ? bottom : top, trace->tops);
    put_list(table, example_texts(tracing->tokenizer, &tracing->examples, layer, memory->cell));
}

static void write_memories(struct tracing *tracing, const struct trace *trace, size_t layer, size_t row,
                           const uint32_t *tokens)
{
    size_t cell = layer * trace->rows + row;
    for (size_t i = 0; i < trace->memory_count[cell]; i++) {
        put_row(tracing->memories, tracing, trace, row, tokens);
        table_layer(tracing->memories, layer);
        table_number(tracing->memories, i + 1);
        write_memory(tracing, trace, layer, &trace->memory[cell * trace->memories + i]);
    }
}

static void write_trace(struct tracing *tracing, const struct trace *trace)
{
    const uint32_t *tokens = trace->tokens.token;
    for (size_t row = 0, s = 0; row < trace->rows; row++) {
        for (; s < trace->sentence[row]; s++)
            tokens += trace->tokens.length[s];
        for (size_t layer = 0; layer < trace->layers; layer++) {
            write_layer(tracing, trace, layer, row, tokens);
            if (tracing->memories)
                write_memories(tracing, trace, layer, row, tokens);
        }
    }
}

/* Standard output last: it may be a pipe that waits for a reader. */
static void open_outputs(struct tracing *tracing, const struct trace_options *wanted)
{
    static const char *const layers[] = {"prompt", "position", "token", "layer", "rank", "residual",
                                         "p_residual", "ffn", "p_ffn", "output", "p_output", "case", "final",
                                         "ffn_logit", NULL};
    static const char *const memories[] = {"prompt", "position", "token", "layer", "rank", "cell",
                                           "coefficient", "size", "share", "logit", "promotes", "demotes",
                                           "triggers", NULL};
    const struct options *options = tracing->options;
    if (options->memories_table)
        tracing->memories = table_open(options->memories_table, memories);
    if (options->stream)
        tracing->records = trace_records_open(options->stream, "trace-prompts", tracing->model,
                                              &tracing->candidates, tracing->stream, wanted);
    if (options->page)
        tracing->page = trace_page_open(options->page, tracing->tokenizer, &tracing->examples,
                                        tracing->model->config.vocabulary);
    tracing->layers = table_open(options->output, layers);
}

/* ---- page ---- */

static json_t *facts_json(const struct tracing *tracing)
{
    const char *id = tracing->model->id;
    return json_make("{s:o, s:s, s:s, s:s, s:s?, s:o?}", "name", model_name_json(tracing->options->model, id),
                     "model", id, "norm", projection_norm_words[tracing->options->norm], "joint",
                     tokenizer_joint(tracing->tokenizer), "report", tracing->report, EDITS_MEMBER,
                     header_edits(tracing->stream));
}

/* ---- main ---- */

/* How many memories must be found. A stream has them where the activations have coefficients. */
static size_t memories_needed(const struct tracing *tracing)
{
    const struct options *options = tracing->options;
    const json_t *arrays = json_object_get(stream_header(tracing->stream), "arrays");
    bool listed = options->memories_table || (options->stream && json_object_get(arrays, "coef"));
    size_t of_page = options->memories < PAGE_MEMORIES ? (size_t)options->memories : PAGE_MEMORIES;
    return listed ? (size_t)options->memories : options->page ? of_page : 0;
}

static void tracing_open(struct tracing *tracing, const char *path)
{
    const struct options *options = tracing->options;
    struct model *model = tracing->model = model_load(options->model);
    projection_norm_check(model, (enum projection_norm)options->norm);
    tracing->candidates = candidates_read(&model->config, options->all_tokens);
    if (options->tops > tracing->candidates.count)
        die_usage("--tops %llu is more than the %zu tokens that can follow",
                  (unsigned long long)options->tops, tracing->candidates.count);
    if (options->report)
        tracing->report = report_address(options->page, options->report, model->id);
    if (options->triggers)
        tracing->examples = examples_read(options->triggers, model, options->list);
    tracing->stream = stream_open_prompts(path, "activations");
    stream_need_sentences(tracing->stream);
    header_check_model(tracing->stream, model);
    if (options->triggers)
        header_check_same_edits(tracing->stream, tracing->examples.edits, "the triggers");
    tracing->tokenizer = tokenizer_open(options->model, tracing->stream);
    tracing->activations = activations_open(tracing->stream);
}

static void tracing_close(struct tracing *tracing)
{
    activations_close(&tracing->activations);
    stream_close(tracing->stream);
    examples_free(&tracing->examples);
    free(tracing->report);
    tokenizer_free(tracing->tokenizer);
    candidates_free(&tracing->candidates);
    model_free(tracing->model);
}

static void run(struct tracing *tracing)
{
    const struct options *options = tracing->options;
    const struct trace_options wanted = {
        .tops = (size_t)options->tops, .memories = memories_needed(tracing),
        .all = options->positions == POSITIONS_ALL, .norm = (enum projection_norm)options->norm,
        .threads = (size_t)options->threads};
    const struct trace *trace;
    struct tracer *tracer =
        tracer_new(tracing->model, &tracing->candidates, &tracing->activations, &wanted);
    open_outputs(tracing, &wanted);
    while ((trace = tracer_next(tracer))) {
        write_trace(tracing, trace);
        if (tracing->records)
            trace_records_add(tracing->records, trace);
        if (options->page)
            trace_page_add(&tracing->page, trace);
    }
    if (options->page)
        trace_page_finish(&tracing->page, EMBEDDED_SPAN(tools_trace_prompts_html), facts_json(tracing));
    if (tracing->records)
        trace_records_finish(tracing->records);
    if (tracing->memories)
        table_finish(tracing->memories);
    table_finish(tracing->layers);
    tracer_free(tracer);
}

static void check_options(const struct options *options)
{
    if (!options->model)
        die_usage("--model DIR is needed");
    if (options->page && options->positions != POSITIONS_ALL)
        die_usage("--page shows every position of a prompt: --positions all goes with it");
    if (options->report && !options->page)
        die_usage("--report is what a page links to: --page goes with it");
    if (options->triggers && !options->memories_table && !options->page)
        die_usage("--triggers shows when memories do: --memories-table or --page goes with it");
    if (options->list && !options->triggers)
        die_usage("--list goes with --triggers");
}

int main(int argc, char **argv)
{
    struct options options = {.tops = 5, .memories = 10, .threads = cli_threads()};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "positions", "WHICH", "trace each prompt's last position (default: last), or all", OPTION_CHOICE,
         &options.positions, 0, 0, position_words},
        {'k', "tops", "N", "tokens listed of each distribution (default 5)", OPTION_NUMBER, &options.tops, 1,
         1000, NULL},
        {0, "norm", "HOW",
         "the final norm on blocks' outputs and values: none (default), its gain only, or full; residuals "
         "and sums always have it",
         OPTION_CHOICE, &options.norm, 0, 0, projection_norm_words},
        {0, "memories", "N", "memories listed of each layer (default 10)", OPTION_NUMBER, &options.memories,
         1, 1000, NULL},
        {0, "memories-table", "FILE", "write the memories that contribute most to FILE", OPTION_OUT_TOO,
         &options.memories_table, 0, 0, NULL},
        {0, "stream", "FILE", "write layers and memories as a stream to FILE", OPTION_OUT_TOO,
         &options.stream, 0, 0, NULL},
        {0, "triggers", "FILE", "show with each memory its best triggers, of this stream", OPTION_IN,
         &options.triggers, 0, 0, NULL},
        OPTION_LIST(&options.list),
        {0, "page", "FILE", "write a page for a browser to FILE; needs --positions all", OPTION_OUT_TOO,
         &options.page, 0, 0, NULL},
        {0, "report", "DIR", "the page's memories link to this report, of report-pages", OPTION_IN,
         &options.report, 0, 0, NULL},
        OPTION_ALL_TOKENS(&options.all_tokens),
        OPTION_PRODUCTS(&options.products),
        OPTION_THREADS(&options.threads),
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"trace-prompts", "Tells what a model's layers and memories say to prompts.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options);
    matrix_start((size_t)options.threads, (enum product_kind)options.products);
    struct tracing tracing = {.options = &options};
    tracing_open(&tracing, cli_input(argc, argv, first));
    run(&tracing);
    tracing_close(&tracing);
    return STATUS_DONE;
}
