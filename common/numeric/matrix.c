#include "numeric/matrix.h"

#include "numeric/blas.h"
#include "numeric/vector_product.h"

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

struct vector_work {
    const struct matrix *matrix;
    size_t members;
    const float *x;
    float beta, *y;
};

/* A member's part of the rows. */
static void multiply_part(void *shared, size_t member)
{
    const struct vector_work *work = shared;
    const struct matrix *matrix = work->matrix;
    size_t part = (matrix->rows + work->members - 1) / work->members;
    size_t first = member * part < matrix->rows ? member * part : matrix->rows;
    size_t count = matrix->rows - first < part ? matrix->rows - first : part;
    vector_product(matrix->values + first * matrix->columns, count, matrix->columns, work->x, work->beta,
                   work->y + first);
}

void matrix_multiply_vector(const struct matrix *matrix, struct team *team, const float *x, float beta,
                            float *y)
{
    struct vector_work work = {matrix, team_size(team), x, beta, y};
    team_run(team, multiply_part, &work);
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
