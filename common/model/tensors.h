/*
 * Arrays of 32-bit floats that tensors were copied to, and matrices made of tensors, that belong to the same
 * owner.
 */
#ifndef FFKV_TENSORS_H
#define FFKV_TENSORS_H

#include "numeric/matrix.h"

#include <stddef.h>

struct tensors {
    struct owned_tensor {
        size_t count;
        float *values;
    } *tensor; /* count */
    size_t count, capacity;
    struct matrix *matrix; /* matrix_count: those that have a form of their own */
    size_t matrix_count, matrix_capacity;
};

/*
 * count floats, of any value, that belong to tensors from now on. spare, which may be NULL, has arrays that
 * nobody needs any more, in the order of their first use: the next one is taken where it has this count, so
 * that a layer is read to where one like it was; else all of them are freed.
 */
float *tensors_new(struct tensors *tensors, struct tensors *spare, size_t count);

/* The matrix, which belongs to tensors from now on where it has a form of its own. */
struct matrix tensors_keep(struct tensors *tensors, struct matrix matrix);

/* Frees the arrays beyond the first count. */
void tensors_drop(struct tensors *tensors, size_t count);

/* Adds the arrays of from, which has none then, nor matrices, which are freed. */
void tensors_move(struct tensors *from, struct tensors *to);
void tensors_free(struct tensors *tensors);

#endif
