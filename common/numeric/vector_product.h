/* The product of a matrix with one vector: it reads each weight once, and so takes as long as memory does. */
#ifndef FFKV_VECTOR_PRODUCT_H
#define FFKV_VECTOR_PRODUCT_H

#include <stddef.h>
#include <stdint.h>

/*
 * y (rows) = matrix (rows x columns) . x + beta * y. Each row's sum is taken in LANES partial sums, in one
 * order whatever the other rows are. beta 0: y need not be initialised.
 */
void vector_product(const float *matrix, size_t rows, size_t columns, const float *x, float beta, float *y);

/* The same of a matrix of bfloats; the sums, in the same order, are of 32-bit floats. */
void vector_product_bfloats(const uint16_t *matrix, size_t rows, size_t columns, const float *x, float beta,
                            float *y);

#endif
