#define _XOPEN_SOURCE 700 /* realpath */
#include "model/model_header.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/families.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <stdlib.h>
#include <string.h>

void header_set_model(json_t *header, const struct model *model)
{
    const struct model_config *config = &model->config;
    json_put(header, "model",
             json_make("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "id", model->id, "architecture",
                       config->family->model_type, "layers", (json_int_t)config->layers, "d_model",
                       (json_int_t)config->d_model, "d_ff", (json_int_t)config->d_ff, "vocabulary",
                       (json_int_t)config->vocabulary, "activation", config->activation_name));
    if (!config->experts)
        return;
    json_t *of_model = json_object_get(header, "model");
    json_put(of_model, "experts", json_integer((json_int_t)config->experts));
    json_put(of_model, "expert_cells", json_integer((json_int_t)config->expert_width));
}

/* The last part of a path, without slashes behind it; the caller frees it. */
static char *last_part(const char *path)
{
    size_t end = strlen(path), begin;
    while (end && path[end - 1] == '/')
        end--;
    for (begin = end; begin && path[begin - 1] != '/';)
        begin--;
    return format_string("%.*s", (int)(end - begin), path + begin);
}

json_t *model_name_json(const char *path, const char *id)
{
    char *name = last_part(path);
    char *whole = !strcmp(name, ".") || !strcmp(name, "..") ? realpath(path, NULL) : NULL;
    if (whole) {
        free(name);
        name = last_part(whole);
    }
    json_t *json = *name ? json_string(name) : NULL;
    free(whole);
    free(name);
    return json ? json : json_make("s", id);
}

void options_set_arithmetic(json_t *options)
{
    json_put(options, "blas", json_string(matrix_arithmetic()));
    if (matrix_products() == PRODUCTS_FLOAT32)
        return;
    json_put(options, "products", json_string(product_kind_words[matrix_products()]));
    json_put(options, "onednn", json_string(matrix_arithmetic_of_bfloats()));
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
