/* The tokenizer that a GGUF file's metadata hold. */
#ifndef FFKV_GGUF_TOKENIZER_H
#define FFKV_GGUF_TOKENIZER_H

#include "text/subword.h"

/* The tokenizer of the file at path. Kinds other than byte-level BPE end the program. */
struct subword_tokenizer *gguf_subword(const char *path);

#endif
