#include "analysis/plain_predictions.h"

#include "base/messages.h"
#include "model/model_norm.h"

#include <stdlib.h>
#include <string.h>

void predict_plain(const struct model *model, struct forward *forward, struct projection *projection,
                   const struct batch *batch, struct edited_rows *rows)
{
    const size_t d_model = model->config.d_model;
    forward_begin(forward, batch);
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        forward_attention(forward, layer);
        forward_coefficients(forward, layer);
        forward_values(forward, layer);
    }
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
