/* A model's tensors, read from its files to our arrangement. */
#ifndef FFKV_LOADING_H
#define FFKV_LOADING_H

#include "formats/tensor_shape.h"
#include "model/families.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/tensors.h"

/* A model, or a layer of it, while it is read. */
struct loading {
    struct model *model;
    const struct tensor_names *names;
    const char *prefix;        /* of this file's names */
    bool described;            /* matrices are checked, as to name, shape and type; there are none then */
    struct matrix_bytes bytes; /* of the matrices so far, when they are read */
    struct tensors *to;        /* owns what is copied */
    struct tensors *spare;     /* see tensors_new; NULL: there are none */
};

/* count floats that loading->to owns. */
float *new_tensor(struct loading *loading, size_t count);

/* A tensor as it is in the file; NULL for a matrix that is described. */
const float *plain_tensor(struct loading *loading, const char *name, struct tensor_shape shape);

/*
 * Reads, or describes, a tensor of layer index, where the config or the file says that there is one. With
 * described vectors are read; without it only matrices of the part that are not there yet.
 */
void read_layer_tensor(struct loading *loading, const struct tensor_row *tensor, size_t index,
                       enum layer_part part);

/* Whether a row of names->layers is a matrix; where it is in a layer. */
bool is_matrix(const struct tensor_row *tensor);
struct matrix *matrix_at(struct model_layer *layer, const struct tensor_row *tensor);

#endif
