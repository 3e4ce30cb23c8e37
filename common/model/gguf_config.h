/* The model that a GGUF file describes, in the words of config.json. */
#ifndef FFKV_GGUF_CONFIG_H
#define FFKV_GGUF_CONFIG_H

#include "formats/gguf.h"

#include <jansson.h>

/*
 * The metadata as config.json has them, for config_parse; model_type is that of the
 * architecture's family. An architecture that is not known ends the program.
 */
json_t *gguf_config(const struct gguf *file, const char *path);

#endif
