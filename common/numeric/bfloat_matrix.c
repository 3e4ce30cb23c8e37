#include "numeric/bfloat_matrix.h"

#include "base/mapping.h"
#include "base/messages.h"
#include "numeric/bfloats.h"
#include "numeric/onednn.h"
#include "numeric/vector_product.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct bfloat_matrix {
    size_t rows, columns;
    size_t terms;                     /* of activations */
    size_t own_terms;                 /* of the weights, at most terms */
    const uint16_t *term[MAX_TERMS];  /* own_terms: rows x columns */
    uint16_t *owned;                  /* what they are in; NULL: they are somebody else's */
    pthread_mutex_t packing;          /* for what follows */
    struct onednn_matrix *packed[MAX_TERMS]; /* own_terms, from the first product of several rows on */
};

static struct bfloat_matrix *new_matrix(size_t rows, size_t columns, size_t terms)
{
    struct bfloat_matrix *matrix = new_array(1, sizeof *matrix);
    *matrix = (struct bfloat_matrix){.rows = rows, .columns = columns, .terms = terms, .own_terms = 1};
    if (pthread_mutex_init(&matrix->packing, NULL))
        die("unable to make a lock for a matrix");
    return matrix;
}

struct bfloat_matrix *bfloat_matrix_round(const float *values, size_t rows, size_t columns, size_t terms)
{
    struct bfloat_matrix *matrix = new_matrix(rows, columns, terms);
    size_t count = matrix_count(rows, columns);
    matrix->own_terms = bfloats_needed(values, count, terms);
    matrix->owned = grow_array(NULL, matrix_count(matrix->own_terms, count), sizeof *matrix->owned);
    bfloats_split(values, count, matrix->own_terms, matrix->owned);
    for (size_t t = 0; t < matrix->own_terms; t++)
        matrix->term[t] = matrix->owned + t * count;
    return matrix;
}

struct bfloat_matrix *bfloat_matrix_of(const uint16_t *values, size_t rows, size_t columns, size_t terms)
{
    struct bfloat_matrix *matrix = new_matrix(rows, columns, terms);
    matrix->term[0] = values;
    return matrix;
}

void bfloat_matrix_free(struct bfloat_matrix *matrix)
{
    if (!matrix)
        return;
    for (size_t t = 0; t < matrix->own_terms; t++)
        onednn_free(matrix->packed[t]);
    pthread_mutex_destroy(&matrix->packing);
    free(matrix->owned);
    free(matrix);
}

/*
 * A term in the library's arrangement, made by the first that asks for it. Products with several rows do not
 * look at the file again.
 */
static const struct onednn_matrix *packed_term(struct bfloat_matrix *matrix, size_t term)
{
    pthread_mutex_lock(&matrix->packing);
    if (!matrix->packed[term]) {
        matrix->packed[term] = onednn_pack(matrix->term[term], matrix->rows, matrix->columns);
        if (!matrix->owned)
            mapping_drop_pages(matrix->term[term], matrix->rows * matrix->columns * sizeof(uint16_t));
    }
    pthread_mutex_unlock(&matrix->packing);
    return matrix->packed[term];
}

/* The terms (terms x count) of count activations; the caller frees them. */
static uint16_t *split(const struct bfloat_matrix *matrix, const float *x, size_t count)
{
    uint16_t *terms = grow_array(NULL, matrix_count(matrix->terms, count), sizeof *terms);
    bfloats_split(x, count, matrix->terms, terms);
    return terms;
}

/* The products of all vectors, in rows without gaps. */
static void multiply_closely(struct bfloat_matrix *matrix, size_t count, const float *x, float beta, float *y)
{
    size_t numbers = matrix_count(count, matrix->columns);
    uint16_t *terms = split(matrix, x, numbers);
    for (size_t order = matrix->terms; order-- > 0;) /* small products first: they are not rounded away */
        for (size_t t = 0; t <= order && t < matrix->own_terms; t++, beta = 1)
            onednn_product_transposed(packed_term(matrix, t), count, terms + (order - t) * numbers, beta, y);
    free(terms);
}

void bfloat_matrix_multiply(struct bfloat_matrix *matrix, size_t count, const float *x, float beta, float *y,
                            size_t y_step)
{
    size_t rows = matrix->rows;
    if (y_step == rows) {
        multiply_closely(matrix, count, x, beta, y);
        return;
    }
    float *close = grow_array(NULL, matrix_count(count, rows), sizeof *close);
    for (size_t i = 0; i < count && (beta > 0 || beta < 0); i++)
        memcpy(close + i * rows, y + i * y_step, rows * sizeof *y);
    multiply_closely(matrix, count, x, beta, close);
    for (size_t i = 0; i < count; i++)
        memcpy(y + i * y_step, close + i * rows, rows * sizeof *y);
    free(close);
}

void bfloat_matrix_multiply_transposed(const struct bfloat_matrix *matrix, size_t count, const float *x,
                                       float *y)
{
    size_t numbers = matrix_count(count, matrix->rows);
    uint16_t *terms = split(matrix, x, numbers);
    float beta = 0;
    for (size_t order = matrix->terms; order-- > 0;)
        for (size_t t = 0; t <= order && t < matrix->own_terms; t++, beta = 1)
            onednn_product(count, matrix->columns, matrix->rows, terms + (order - t) * numbers,
                           matrix->term[t], beta, y);
    free(terms);
}

void bfloat_matrix_multiply_vector(const struct bfloat_matrix *matrix, size_t first, size_t count,
                                   const float *x, float beta, float *y)
{
    for (size_t t = matrix->own_terms; t-- > 0; beta = 1)
        vector_product((struct stored_floats){(const void *)matrix->term[t], FLOATS_BFLOAT}, first, count,
                       matrix->columns, x, beta, y);
}

/* The weight at an index: exactly what was rounded to so many terms. */
static float weight_at(const struct bfloat_matrix *matrix, size_t index)
{
    float weight = from_bfloat(matrix->term[0][index]);
    for (size_t t = 1; t < matrix->own_terms; t++)
        weight += from_bfloat(matrix->term[t][index]);
    return weight;
}

void bfloat_matrix_row(const struct bfloat_matrix *matrix, size_t row, float *out)
{
    for (size_t column = 0; column < matrix->columns; column++)
        out[column] = weight_at(matrix, row * matrix->columns + column);
}

void bfloat_matrix_column(const struct bfloat_matrix *matrix, size_t column, float *out)
{
    for (size_t row = 0; row < matrix->rows; row++)
        out[row] = weight_at(matrix, row * matrix->columns + column);
}
