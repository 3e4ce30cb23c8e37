#include "numeric/vector_product.h"

#include "numeric/vector.h"

#include <stdbool.h>

/* Rows at once: each sum waits for itself only, and x is read once for all of them. */
enum { ROWS = 4 };

/*
 * Products with x of count rows, at most ROWS, of which the first is at index first; count and the format are
 * known where this is compiled into its callers.
 */
KERNEL_PART void multiply(struct stored_floats matrix, size_t first, size_t count, size_t columns,
                          const float *x, float *products)
{
    float sum[ROWS][LANES] = {{0}};
    size_t whole = columns / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t r = 0; r < count; r++)
            for (size_t k = 0; k < LANES; k++)
                sum[r][k] += stored_float(matrix, first + r * columns + i + k) * x[i + k];
    for (size_t r = 0; r < count; r++) {
        for (size_t i = whole; i < columns; i++)
            sum[r][i - whole] += stored_float(matrix, first + r * columns + i) * x[i];
        products[r] = add_lanes(sum[r]);
    }
}

KERNEL_PART void multiply_all(const unsigned char *bytes, enum float_format format, size_t rows,
                              size_t columns, const float *x, float beta, float *restrict y)
{
    const struct stored_floats matrix = {bytes, format};
    for (size_t row = 0; row < rows; row += ROWS) {
        float products[ROWS];
        size_t count = rows - row < ROWS ? rows - row : ROWS;
        if (count == ROWS)
            multiply(matrix, row * columns, ROWS, columns, x, products);
        else
            for (size_t r = 0; r < count; r++)
                multiply(matrix, (row + r) * columns, 1, columns, x, products + r);
        for (size_t r = 0; r < count; r++)
            y[row + r] = beta > 0 || beta < 0 ? products[r] + beta * y[row + r] : products[r];
    }
}

KERNEL static void floats_kernel(const unsigned char *restrict matrix, size_t rows, size_t columns,
                                 const float *restrict x, float beta, float *restrict y)
{
    multiply_all(matrix, FLOATS_32, rows, columns, x, beta, y);
}

KERNEL static void halves_kernel(const unsigned char *restrict matrix, size_t rows, size_t columns,
                                 const float *restrict x, float beta, float *restrict y)
{
    multiply_all(matrix, FLOATS_HALF, rows, columns, x, beta, y);
}

KERNEL static void bfloats_kernel(const unsigned char *restrict matrix, size_t rows, size_t columns,
                                  const float *restrict x, float beta, float *restrict y)
{
    multiply_all(matrix, FLOATS_BFLOAT, rows, columns, x, beta, y);
}

void vector_product(struct stored_floats matrix, size_t first, size_t rows, size_t columns, const float *x,
                    float beta, float *y)
{
    const unsigned char *bytes = matrix.bytes + first * columns * stored_width(matrix.format);
    if (matrix.format == FLOATS_32)
        floats_kernel(bytes, rows, columns, x, beta, y);
    else if (matrix.format == FLOATS_HALF)
        halves_kernel(bytes, rows, columns, x, beta, y);
    else
        bfloats_kernel(bytes, rows, columns, x, beta, y);
}
