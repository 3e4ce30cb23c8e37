#include "model/decoding.h"

#include "base/messages.h"
#include "model/forward.h"
#include "model/model_norm.h"
#include "model/projection.h"

#include <stdlib.h>
#include <string.h>

enum { PRODUCT_ROWS = 512 }; /* as batches mostly have */

struct decoder {
    const struct model *model;
    const struct edits *edits;
    struct forward *forward;
    struct projection *projection;
    struct batch batch;         /* the one sentence, and a token behind it, which is not read */
    uint32_t length;            /* its only one */
    uint32_t *token;            /* room + 1 */
    size_t room, read;          /* tokens */
    struct edited_rows edited;  /* the positions that are new */
    float *output;              /* d_model */
    float *log_probabilities;   /* vocabulary */
};

struct decoder *decoder_new(const struct model *model, uint32_t bos, size_t tokens, const struct edits *edits,
                            struct team *team)
{
    struct decoder *decoder = new_array(1, sizeof *decoder);
    decoder->model = model;
    decoder->edits = edits;
    decoder->room = tokens;
    decoder->token = new_array(tokens + 1, sizeof *decoder->token);
    decoder->batch = (struct batch){.sentences = 1, .length = &decoder->length, .token = decoder->token,
                                    .bos = bos};
    decoder->forward = forward_new(model, PRODUCT_ROWS);
    forward_keep(decoder->forward, tokens + 1, team);
    decoder->projection = projection_new(model, NULL);
    projection_take_one(decoder->projection, team);
    decoder->output = new_floats(model->config.d_model);
    decoder->log_probabilities = new_floats(model->config.vocabulary);
    return decoder;
}

void decoder_free(struct decoder *decoder)
{
    forward_free(decoder->forward);
    projection_free(decoder->projection);
    free(decoder->token);
    free(decoder->edited.row);
    free(decoder->edited.sentence);
    free(decoder->edited.position);
    free(decoder->output);
    free(decoder->log_probabilities);
    free(decoder);
}

/* The last count positions of the batch, all of which are edited. */
static void list_rows(struct decoder *decoder, size_t count)
{
    struct edited_rows *edited = &decoder->edited;
    edited->count = count;
    edited->row = grow_array(edited->row, count, sizeof *edited->row);
    edited->sentence = grow_array(edited->sentence, count, sizeof *edited->sentence);
    edited->position = grow_array(edited->position, count, sizeof *edited->position);
    for (size_t r = 0; r < count; r++) {
        edited->row[r] = (uint32_t)r;
        edited->sentence[r] = 0;
        edited->position[r] = (uint32_t)(decoder->length - count + r);
    }
}

/* All layers at the positions that are new. */
static void compute(struct decoder *decoder)
{
    struct forward *forward = decoder->forward;
    forward_begin(forward, &decoder->batch);
    for (size_t layer = 0; layer < decoder->model->config.layers; layer++) {
        forward_attention(forward, layer);
        forward_coefficients(forward, layer);
        if (decoder->edits)
            edits_apply(decoder->edits, layer, &decoder->edited, forward_coefficient(forward));
        forward_values(forward, layer);
    }
    forward_output(forward);
}

const float *decoder_read(struct decoder *decoder, const uint32_t *tokens, size_t count)
{
    bool reads_bos = !decoder->length && decoder->batch.bos != NO_TOKEN;
    size_t rows = count + reads_bos;
    if (count)
        memcpy(decoder->token + decoder->read, tokens, count * sizeof *tokens);
    decoder->read += count;
    decoder->length = (uint32_t)(decoder->read + 1);
    decoder->batch.tokens = decoder->length;
    list_rows(decoder, rows);
    compute(decoder);
    const float *last = forward_residual(decoder->forward) + (rows - 1) * decoder->model->config.d_model;
    final_norm(decoder->model, last, 1, decoder->output);
    projection_run(decoder->projection, decoder->output, decoder->log_probabilities);
    return decoder->log_probabilities;
}
