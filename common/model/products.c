#include "model/products.h"

/* Rows of a product for what is left. */
static size_t rows_of_one(size_t left, size_t product_rows, size_t step)
{
    size_t rounded = (left + step - 1) / step * step;
    return rounded < product_rows ? rounded : product_rows;
}

size_t padded_rows(size_t rows, size_t product_rows, size_t step)
{
    if (rows == 0)
        return 0;
    size_t last = (rows - 1) / product_rows * product_rows;
    return last + rows_of_one(rows - last, product_rows, step);
}

void multiply_rows(const struct products *products, const struct matrix *matrix, size_t rows, size_t step,
                   const float *x, float beta, float *y)
{
    if (products->team && rows == 1) {
        matrix_multiply_vector(matrix, products->team, x, beta, y);
        return;
    }
    const struct matrix ready = matrix_ready(matrix);
    for (size_t row = 0; row < rows; row += products->rows)
        matrix_multiply(&ready, rows_of_one(rows - row, products->rows, step), x + row * matrix->columns,
                        beta, y + row * matrix->rows, matrix->rows);
}
