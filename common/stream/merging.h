/*
 * The frame of every merge, and what it checks of its inputs, the streams of shards: that their
 * headers are equal, that they are of the same whole (coverage.h), a text or the keys of one, that
 * no unit of it is in two of them, and that each is in one. Trailers say which units a stream
 * covers.
 */
#ifndef FFKV_MERGING_H
#define FFKV_MERGING_H

#include "stream/coverage.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records of an input that are in one order, that of the corpus or of keys, and before all others. */
struct listed {
    void *records;        /* NULL: there are none left, and the input was read to its end */
    size_t count;         /* of what they list, for example predictions */
    uint64_t first, last; /* the numbers of the sentences, or keys, that these are of */
};

/* What a merge does with its inputs. Each function is given merge, the caller's. */
struct merge_work {
    const char *kind;          /* of the inputs; NULL: any, that of the first */
    const struct whole *whole; /* that they are shards of */
    bool is_lone_right;        /* a single input need not say what it covers, as one's own may not */

    /* Before any other, with the first input, of which nothing but the header was read; or NULL. */
    void (*begin)(void *merge, struct stream_reader *first);

    /* Reads an input to its end: one after the other, each closed before the next but for the first. */
    void (*read)(void *merge, struct stream_reader *input);

    /* Instead of read: reads all of the count inputs, which are open at once, to their ends. */
    void (*read_all)(void *merge, struct stream_reader *const *inputs, size_t count);

    /*
     * Instead of read, where the result has a list: reads what an input lists next, so_far being
     * how much that was, or the rest; and takes that of all inputs in order, to free its records.
     * An input's numbers rise, and none is in two inputs; name is the text, which is freed, of one for
     * messages: NULL, those are sentences. All inputs are open at once.
     */
    struct listed (*next)(void *merge, struct stream_reader *input, uint64_t so_far);
    void (*take)(void *merge, const struct listed *listed);
    char *(*name)(const void *merge, uint64_t number);

    /* The result: its header is that of the first input, counts are for its trailer. */
    void (*end)(void *merge, const struct stream_reader *first, const json_t *counts);
};

/*
 * Merges the inputs (paths, "-": standard input). Ends the program unless all headers are equal, and
 * unless the trailers say that all inputs are of one whole, and that each of its units is in one
 * of them: in none is allowed if partial.
 */
void merge_inputs(const struct merge_work *work, char **paths, size_t count, bool partial, void *merge);

#endif
