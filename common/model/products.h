/*
 * Products of a batch's rows with weights. Each has a fixed number of rows, or what is left, rounded up,
 * the rest being padding: the last bits of a product may depend on its shape.
 */
#ifndef FFKV_PRODUCTS_H
#define FFKV_PRODUCTS_H

#include "numeric/matrix.h"

/* What a product's rows are rounded up to: a multiple of every kernel's tile; less where they are few. */
enum { PRODUCT_STEP = 64, SHORT_PRODUCT_STEP = 8 };

/* Rows that the matrices of a product of so many rows have, with the padding of the last one. */
size_t padded_rows(size_t rows, size_t product_rows, size_t step);

/* How a state of the forward pass makes its products. */
struct products {
    size_t rows;       /* of each */
    size_t step;       /* what is left is rounded up to a multiple of it: the padding of the matrices */
    struct team *team; /* that makes those with one row only, which are not padded; NULL: all are alike */
};

/* y = x . matrix^T + beta * y for all rows; x and y have the padded ones. */
void multiply_rows(const struct products *products, const struct matrix *matrix, size_t rows, size_t step,
                   const float *x, float beta, float *y);

#endif
