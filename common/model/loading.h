/* A model's tensors, read from its files to our arrangement. */
#ifndef FFKV_LOADING_H
#define FFKV_LOADING_H

#include "formats/tensor_shape.h"
#include "model/families.h"
#include "model/model.h"

/* A model while it is read. */
struct loading {
    struct model *model;
    const struct tensor_names *names;
    const char *prefix; /* of this file's names */
};

/* count floats that the model owns. */
float *new_tensor(struct model *model, size_t count);

/* A tensor as it is in the file. */
const float *plain_tensor(struct model *model, const char *name, struct tensor_shape shape);

/* Reads a tensor of layer index, where the config or the file says that there is one. */
void read_layer_tensor(const struct loading *loading, const struct tensor_row *tensor, size_t index);

#endif
