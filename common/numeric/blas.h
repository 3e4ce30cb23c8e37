/* The matrix products' library, held to one thread: parallel work is ours. */
#ifndef FFKV_BLAS_H
#define FFKV_BLAS_H

#include <stddef.h>

/* What matrix_start promises. */
void blas_start(size_t threads);

/* Library, version and kernel: what a result's last bits depend on. Static storage. */
const char *blas_name(void);

/*
 * c (rows x columns, rows c_step apart) = a (rows x inner) . b^T + beta * c, where b
 * is columns x inner.
 */
void blas_product_transposed(size_t rows, size_t columns, size_t inner, const float *a, const float *b,
                             float beta, float *c, size_t c_step);

/* c (rows x columns) = a (rows x inner) . b (inner x columns) */
void blas_product(size_t rows, size_t columns, size_t inner, const float *a, const float *b, float *c);

#endif
