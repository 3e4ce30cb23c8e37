/*
 * Counts that add up, and those that trailers pass on from stage to stage: sentences, tokens,
 * unknown, truncated, skipped, as ffkv-stream(5) has them.
 */
#ifndef FFKV_COUNTS_H
#define FFKV_COUNTS_H

#include "base/limits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What trailers pass on as it is, see coverage.h: which batches of which text the stream covers, */
#define COVERAGE_BATCHES "batches"
#define COVERAGE_RANGES "covers"
#define COVERAGE_TEXT "text"
/* and, where it has not all keys or values, which blocks of which. */
#define COVERAGE_KEY_BLOCKS "key_blocks"
#define COVERAGE_KEY_RANGES "key_covers"
#define COVERAGE_KEYS "key_hash"

/* Adds to a count; both are at most MAX_COUNT, and so must the sum be, or the program ends. */
void count_add(uint64_t *sum, uint64_t more);

/* The name of one of a trailer's counts that is not from 0 to MAX_COUNT; NULL: all are. */
const char *counts_wrong(const json_t *trailer);

/* Ends the program where these counts are of no sentence; name: where they are from. */
void counts_need_sentences(const json_t *counts, const char *name);

/* Adds each of the counts that trailers pass on to sums. */
void counts_add(json_t *sums, const json_t *trailer);

/* Whether two trailers pass on the same counts, and the same of the corpus. */
bool counts_equal(const json_t *a, const json_t *b);

/* Puts these counts into a trailer, and what they say of the corpus: what coverage.h adds to them. */
void counts_pass(json_t *trailer, const json_t *counts);

#endif
