/*
 * The model that a GGUF file describes, in the words of the other formats: its
 * metadata as a config, its tokenizer.
 */
#ifndef FFKV_GGUF_MODEL_H
#define FFKV_GGUF_MODEL_H

#include "formats/gguf.h"
#include "text/bpe.h"

#include <jansson.h>

/*
 * The metadata as config.json has them, for config_parse; model_type tells the
 * architecture. One that is not known ends the program.
 */
json_t *gguf_config(const struct gguf *file, const char *path);

/* The tokenizer of the file at path. Kinds other than byte-level BPE end the program. */
struct bpe *gguf_bpe(const char *path);

#endif
