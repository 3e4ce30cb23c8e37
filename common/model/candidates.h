/*
 * The candidates: tokens that can come next in a text. Special tokens, words that only fill a
 * dictionary up, and rows of the output embedding without a token never do, whatever
 * probability a model gives them; so the most probable token is looked for among the
 * candidates, and ranks count no others. Probabilities stay those of the whole distribution.
 */
#ifndef FFKV_CANDIDATES_H
#define FFKV_CANDIDATES_H

#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Tokens first .. end - 1. */
struct token_range {
    size_t first, end;
};

struct candidates {
    size_t vocabulary, count;
    struct token_range *range; /* range_count, rising; between two there is a token */
    size_t range_count;
};

/* Every token of the vocabulary. */
struct candidates candidates_all(size_t vocabulary);

/*
 * Those tokens of which can_follow (vocabulary) is true. None at all, or more ranges than a header
 * holds, end the program; where is for the message.
 */
struct candidates candidates_new(const bool *can_follow, size_t vocabulary, const char *where);
void candidates_free(struct candidates *candidates);

/* Adds them to a header, and to a stage's options whether they are all tokens. */
void header_set_candidates(json_t *header, json_t *options, const struct candidates *candidates);

/* Those of a header; all tokens where it names none. What is no such list ends the program. */
struct candidates header_candidates(const struct stream_reader *reader, size_t vocabulary);

/* Ends the program unless the stream was made with these candidates. */
void header_check_candidates(const struct stream_reader *reader, const struct candidates *candidates);

#endif
