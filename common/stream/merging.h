/*
 * What every merge checks of its inputs, the streams of a corpus' shards: that their headers
 * are equal, that they are of the same text, that no batch of it is in two of them, and that
 * each is in one. Trailers say which batches a stream covers; ffkv-stream(5) defines how.
 */
#ifndef FFKV_MERGING_H
#define FFKV_MERGING_H

#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The batches first, first + step, ... below end, as Python's range has them. */
struct progression {
    uint64_t first, end, step;
};

/* The shortest way to write the same: end is behind the last one, and the step of a single one is 1. */
struct progression progression_normal(struct progression progression);

/* How many batches these are. */
uint64_t progression_count(struct progression progression);

/* The lowest batch that is in both; false: none. No number is above 2^63. */
bool progression_meets(struct progression a, struct progression b, uint64_t *common);

/* Members of a trailer: the batches, of how many, of the text with this hash. No batch: count is 0. */
void coverage_put(json_t *counts, const struct progression *covered, size_t count, uint64_t batches,
                  const char *text);

struct merging;

/* Of streams of this kind; paths ("-": standard input) and kind stay the caller's, until merging_free. */
struct merging *merging_new(const char *kind, char **paths, size_t count);

/* Closes what is open. */
void merging_free(struct merging *merging);

/*
 * Opens the next input; NULL: there is none left. Ends the program unless its header is that of
 * the first. The first stays open as long as the merging, for its header and for messages.
 */
struct stream_reader *merging_next(struct merging *merging);
struct stream_reader *merging_first(const struct merging *merging);

/* Closes an input that was read to its end, unless it is the first. */
void merging_close(struct merging *merging, struct stream_reader *reader);

/*
 * Adds what the trailer of an input says, which was read to its end: its counts, and what it
 * covers. Ends the program when the input does not say it, when it is of another text, and when
 * a batch is in another input as well. Inputs of which this is not asked need not be of a corpus.
 */
void merging_add(struct merging *merging, const struct stream_reader *reader);

/*
 * The counts for the trailer of the result, until merging_free. Ends the program when batches
 * are in none of the inputs, unless partial allows that.
 */
const json_t *merging_counts(struct merging *merging, bool partial);

#endif
