/*
 * What a stream has of a whole that is divided among runs: units of work, such as the batches of a text,
 * which have numbers from 0. A run is given some by --shard I/N, and its trailer says which, of how many,
 * of what: a hash of all units, also of those that others take. merging.h checks it; ffkv-stream(5)
 * defines the trailer's members.
 */
#ifndef FFKV_COVERAGE_H
#define FFKV_COVERAGE_H

#include "base/hash.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- numbers of units ---- */

/* The units first, first + step, ... below end, as Python's range has them. */
struct progression {
    uint64_t first, end, step;
};

/* The shortest way to write the same: end is behind the last one, and the step of a single one is 1. */
struct progression progression_normal(struct progression progression);

/* How many units these are. */
uint64_t progression_count(struct progression progression);

/* The lowest unit that is in both; false: none. No number is above 2^63. */
bool progression_meets(struct progression a, struct progression b, uint64_t *common);

bool progression_has(struct progression progression, uint64_t unit);

/* False unless list is [first, end, step] with first below end and end at most units. */
bool progression_read(const json_t *list, int64_t units, struct progression *progression);

/* ---- in trailers ---- */

/* What is divided, for trailers and messages. */
struct whole {
    const char *units, *covers, *hash; /* members: how many units there are, which, and the hash of all */
    const char *name, *unit, *unit_plural;
    const char *another;               /* "another text than that" */
    const char *maker;                 /* the tool that begins with it */
    bool always;                       /* a run without shards says so, too; else it lacks the members */
};
extern const struct whole whole_corpus; /* its batches: tokenize makes them, and each stage passes this on */
extern const struct whole whole_keys;   /* blocks of a triggers stream's records, or of a model's values */

/* Members of a trailer: the units, of how many, of what has this hash. No unit: count is 0. */
void coverage_put(json_t *counts, const struct whole *whole, const struct progression *covered, size_t count,
                  uint64_t units, const char *hash);

/* Takes these members away. */
void coverage_remove(json_t *counts, const struct whole *whole);

/*
 * Reads a stream of keys or values to its end, and ends the program where it is a shard of them, naming
 * which: for readers that need all. They call it at the end, and where a key that should come does not.
 */
void coverage_need_all_keys(struct stream_reader *reader);

/* ---- a run ---- */

/* Unit after unit, in order. */
struct coverage {
    uint64_t shard, shards;
    uint64_t units;            /* so far, taken or not */
    struct progression taken;  /* of these */
    struct hash *hash;         /* of these: hash_add for each */
};

#define OPTION_SHARD(pointer, units) \
    {0, "shard", "I/N", "take every Nth " units ", from the Ith (from 0) on", OPTION_TEXT, \
     pointer, 0, 0, NULL}

/* shard: of --shard; NULL: the run has all. What is not I/N ends the program with status 2. */
struct coverage coverage_begin(const char *shard);

/*
 * Counts a unit; whether the run has it. wanted: whether it may. What is taken comes one every so
 * many: what is not wanted lies before or behind all that is.
 */
bool coverage_take(struct coverage *coverage, bool wanted);

/* Puts it into the counts of a trailer, and frees it. */
void coverage_end(struct coverage *coverage, const struct whole *whole, json_t *counts);

#endif
