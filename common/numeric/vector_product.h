/* The product of a matrix with one vector: it reads each weight once, and so takes as long as memory does. */
#ifndef FFKV_VECTOR_PRODUCT_H
#define FFKV_VECTOR_PRODUCT_H

#include "numeric/stored_floats.h"

#include <stddef.h>

/*
 * y (rows) = rows first .. first + rows - 1 of the matrix (with so many columns) . x + beta * y. Each row's
 * sum is taken in LANES partial sums of 32-bit floats, in one order whatever the other rows and the matrix'
 * format are. beta 0: y need not be initialised.
 */
void vector_product(struct stored_floats matrix, size_t first, size_t rows, size_t columns, const float *x,
                    float beta, float *y);

#endif
