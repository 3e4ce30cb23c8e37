#include "model/model_header.h"

#include "base/json.h"
#include "model/families.h"
#include "stream/header_members.h"

#include <string.h>

void header_set_model(json_t *header, const struct model *model)
{
    const struct model_config *config = &model->config;
    json_put(header, "model",
             json_make("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "id", model->id, "architecture",
                       config->family->model_type, "layers", (json_int_t)config->layers, "d_model",
                       (json_int_t)config->d_model, "d_ff", (json_int_t)config->d_ff, "vocabulary",
                       (json_int_t)config->vocabulary, "activation", config->activation_name));
}

void options_set_arithmetic(json_t *options)
{
    json_put(options, "blas", json_string(matrix_arithmetic()));
}

void header_check_model(const struct stream_reader *reader, const struct model *model)
{
    const char *id = header_text(reader, "model", "id");
    if (strcmp(id, model->id))
        stream_fail(reader, "made with another model (id %s) than %s (id %s)", id, model->config.path,
                    model->id);
    struct model_shape shape = shape_read(reader);
    if (shape.layers != model->config.layers || shape.d_model != model->config.d_model
        || shape.d_ff != model->config.d_ff || shape.vocabulary != model->config.vocabulary)
        stream_fail(reader, "the header's model has the id of %s, but another shape", model->config.path);
}
