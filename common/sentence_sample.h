/*
 * A seeded sample of a corpus' sentences, and random prefixes from it: what to
 * compare a key's prefixes with.
 */
#ifndef FFKV_SENTENCE_SAMPLE_H
#define FFKV_SENTENCE_SAMPLE_H

#include "prefixes.h"
#include "stream.h"

#include <stddef.h>
#include <stdint.h>

struct sentence_sample;

/*
 * Reads the tokens stream at path (NULL: standard input), whose tokens must be those
 * of the stream like, and keeps the sentences of the lowest random numbers, which
 * are functions of seed and sentence only. A stream without a sentence ends the program.
 */
struct sentence_sample *sentence_sample_read(const char *path, const struct stream_reader *like, size_t vocabulary,
                                             uint64_t seed);
void sentence_sample_free(struct sentence_sample *sample);

/*
 * For each of a key's prefixes the first tokens, as many, of a random sentence that
 * has more, and that none of the key's others is of as long as there is one. Where
 * none is long enough it is the longest one, of which no more is taken than it has.
 * A function of seed, layer and cell. Free with prefixes_free.
 */
struct prefixes sentence_sample_prefixes(struct sentence_sample *sample, size_t layer, size_t cell,
                                         const struct prefixes *of_key);

#endif
