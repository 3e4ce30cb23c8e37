/* The tokens that a model ends a text with. Nothing but generation asks for them. */
#ifndef FFKV_END_TOKENS_H
#define FFKV_END_TOKENS_H

#include "model/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct end_tokens {
    size_t count; /* 0: the model's files name none */
    uint32_t *token;
};

/*
 * eos_token_id of a directory's generation_config.json, or else of its config.json, a number or a list of
 * them; or those of a GGUF file's metadata, of a text and of a turn. One that is no token of the model
 * ends the program. Free with end_tokens_free.
 */
struct end_tokens end_tokens_read(const struct model_config *config);
void end_tokens_free(struct end_tokens *ends);

bool is_end_token(const struct end_tokens *ends, uint32_t token);

#endif
