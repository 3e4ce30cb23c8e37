/*
 * Matrices of weights. Whoever multiplies by one, or reads a row of it, asks here, so
 * that a backend may keep it in a form of its own. BLAS is the one backend; it keeps
 * the numbers as they are.
 */
#ifndef FFKV_MATRIX_H
#define FFKV_MATRIX_H

#include "base/team.h"

#include <stdbool.h>
#include <stddef.h>

struct matrix {
    size_t rows, columns; /* 0: there is no matrix */
    const float *values;  /* rows x columns; belongs to whoever made the matrix */
};

/*
 * Call before the first product, from the main thread, before memory is needed for anything
 * else. threads: that will compute products at the same time. Ends the program where the
 * backend does not get the memory that it wants for each of them.
 */
void matrix_start(size_t threads);

/* values (rows x columns) as a matrix; they must outlive it. NULL: no matrix. */
struct matrix matrix_of(const float *values, size_t rows, size_t columns);
bool matrix_exists(const struct matrix *matrix);

/*
 * y = x . matrix^T + beta * y for count vectors: x is count x columns; y is count x rows,
 * its rows y_step floats apart. beta 0: y need not be initialised.
 */
void matrix_multiply(const struct matrix *matrix, size_t count, const float *x, float beta, float *y,
                     size_t y_step);

/*
 * y (rows) = matrix . x + beta * y for one vector, the matrix' rows shared out among a team; the result does
 * not depend on how many they are. It is not BLAS, whose products of one row are slow in some versions.
 */
void matrix_multiply_vector(const struct matrix *matrix, struct team *team, const float *x, float beta,
                            float *y);

/* y (count x columns) = x (count x rows) . matrix */
void matrix_multiply_transposed(const struct matrix *matrix, size_t count, const float *x, float *y);

/* Copies one row (columns) or one column (rows) to out. */
void matrix_row(const struct matrix *matrix, size_t row, float *out);
void matrix_column(const struct matrix *matrix, size_t column, float *out);

/* The arithmetic of the products: library, version and kernel, which a result's last bits depend on. */
const char *matrix_arithmetic(void);

#endif
