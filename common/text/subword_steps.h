/* The normalizer, pre-tokenizer, post-processor and decoder of tokenizer.json. */
#ifndef FFKV_SUBWORD_STEPS_H
#define FFKV_SUBWORD_STEPS_H

#include "text/json_members.h"
#include "text/normalizer.h"
#include "text/pretokenize.h"

/* What is null does nothing; what is not known ends the program. path: for messages. */
struct normalizer *read_normalizer(const char *path, json_t *object);
struct pretokenizer *read_pretokenizer(const char *path, json_t *object);

/* Tokens are shown by the model's own settings: a decoder is only to be one of those that fit them. */
void check_decoder(const char *path, const json_t *object);

#endif
