/* The model that a GGUF file describes, in the words of config.json. */
#ifndef FFKV_GGUF_CONFIG_H
#define FFKV_GGUF_CONFIG_H

#include "formats/gguf.h"

#include <jansson.h>

/* Tensors that are read with the metadata: LongRoPE's divisors, for shorter and longer sentences. */
#define GGUF_SHORT_FACTORS "rope_factors_short.weight"
#define GGUF_LONG_FACTORS "rope_factors_long.weight"

/*
 * The metadata as config.json has them, for config_parse; model_type is that of the
 * architecture's family. An architecture that is not known ends the program.
 */
json_t *gguf_config(const struct gguf *file, const char *path);

#endif
