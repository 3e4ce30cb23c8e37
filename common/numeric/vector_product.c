#include "numeric/vector_product.h"

#include "numeric/vector.h"

/* Rows at once: each sum waits for itself only, and x is read once for all of them. */
enum { ROWS = 4 };

/* Products of count rows, at most ROWS, with x. */
KERNEL_PART void multiply(const float *matrix, size_t count, size_t columns, const float *x,
                          float *products)
{
    float sum[ROWS][LANES] = {{0}};
    size_t whole = columns / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t r = 0; r < count; r++)
            for (size_t k = 0; k < LANES; k++)
                sum[r][k] += matrix[r * columns + i + k] * x[i + k];
    for (size_t r = 0; r < count; r++) {
        for (size_t i = whole; i < columns; i++)
            sum[r][i - whole] += matrix[r * columns + i] * x[i];
        products[r] = add_lanes(sum[r]);
    }
}

KERNEL static void product_kernel(const float *restrict matrix, size_t rows, size_t columns,
                                  const float *restrict x, float beta, float *restrict y)
{
    for (size_t row = 0; row < rows; row += ROWS) {
        float products[ROWS];
        size_t count = rows - row < ROWS ? rows - row : ROWS;
        if (count == ROWS)
            multiply(matrix + row * columns, ROWS, columns, x, products);
        else
            for (size_t r = 0; r < count; r++)
                multiply(matrix + (row + r) * columns, 1, columns, x, products + r);
        for (size_t r = 0; r < count; r++)
            y[row + r] = beta > 0 || beta < 0 ? products[r] + beta * y[row + r] : products[r];
    }
}

void vector_product(const float *matrix, size_t rows, size_t columns, const float *x, float beta, float *y)
{
    product_kernel(matrix, rows, columns, x, beta, y);
}
