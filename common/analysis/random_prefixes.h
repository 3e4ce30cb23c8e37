/* Random prefixes of a corpus' sentences: what to compare a key's prefixes with. */
#ifndef FFKV_RANDOM_PREFIXES_H
#define FFKV_RANDOM_PREFIXES_H

#include "analysis/prefixes.h"
#include "stream/stream_reader.h"

#include <stddef.h>
#include <stdint.h>

struct random_prefixes;

/*
 * Reads the tokens stream at path (NULL: standard input), whose tokens must be those of the
 * stream like, and keeps a seeded sample of its sentences. A stream without a sentence ends
 * the program.
 */
struct random_prefixes *random_prefixes_read(const char *path, const struct stream_reader *like,
                                             size_t vocabulary, uint64_t seed);
void random_prefixes_free(struct random_prefixes *random);

/* A text of its own: a hash of the sentences that prefixes are taken from. */
char *random_prefixes_hash(const struct random_prefixes *random);

/*
 * For each of a key's prefixes the first tokens, as many, of a random sentence that
 * has more, and that none of the key's others is of as long as there is one. Where
 * none is long enough it is the longest one, of which no more is taken than it has.
 * A function of seed, layer and cell. Free with prefixes_free.
 */
struct prefixes random_prefixes_like(struct random_prefixes *random, size_t layer, size_t cell,
                                     const struct prefixes *of_key);

#endif
