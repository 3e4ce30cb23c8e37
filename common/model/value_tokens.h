/* The token that each value of a model promotes, as project-values --all finds it once for the model. */
#ifndef FFKV_VALUE_TOKENS_H
#define FFKV_VALUE_TOKENS_H

#include "model/candidates.h"
#include "model/model.h"
#include "model/projection.h"

#include <stdint.h>

struct value_tokens {
    const char *path;          /* of the file, for messages */
    uint32_t *top;             /* layers x d_ff: the most probable token */
    uint32_t *bottom;          /* the same of the least probable ones; NULL: not all have one */
    enum projection_norm norm; /* with which they were projected */
};

/*
 * Reads a stream of values, which must have all of the model's, and be of these candidates: else it
 * ends the program. path holds as long as the result.
 */
struct value_tokens value_tokens_read(const char *path, const struct model *model,
                                      const struct candidates *candidates);
void value_tokens_free(struct value_tokens *tokens);

/*
 * The token that a memory, the index of its value, promotes with this coefficient: where it is
 * negative, the least probable one, and values without one end the program.
 */
uint32_t value_tokens_promoted(const struct value_tokens *tokens, size_t memory, float coefficient);

#endif
