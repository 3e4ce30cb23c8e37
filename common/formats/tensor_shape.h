/* What a reader of a file of tensors wants one of them to be. */
#ifndef FFKV_TENSOR_SHAPE_H
#define FFKV_TENSOR_SHAPE_H

#include <stddef.h>

/* A stack of matrices, one behind the other, or one matrix, or a vector. */
struct tensor_shape {
    size_t stack;   /* 0: one matrix, or a vector */
    size_t rows;
    size_t columns; /* 0: a vector of rows elements, and no stack */
};

/* Elements; of a shape that a file was found to have, or whose count fits a size_t. */
static inline size_t shape_elements(struct tensor_shape shape)
{
    return (shape.stack ? shape.stack : 1) * shape.rows * (shape.columns ? shape.columns : 1);
}

#endif
