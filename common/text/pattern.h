/*
 * Regular expressions of tokenizers, which are written for Oniguruma in its
 * Ruby syntax, run by PCRE2. What both read alike is taken; what they read
 * differently is put into PCRE2's words, or refused by name.
 */
#ifndef FFKV_PATTERN_H
#define FFKV_PATTERN_H

#include "text/text.h"

#include <stdbool.h>
#include <stddef.h>

struct pattern;

/*
 * Compiles an expression; where ("tokenizer.json: pre_tokenizer") is for
 * messages. Ends the program when it is damaged, is not understood, or could
 * match nothing at all.
 */
struct pattern *pattern_new(const char *expression, const char *where);

/* A pattern that finds just these characters. */
struct pattern *pattern_literal(const char *characters, const char *where);

void pattern_free(struct pattern *pattern);

/* The expression as it was given. */
const char *pattern_expression(const struct pattern *pattern);

/*
 * The first match in text, which is UTF-8, at byte `at` or later; it has one
 * byte at least. ascii: text has no other characters, which is faster. False:
 * none. A search that takes too many steps ends the program.
 */
bool pattern_find(struct pattern *pattern, struct span text, bool ascii, size_t at, struct span *match);

/* Whether a text is of characters below U+0080 only. */
bool is_ascii(struct span text);

#endif
