/*
 * Matrices of weights. Whoever multiplies by one, or reads a row of it, asks here, so
 * that a backend may keep it in a form of its own. BLAS takes 32-bit floats, to which a file's 16-bit
 * numbers are widened for each product; oneDNN has 16-bit floats, in an arrangement of its own
 * (bfloat_matrix.h).
 */
#ifndef FFKV_MATRIX_H
#define FFKV_MATRIX_H

#include "base/team.h"
#include "numeric/stored_floats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How products are made: words of --products, which the manual page ffkv has more of. */
enum product_kind {
    PRODUCTS_AUTO,    /* the fastest that is as exact as 32-bit floats */
    PRODUCTS_FLOAT32, /* 32-bit floats */
    PRODUCTS_BF16X3,  /* sums of 3 bfloat16 terms, as exact */
    PRODUCTS_BF16X2,  /* of 2, which are 16 bits */
    PRODUCTS_BF16     /* bfloat16: 8 bits */
};
extern const char *const product_kind_words[];

#define OPTION_PRODUCTS(pointer) \
    {0, "products", "KIND", "matrix products of float32, bf16x3, which is as exact, bf16x2 or bf16" \
     " numbers, or auto: the faster of the first two (default)", \
     OPTION_CHOICE, pointer, 0, 0, product_kind_words}

/* Of these three a matrix has one; what it is in belongs to whoever made it. */
struct matrix {
    size_t rows, columns;          /* 0: there is no matrix */
    const float *values;           /* rows x columns */
    struct bfloat_matrix *bfloats; /* the same, as oneDNN takes them */
    struct stored_floats stored;   /* the same, as a file has them: products and rows widen them */
    struct word_form *form;        /* of stored words: what their products take; NULL: it is made for each */
};

/*
 * Call before the first product, from the main thread, before memory is needed for anything
 * else. threads: that will compute products at the same time. Ends the program where the
 * backend does not get the memory that it wants for each of them, or has not these products.
 */
void matrix_start(size_t threads, enum product_kind products);

/*
 * Call before matrices are made, from the main thread: decides what auto is, for weights of which some, or
 * none, are stored as bfloats. Without them, or without instructions for them, it is float32; else a trial of
 * a twentieth of a second tells.
 */
void matrix_settle(bool bfloats);

/* How products are made with matrices that are made now; not auto. Without matrix_start, float32. */
enum product_kind matrix_products(void);

/*
 * values (rows x columns) as a matrix. NULL: no matrix. With float32 they must outlive it, else they are not
 * needed any more.
 */
struct matrix matrix_of(const float *values, size_t rows, size_t columns);

/* The same of bfloats in a file that is mapped, which must outlive the matrix; not with float32. */
struct matrix matrix_of_bfloats(const uint16_t *values, size_t rows, size_t columns);

/*
 * The same of a layer's matrix as a file has it, which must outlive the matrix; with float32. Each product
 * widens all of it to a buffer of its thread, so that it has the bytes of one with 32-bit floats: products
 * with parts of a matrix have not, with some kernels.
 */
struct matrix matrix_of_stored(struct stored_floats values, size_t rows, size_t columns);

/*
 * The same of words, with all kinds of products: rows are read where the file has them, and the first product
 * makes what it and all others take.
 */
struct matrix matrix_of_words(struct stored_floats values, size_t rows, size_t columns);

/* Frees what the matrix has of its own; whether there is anything. */
void matrix_free(struct matrix *matrix);
bool matrix_owns(const struct matrix *matrix);
bool matrix_exists(const struct matrix *matrix);

/*
 * The matrix in the form that its products take, for several of them: it is there until this thread asks for
 * another's, or makes a product with another.
 */
struct matrix matrix_ready(const struct matrix *matrix);

/*
 * y = x . matrix^T + beta * y for count vectors: x is count x columns; y is count x rows,
 * its rows y_step floats apart. beta 0: y need not be initialised.
 */
void matrix_multiply(const struct matrix *matrix, size_t count, const float *x, float beta, float *y,
                     size_t y_step);

/*
 * y (rows) = matrix . x + beta * y for one vector, the matrix' rows shared out among a team; the result does
 * not depend on how many they are. It is not BLAS, whose products of one row are slow in some versions, but
 * sums of 32-bit floats, whatever the weights are.
 */
void matrix_multiply_vector(const struct matrix *matrix, struct team *team, const float *x, float beta,
                            float *y);

/* y (count x columns) = x (count x rows) . matrix */
void matrix_multiply_transposed(const struct matrix *matrix, size_t count, const float *x, float *y);

/* Copies one row (columns) or one column (rows, not of stored words) to out. */
void matrix_row(const struct matrix *matrix, size_t row, float *out);
void matrix_column(const struct matrix *matrix, size_t column, float *out);

/*
 * Bytes that a number takes as bfloats, of products that are not float32, when it was stored so: terms that
 * are not needed are left out.
 */
size_t matrix_form_bytes(enum float_format stored);

/* Libraries, versions and kernels, which a result's last bits depend on: of float32, and of the others. */
const char *matrix_arithmetic(void);
const char *matrix_arithmetic_of_bfloats(void);

#endif
