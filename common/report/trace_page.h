/* The page of trace-prompts: every position of every prompt, layer by layer, as data for its template. */
#ifndef FFKV_TRACE_PAGE_H
#define FFKV_TRACE_PAGE_H

#include "analysis/examples.h"
#include "analysis/trace.h"
#include "text/token_texts.h"
#include "text/tokenizer.h"

/* What keeps a page small: positions of all its prompts, and memories of a layer at one of these. */
enum { PAGE_POSITIONS = 1000, PAGE_MEMORIES = 5 };

struct trace_page {
    struct output *output;
    const struct tokenizer *tokenizer;
    const struct examples *examples;
    struct token_texts texts;
    json_t *prompts;  /* list; tools/trace-prompts.html tells the form of each */
    json_t *tokens;   /* the texts of tokens that occur, by number */
    json_t *values;   /* by "LAYER.CELL": top and bottom tokens, and texts of triggers */
    size_t positions;
};

/* Opens path, to which nothing is written before trace_page_finish. */
struct trace_page trace_page_open(const char *path, const struct tokenizer *tokenizer,
                                  const struct examples *examples, size_t vocabulary);

/* Adds the prompts of a batch, traced at all positions. More than PAGE_POSITIONS end the program. */
void trace_page_add(struct trace_page *page, const struct trace *trace);

/* The texts of a key's examples, a list. */
json_t *example_texts(const struct tokenizer *tokenizer, const struct examples *examples, size_t layer,
                      size_t cell);

/* Completes it, with facts (taken over), what the page says of model and options. Frees page. */
void trace_page_finish(struct trace_page *page, struct span template, json_t *facts);

#endif
