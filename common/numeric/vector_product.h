/* The product of a matrix with one vector: it reads each weight once, and so takes as long as memory does. */
#ifndef FFKV_VECTOR_PRODUCT_H
#define FFKV_VECTOR_PRODUCT_H

#include <stddef.h>

/*
 * y (rows) = matrix (rows x columns) . x + beta * y. Each row's sum is taken in LANES partial sums, in one
 * order whatever the other rows are. beta 0: y need not be initialised.
 */
void vector_product(const float *matrix, size_t rows, size_t columns, const float *x, float beta, float *y);

#endif
