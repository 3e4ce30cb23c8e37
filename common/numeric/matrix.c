#include "numeric/matrix.h"

#include "numeric/blas.h"

#include <string.h>

void matrix_start(size_t threads)
{
    blas_start(threads);
}

struct matrix matrix_of(const float *values, size_t rows, size_t columns)
{
    return values ? (struct matrix){rows, columns, values} : (struct matrix){0};
}

bool matrix_exists(const struct matrix *matrix)
{
    return matrix->values;
}

void matrix_multiply(const struct matrix *matrix, size_t count, const float *x, float beta, float *y,
                     size_t y_step)
{
    blas_product_transposed(count, matrix->rows, matrix->columns, x, matrix->values, beta, y, y_step);
}

void matrix_multiply_transposed(const struct matrix *matrix, size_t count, const float *x, float *y)
{
    blas_product(count, matrix->columns, matrix->rows, x, matrix->values, y);
}

void matrix_row(const struct matrix *matrix, size_t row, float *out)
{
    memcpy(out, matrix->values + row * matrix->columns, matrix->columns * sizeof *out);
}

void matrix_column(const struct matrix *matrix, size_t column, float *out)
{
    for (size_t row = 0; row < matrix->rows; row++)
        out[row] = matrix->values[row * matrix->columns + column];
}

const char *matrix_arithmetic(void)
{
    return blas_name();
}
