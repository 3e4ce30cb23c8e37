#include "report/trace_page.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "report/page.h"
#include "stream/records.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *example_texts(const struct tokenizer *tokenizer, const struct examples *examples, size_t layer,
                      size_t cell)
{
    size_t count;
    const struct example *example = examples_of(examples, layer, cell, &count);
    json_t *texts = json_make("[]");
    for (size_t i = 0; i < count; i++) {
        char *end = tokenizer_text(tokenizer, examples->token + example[i].start, example[i].length);
        char *text = format_string("%s%s", example[i].cut ? "\xe2\x80\xa6" : "", end);
        json_add(texts, json_make("s", text));
        free(text);
        free(end);
    }
    return texts;
}

/* A token's number; its text is on the page then. */
static json_t *token_json(struct trace_page *page, uint32_t token)
{
    char name[16];
    snprintf(name, sizeof name, "%u", token);
    if (token != NO_TOKEN && !json_object_get(page->tokens, name))
        json_put(page->tokens, name, token_texts_json(&page->texts, token));
    return token == NO_TOKEN ? json_null() : json_integer((json_int_t)token);
}

static json_t *tokens_json(struct trace_page *page, const uint32_t *token, size_t count)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, token_json(page, token[i]));
    return list;
}

/* Pairs of a token and its probability. */
static json_t *distribution_json(struct trace_page *page, const struct trace *trace, int vector, size_t cell)
{
    const uint32_t *token = trace_tokens(trace, vector, cell);
    const float *probability = trace_probabilities(trace, vector, cell);
    json_t *list = json_make("[]");
    for (size_t i = 0; i < trace->tops; i++)
        json_add(list, json_make("[o, f]", token_json(page, token[i]), (double)probability[i]));
    return list;
}

static json_t *real_json(double real)
{
    return isnan(real) ? json_null() : json_make("f", real);
}

/* The value of a memory, once for the page. */
static void add_value(struct trace_page *page, const struct trace *trace, size_t layer, size_t cell)
{
    size_t value = trace_value_index(trace, layer, cell) * trace->tops;
    char *name = format_string("%zu.%zu", layer_shown(layer), cell);
    if (!json_object_get(page->values, name))
        json_put(page->values, name,
                 json_make("[o, o, o]", tokens_json(page, trace->value_top + value, trace->tops),
                           tokens_json(page, trace->value_bottom + value, trace->tops),
                           example_texts(page->tokenizer, page->examples, layer, cell)));
    free(name);
}

static json_t *memories_json(struct trace_page *page, const struct trace *trace, size_t cell)
{
    size_t layer = cell / trace->rows, count = trace->memories ? trace->memory_count[cell] : 0;
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count && i < PAGE_MEMORIES; i++) {
        const struct trace_memory *memory = &trace->memory[cell * trace->memories + i];
        add_value(page, trace, layer, memory->cell);
        json_add(list, json_make("[I, f, f, o]", (json_int_t)memory->cell, (double)memory->coefficient,
                                 memory->share, real_json(memory->logit)));
    }
    return list;
}

static json_t *cell_json(struct trace_page *page, const struct trace *trace, size_t cell)
{
    return json_make("[i, o, o, o, o, o]", trace_case(trace, cell), real_json(trace->ffn_logit[cell]),
                     distribution_json(page, trace, TRACE_RESIDUAL, cell),
                     distribution_json(page, trace, TRACE_FFN, cell),
                     distribution_json(page, trace, TRACE_OUTPUT, cell), memories_json(page, trace, cell));
}

static json_t *row_json(struct trace_page *page, const struct trace *trace, const uint32_t *tokens,
                        size_t row)
{
    json_t *layers = json_make("[]");
    for (size_t layer = 0; layer < trace->layers; layer++)
        json_add(layers, cell_json(page, trace, layer * trace->rows + row));
    uint32_t position = trace->position[row];
    return json_make("[I, o, o, o]", (json_int_t)position,
                     token_json(page, read_token(&trace->tokens, tokens, position)),
                     token_json(page, trace->final[row]), layers);
}

struct trace_page trace_page_open(const char *path, const struct tokenizer *tokenizer,
                                  const struct examples *examples, size_t vocabulary)
{
    return (struct trace_page){.output = output_open(path, OUTPUT_TEXT),
                               .tokenizer = tokenizer, .examples = examples,
                               .texts = token_texts_new(tokenizer, vocabulary), .prompts = json_make("[]"),
                               .tokens = json_make("{}"), .values = json_make("{}")};
}

void trace_page_add(struct trace_page *page, const struct trace *trace)
{
    page->positions += trace->rows;
    if (page->positions > PAGE_POSITIONS)
        die("the page would have more than %d positions, too many for a browser: give it fewer prompts",
            PAGE_POSITIONS);
    const uint32_t *tokens = trace->tokens.token;
    for (size_t s = 0, row = 0; s < trace->tokens.sentences; tokens += trace->tokens.length[s++]) {
        json_t *positions = json_make("[]");
        for (; row < trace->rows && trace->sentence[row] == s; row++)
            json_add(positions, row_json(page, trace, tokens, row));
        json_add(page->prompts,
                 json_make("[I, o]", (json_int_t)batch_sentence(&trace->tokens, s), positions));
    }
}

void trace_page_finish(struct trace_page *page, struct span template, json_t *facts)
{
    json_put(facts, "prompts", page->prompts);
    json_put(facts, "tokens", page->tokens);
    json_put(facts, "values", page->values);
    page_write(page->output, template, facts, 5);
    json_decref(facts);
    token_texts_free(&page->texts);
    *page = (struct trace_page){0};
}
