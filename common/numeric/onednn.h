/*
 * Products of bfloat16 numbers by oneDNN, held to one thread: parallel work is ours. Sums are 32-bit floats.
 * A program that is built without the library (make DNNL=) has none of them.
 */
#ifndef FFKV_ONEDNN_H
#define FFKV_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Call before the others, from the main thread. NULL, or why there are no products: static storage. */
const char *onednn_start(void);

/* Whether the processor has instructions for them; without, they are slower than those of 32-bit floats. */
bool onednn_is_native(void);

/* Library, version and kernel: what a result's last bits depend on. Static storage. */
const char *onednn_name(void);

/* A matrix in the library's own arrangement. */
struct onednn_matrix;

/* values: rows x columns; they are not needed any more then. The caller frees it with onednn_free. */
struct onednn_matrix *onednn_pack(const uint16_t *values, size_t rows, size_t columns);
void onednn_free(struct onednn_matrix *matrix);

/* y (count x rows) = x (count x columns) . matrix^T + beta * y. beta 0: y is not read. */
void onednn_product_transposed(const struct onednn_matrix *matrix, size_t count, const uint16_t *x,
                               float beta, float *y);

/* y (count x columns) = x (count x inner) . b (inner x columns) + beta * y */
void onednn_product(size_t count, size_t columns, size_t inner, const uint16_t *x, const uint16_t *b,
                    float beta, float *y);

#endif
