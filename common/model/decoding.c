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
    const struct candidates *predicted;
    struct forward *forward;
    struct forward *plain;      /* without edits, which ask for its predictions; NULL: they do not */
    struct projection *projection;
    struct batch batch;         /* the one sentence, and a token behind it, which is not read */
    uint32_t length;            /* its only one */
    uint32_t *token;            /* room + 1 */
    size_t room, read;          /* tokens */
    struct edited_rows edited;  /* of the positions that are computed */
    float *output;              /* d_model */
    float *log_probabilities;   /* vocabulary */
};

static struct forward *new_forward(const struct model *model, size_t tokens, struct team *team)
{
    struct forward *forward = forward_new(model, PRODUCT_ROWS);
    forward_keep(forward, tokens + 1, team);
    return forward;
}

struct decoder *decoder_new(const struct model *model, uint32_t bos, size_t tokens, const struct edits *edits,
                            const struct candidates *predicted, struct team *team)
{
    struct decoder *decoder = new_array(1, sizeof *decoder);
    decoder->model = model;
    decoder->edits = edits;
    decoder->predicted = predicted;
    decoder->room = tokens;
    decoder->token = new_array(tokens + 1, sizeof *decoder->token);
    decoder->batch = (struct batch){.sentences = 1, .length = &decoder->length, .token = decoder->token,
                                    .bos = bos};
    decoder->forward = new_forward(model, tokens, team);
    if (edits && edits_need_predictions(edits))
        decoder->plain = new_forward(model, tokens, team);
    decoder->projection = projection_new(model, NULL);
    projection_take_one(decoder->projection, team);
    decoder->output = new_floats(model->config.d_model);
    decoder->log_probabilities = new_floats(model->config.vocabulary);
    return decoder;
}

void decoder_free(struct decoder *decoder)
{
    forward_free(decoder->forward);
    if (decoder->plain)
        forward_free(decoder->plain);
    projection_free(decoder->projection);
    free(decoder->token);
    free(decoder->edited.row);
    free(decoder->edited.sentence);
    free(decoder->edited.position);
    free(decoder->edited.token);
    free(decoder->output);
    free(decoder->log_probabilities);
    free(decoder);
}

/* The last count of the rows that are computed are edited. */
static void list_rows(struct decoder *decoder, size_t rows, size_t count)
{
    struct edited_rows *edited = &decoder->edited;
    edited->count = count;
    edited->row = grow_array(edited->row, count, sizeof *edited->row);
    edited->sentence = grow_array(edited->sentence, count, sizeof *edited->sentence);
    edited->position = grow_array(edited->position, count, sizeof *edited->position);
    edited->token = grow_array(edited->token, count, sizeof *edited->token);
    for (size_t r = 0; r < count; r++) {
        edited->row[r] = (uint32_t)(rows - count + r);
        edited->sentence[r] = 0;
        edited->position[r] = (uint32_t)(decoder->length - count + r);
    }
}

/* All layers at the positions that are new. */
static void compute(const struct decoder *decoder, struct forward *forward, const struct edits *edits)
{
    forward_begin(forward, &decoder->batch);
    for (size_t layer = 0; layer < decoder->model->config.layers; layer++) {
        forward_attention(forward, layer);
        forward_coefficients(forward, layer);
        if (edits)
            edits_apply(edits, layer, &decoder->edited, forward_coefficient(forward));
        forward_values(forward, layer);
    }
    forward_output(forward);
}

/* The distribution behind a row that was computed. */
static void project(struct decoder *decoder, const struct forward *forward, size_t row)
{
    const float *output = forward_residual(forward) + row * decoder->model->config.d_model;
    final_norm(decoder->model, output, 1, decoder->output);
    projection_run(decoder->projection, decoder->output, decoder->log_probabilities);
}

/* What the model predicts without edits at the positions that are edited. */
static void predict_plain(struct decoder *decoder)
{
    compute(decoder, decoder->plain, NULL);
    for (size_t r = 0; r < decoder->edited.count; r++) {
        project(decoder, decoder->plain, decoder->edited.row[r]);
        decoder->edited.token[r] = (uint32_t)projection_top(decoder->log_probabilities, decoder->predicted);
    }
}

const float *decoder_read(struct decoder *decoder, const uint32_t *tokens, size_t count)
{
    bool reads_bos = !decoder->length && decoder->batch.bos != NO_TOKEN;
    bool last_only = decoder->edits && edits_at(decoder->edits) == EDIT_LAST;
    size_t anew = decoder->length && last_only; /* the one that was edited, and is no longer the last */
    size_t rows = count + reads_bos + anew;
    if (count)
        memcpy(decoder->token + decoder->read, tokens, count * sizeof *tokens);
    decoder->read += count;
    decoder->length = (uint32_t)(decoder->read + 1);
    decoder->batch.tokens = decoder->length;
    list_rows(decoder, rows, last_only ? 1 : rows);
    if (anew)
        forward_forget(decoder->forward, anew);
    if (anew && decoder->plain)
        forward_forget(decoder->plain, anew);
    if (decoder->plain)
        predict_plain(decoder);
    compute(decoder, decoder->forward, decoder->edits);
    project(decoder, decoder->forward, rows - 1);
    return decoder->log_probabilities;
}
