/*
 * The triggers of one list of a key, as several shards of the corpus have found them, merged into those
 * that one run would have found: of all the best ones. Lists are sorted, so only what goes into the
 * result is looked at.
 */
#ifndef FFKV_TRIGGER_MERGE_H
#define FFKV_TRIGGER_MERGE_H

#include "stream/records.h"

/* What all lists of a stream have in common. */
struct trigger_merge {
    size_t top;       /* at most that many triggers are kept */
    bool every;       /* several prefixes of a sentence may be triggers of a key; else one */
    bool paths;       /* triggers have the coefficients along their prefixes */
    size_t following; /* tokens behind each one's next */
};

/* The trigger of an input that is also, as its sentence or prefix, one of another: */
struct trigger_twice {
    bool found;
    uint64_t sentence;
    size_t input, other;
};

/*
 * Merges the lists of count inputs, of the same key and rank, to *merged, without counts of coefficients;
 * free with key_triggers_free. What is twice among them is told, for shards of a corpus have nothing
 * in common.
 */
struct trigger_twice trigger_merge(const struct trigger_merge *merge, enum rank rank,
                                   const struct key_triggers *lists, size_t count,
                                   struct key_triggers *merged);

#endif
