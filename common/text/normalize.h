/* Unicode's normalization form C, as the tokenizers library has it. */
#ifndef FFKV_NORMALIZE_H
#define FFKV_NORMALIZE_H

#include "text/text.h"

struct normalizer;

struct normalizer *normalizer_new(void);
void normalizer_free(struct normalizer *normalizer);

/*
 * Text, which is UTF-8 of less than 2^28 bytes, in form C: text itself when it
 * is so, or a buffer that holds until the next call.
 */
struct span normalize(struct normalizer *normalizer, struct span text);

#endif
