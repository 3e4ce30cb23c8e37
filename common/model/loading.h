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

/* The matrix of these numbers (rows x columns), which has a form of its own where its products need one. */
struct matrix new_matrix(struct model *model, const float *values, size_t rows, size_t columns);

/* The same of a tensor as it is in the file. */
struct matrix plain_matrix(struct model *model, const char *name, size_t rows, size_t columns);

/*
 * Frees the tensors that the model owns beyond the first count, where matrices that were made of them have a
 * form of their own: nobody else uses them.
 */
void drop_tensors(struct model *model, size_t count);

/* Reads a tensor of layer index, where the config or the file says that there is one. */
void read_layer_tensor(const struct loading *loading, const struct tensor_row *tensor, size_t index);

#endif
