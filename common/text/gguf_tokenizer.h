/* The tokenizer that a GGUF file's metadata hold. */
#ifndef FFKV_GGUF_TOKENIZER_H
#define FFKV_GGUF_TOKENIZER_H

#include "text/bpe.h"

/* The tokenizer of the file at path. Kinds other than byte-level BPE end the program. */
struct bpe *gguf_bpe(const char *path, struct stated_bos *bos);

#endif
