/*
 * The frame of every merge, and what it checks of its inputs, the streams of a corpus' shards:
 * that their headers are equal, that they are of the same text, that no batch of it is in two
 * of them, and that each is in one. Trailers say which batches a stream covers;
 * ffkv-stream(5) defines how.
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

/* Records of an input that are in the order of the corpus, and before all others. */
struct listed {
    void *records;        /* NULL: there are none left, and the input was read to its end */
    size_t count;         /* of what they list, for example predictions */
    uint64_t first, last; /* the sentences that these are of */
};

/* What a merge does with its inputs. Each function is given merge, the caller's. */
struct merge_work {
    const char *kind; /* of the inputs and of the result */
    bool of_keys;     /* shards are of different keys, not parts of the corpus: trailers are not looked at */

    /* Before any other, with the first input, of which nothing but the header was read; or NULL. */
    void (*begin)(void *merge, struct stream_reader *first);

    /* Reads an input to its end: one after the other, each closed before the next but for the first. */
    void (*read)(void *merge, struct stream_reader *input);

    /*
     * Instead of read, where the result has a list: reads what an input lists next, so_far being
     * how much that was, or the rest; and takes that of all inputs in the order of the corpus, to
     * free its records. No sentence is in two inputs. All of them are open at once.
     */
    struct listed (*next)(void *merge, struct stream_reader *input, uint64_t so_far);
    void (*take)(void *merge, const struct listed *listed);

    /* The result: its header is that of the first input, counts are for its trailer (of_keys: NULL). */
    void (*end)(void *merge, const struct stream_reader *first, const json_t *counts);
};

/*
 * Merges the inputs (paths, "-": standard input). Ends the program unless all headers are equal, and
 * unless the trailers say that all inputs are of one text, and that each of its batches is in one
 * of them: in none is allowed if partial.
 */
void merge_inputs(const struct merge_work *work, char **paths, size_t count, bool partial, void *merge);

#endif
