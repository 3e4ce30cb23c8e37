#include "analysis/predictions.h"

#include "base/messages.h"
#include "model/model_norm.h"
#include "stream/activations.h"

#include <stdlib.h>
#include <string.h>

void predictions_pack(const struct model *model, struct projection *projection, const float *outputs,
                      const uint32_t *next, size_t rows, msgpack_sbuffer *buffer)
{
    float *normed = new_floats(matrix_count(rows, model->config.d_model));
    struct projection_question *question = new_array(rows, sizeof *question);
    struct predictions predictions = {.rows = rows};
    fields_allocate(predictions_fields, 0, &predictions);
    final_norm(model, outputs, rows, normed);
    for (size_t r = 0; r < rows; r++)
        question[r].token = next[r];
    projection_ask(projection, normed, rows, question);
    for (size_t r = 0; r < rows; r++) {
        predictions.top[r] = question[r].top;
        predictions.top_log_probability[r] = question[r].top_log_probability;
        predictions.next_log_probability[r] = question[r].token_log_probability;
    }
    fields_pack(buffer, predictions_fields, 0, &predictions);
    fields_free(predictions_fields, &predictions);
    free(normed);
    free(question);
}

void predict_plain(const struct model *model, struct forward *forward, struct projection *projection,
                   const struct batch *batch, struct edited_rows *rows)
{
    forward_begin(forward, batch);
    for (size_t layer = 0; layer < model->config.layers; layer++)
        forward_layer(forward, layer);
    predict_rows(model, forward, projection, rows);
}

void predict_rows(const struct model *model, struct forward *forward, struct projection *projection,
                  struct edited_rows *rows)
{
    const size_t d_model = model->config.d_model;
    forward_output(forward);
    float *outputs = new_floats(matrix_count(rows->count, d_model));
    struct projection_question *question = new_array(rows->count, sizeof *question);
    for (size_t r = 0; r < rows->count; r++) {
        memcpy(outputs + r * d_model, forward_residual(forward) + rows->row[r] * d_model,
               d_model * sizeof *outputs);
        question[r].token = NO_TOKEN;
    }
    final_norm(model, outputs, rows->count, outputs);
    projection_ask(projection, outputs, rows->count, question);
    for (size_t r = 0; r < rows->count; r++)
        rows->token[r] = question[r].top;
    free(question);
    free(outputs);
}
