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
    struct matrix_bytes output; /* of products with the output's words, beside them */
    enum float_format format;  /* in the file, of the tensor that was read last */
    size_t form_bytes;         /* of forms of matrices, until the floats that they are made of are dropped */
    struct tensors *to;        /* owns what is copied */
    struct tensors *spare;     /* see tensors_new; NULL: there are none */
};

/* count floats that loading->to owns. */
float *new_tensor(struct loading *loading, size_t count);

/* A tensor as it is in the file; NULL for a matrix that is described. */
const float *plain_tensor(struct loading *loading, const char *name, struct tensor_shape shape);

/* The matrix of these numbers (rows x columns), which has a form of its own where its products need one. */
struct matrix new_matrix(struct loading *loading, const float *values, size_t rows, size_t columns);

/* The same of a tensor as it is in the file. */
struct matrix plain_matrix(struct loading *loading, const char *name, size_t rows, size_t columns);

/* A matrix of words, of which rows are looked up: those of the input, of the output, or of both. */
enum words { WORDS_IN, WORDS_OUT, WORDS_IN_AND_OUT };
struct matrix word_matrix(struct loading *loading, const char *name, size_t rows, size_t columns,
                          enum words words);

/* What there is before tensors are read that matrices are made of. */
struct mark {
    size_t tensors, copied;
};
struct mark mark_tensors(const struct loading *loading);

/*
 * Frees the tensors that loading->to owns since, where matrices that were made of them have a form of their
 * own: nobody else uses them.
 */
void drop_tensors(struct loading *loading, struct mark mark);

/*
 * Reads, or describes, a tensor of layer index, where the config or the file says that there is one. With
 * described vectors are read; without it only matrices of the part that are not there yet.
 */
void read_layer_tensor(struct loading *loading, const struct tensor_row *tensor, size_t index,
                       enum layer_part part);

/* Bytes of what was read so far, before there are products. */
static inline size_t bytes_unpacked(const struct loading *loading)
{
    return loading->bytes.copied + loading->bytes.mapped - loading->bytes.packed;
}

/* Whether a row of names->layers is a matrix; where it is in a layer. */
bool is_matrix(const struct tensor_row *tensor);
struct matrix *matrix_at(struct model_layer *layer, const struct tensor_row *tensor);

#endif
