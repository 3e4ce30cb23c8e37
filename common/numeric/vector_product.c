#include "numeric/vector_product.h"

#include "numeric/bfloats.h"
#include "numeric/vector.h"

#include <stdbool.h>

/* Rows at once: each sum waits for itself only, and x is read once for all of them. */
enum { ROWS = 4 };

/* The weight at an index: of bfloats, or of floats. */
KERNEL_PART float element(const void *matrix, bool bfloats, size_t index)
{
    return bfloats ? from_bfloat(((const uint16_t *)matrix)[index]) : ((const float *)matrix)[index];
}

/*
 * Products with x of count rows, at most ROWS, of which the first is at index first; count and bfloats are
 * known where this is compiled into its callers.
 */
KERNEL_PART void multiply(const void *matrix, bool bfloats, size_t first, size_t count, size_t columns,
                          const float *x, float *products)
{
    float sum[ROWS][LANES] = {{0}};
    size_t whole = columns / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t r = 0; r < count; r++)
            for (size_t k = 0; k < LANES; k++)
                sum[r][k] += element(matrix, bfloats, first + r * columns + i + k) * x[i + k];
    for (size_t r = 0; r < count; r++) {
        for (size_t i = whole; i < columns; i++)
            sum[r][i - whole] += element(matrix, bfloats, first + r * columns + i) * x[i];
        products[r] = add_lanes(sum[r]);
    }
}

KERNEL_PART void multiply_all(const void *matrix, bool bfloats, size_t rows, size_t columns, const float *x,
                              float beta, float *restrict y)
{
    for (size_t row = 0; row < rows; row += ROWS) {
        float products[ROWS];
        size_t count = rows - row < ROWS ? rows - row : ROWS;
        if (count == ROWS)
            multiply(matrix, bfloats, row * columns, ROWS, columns, x, products);
        else
            for (size_t r = 0; r < count; r++)
                multiply(matrix, bfloats, (row + r) * columns, 1, columns, x, products + r);
        for (size_t r = 0; r < count; r++)
            y[row + r] = beta > 0 || beta < 0 ? products[r] + beta * y[row + r] : products[r];
    }
}

KERNEL static void product_kernel(const float *restrict matrix, size_t rows, size_t columns,
                                  const float *restrict x, float beta, float *restrict y)
{
    multiply_all(matrix, false, rows, columns, x, beta, y);
}

KERNEL static void bfloats_product_kernel(const uint16_t *restrict matrix, size_t rows, size_t columns,
                                          const float *restrict x, float beta, float *restrict y)
{
    multiply_all(matrix, true, rows, columns, x, beta, y);
}

void vector_product(const float *matrix, size_t rows, size_t columns, const float *x, float beta, float *y)
{
    product_kernel(matrix, rows, columns, x, beta, y);
}

void vector_product_bfloats(const uint16_t *matrix, size_t rows, size_t columns, const float *x, float beta,
                            float *y)
{
    bfloats_product_kernel(matrix, rows, columns, x, beta, y);
}
