/*
 * A matrix of weights as bfloats, and its products. Weights and activations are sums of terms (bfloats.h). Of
 * the products of term i of the one and term j of the other those with i + j < terms are summed, so that
 * what is left out is near 2^-9 of a product with 1 term, 2^-17 with 2, 2^-25 with 3: no more than what
 * 32-bit floats round away. Weights that are bfloats have 1 term, and so there are as many products as terms.
 */
#ifndef FFKV_BFLOAT_MATRIX_H
#define FFKV_BFLOAT_MATRIX_H

#include "base/team.h"

#include <stddef.h>
#include <stdint.h>

struct bfloat_matrix;

/* values (rows x columns), rounded to at most so many terms; they are not needed any more then. */
struct bfloat_matrix *bfloat_matrix_round(const float *values, size_t rows, size_t columns, size_t terms);

/* values are bfloats in a file that is mapped, which must outlive the matrix. */
struct bfloat_matrix *bfloat_matrix_of(const uint16_t *values, size_t rows, size_t columns, size_t terms);

void bfloat_matrix_free(struct bfloat_matrix *matrix);

/* What matrix.h has of these names. */
void bfloat_matrix_multiply(struct bfloat_matrix *matrix, size_t count, const float *x, float beta, float *y,
                            size_t y_step);
void bfloat_matrix_multiply_transposed(const struct bfloat_matrix *matrix, size_t count, const float *x,
                                       float *y);
void bfloat_matrix_row(const struct bfloat_matrix *matrix, size_t row, float *out);
void bfloat_matrix_column(const struct bfloat_matrix *matrix, size_t column, float *out);

/* y (count) = rows first .. first + count - 1 of the matrix . x + beta * y, in 32-bit floats. */
void bfloat_matrix_multiply_vector(const struct bfloat_matrix *matrix, size_t first, size_t count,
                                   const float *x, float beta, float *y);

#endif
