/* One text, read token by token: what the model expects behind what it has read. */
#ifndef FFKV_DECODING_H
#define FFKV_DECODING_H

#include "model/candidates.h"
#include "model/edits.h"
#include "model/model.h"

struct decoder;

/*
 * For a text of so many tokens, without BOS; bos is read before them, NO_TOKEN: nothing is. edits (or NULL)
 * are made at all positions, or only at the one that the next token is predicted at, which is read as it is
 * by those behind it. predicted: the tokens that the plain model can predict, where edits ask for that.
 * Products are shared out among the team. All of them must outlive it.
 */
struct decoder *decoder_new(const struct model *model, uint32_t bos, size_t tokens, const struct edits *edits,
                            const struct candidates *predicted, struct team *team);
void decoder_free(struct decoder *decoder);

/*
 * Reads count more tokens; the first call may have none where there is BOS. Gives log p (vocabulary) of the
 * next one, until the next call. It is what a whole batch gives at that position, up to rounding.
 */
const float *decoder_read(struct decoder *decoder, const uint32_t *tokens, size_t count);

#endif
