/* The model in a stream's header: written by the stage that computes with it, checked by every later one. */
#ifndef FFKV_MODEL_HEADER_H
#define FFKV_MODEL_HEADER_H

#include "model/model.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

/* Adds the model to a header. */
void header_set_model(json_t *header, const struct model *model);

/* Adds to a stage's options the arithmetic of its matrix products, which its last bits depend on. */
void options_set_arithmetic(json_t *options);

/*
 * What people call the model at path: its folder's or file's name, or, where that is no
 * UTF-8, its id.
 */
json_t *model_name_json(const char *path, const char *id);

/* Ends the program unless the stream was made with this model. */
void header_check_model(const struct stream_reader *reader, const struct model *model);

#endif
