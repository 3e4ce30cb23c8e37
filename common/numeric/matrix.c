#include "numeric/matrix.h"

#include "base/messages.h"
#include "numeric/bfloat_matrix.h"
#include "numeric/bfloats.h"
#include "numeric/blas.h"
#include "numeric/onednn.h"
#include "numeric/vector_product.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

const char *const product_kind_words[] = {"auto", "float32", "bf16x3", "bf16x2", "bf16", NULL};

/* Made by the first product. */
struct word_form {
    pthread_mutex_t making; /* for what follows */
    struct matrix made;
    float *floats;          /* that it is made of, while it needs them */
};

/* Set by the main thread before there is another, as the libraries' own settings are. */
static enum product_kind chosen = PRODUCTS_FLOAT32;

void matrix_start(size_t threads, enum product_kind products)
{
    blas_start(threads);
    chosen = products;
    if (products == PRODUCTS_AUTO || products == PRODUCTS_FLOAT32)
        return;
    const char *reason = onednn_start();
    if (reason)
        die("--products %s: %s; use float32", product_kind_words[products], reason);
}

enum product_kind matrix_products(void)
{
    return chosen == PRODUCTS_AUTO ? PRODUCTS_FLOAT32 : chosen;
}

/* Of each number. */
static size_t terms_of(enum product_kind products)
{
    return products == PRODUCTS_BF16X3 ? 3 : products == PRODUCTS_BF16X2 ? 2 : 1;
}

size_t matrix_form_bytes(enum float_format stored)
{
    enum { PLACES = 2 }; /* as they are, and in the library's arrangement */
    size_t most = stored == FLOATS_BFLOAT ? 1 : stored == FLOATS_HALF ? 2 : MAX_TERMS;
    size_t terms = terms_of(matrix_products());
    return PLACES * sizeof(uint16_t) * (terms < most ? terms : most);
}

struct matrix matrix_of(const float *values, size_t rows, size_t columns)
{
    if (!values)
        return (struct matrix){0};
    if (matrix_products() == PRODUCTS_FLOAT32)
        return (struct matrix){.rows = rows, .columns = columns, .values = values};
    return (struct matrix){.rows = rows, .columns = columns,
                           .bfloats = bfloat_matrix_round(values, rows, columns, terms_of(chosen))};
}

struct matrix matrix_of_bfloats(const uint16_t *values, size_t rows, size_t columns)
{
    return (struct matrix){.rows = rows, .columns = columns,
                           .bfloats = bfloat_matrix_of(values, rows, columns, terms_of(chosen))};
}

struct matrix matrix_of_stored(struct stored_floats values, size_t rows, size_t columns)
{
    return (struct matrix){.rows = rows, .columns = columns, .stored = values};
}

struct matrix matrix_of_words(struct stored_floats values, size_t rows, size_t columns)
{
    struct matrix matrix = matrix_of_stored(values, rows, columns);
    matrix.form = new_array(1, sizeof *matrix.form);
    if (pthread_mutex_init(&matrix.form->making, NULL))
        die("unable to make a lock for a matrix");
    return matrix;
}

void matrix_free(struct matrix *matrix)
{
    bfloat_matrix_free(matrix->bfloats);
    if (matrix->form) {
        bfloat_matrix_free(matrix->form->made.bfloats);
        pthread_mutex_destroy(&matrix->form->making);
        free(matrix->form->floats);
        free(matrix->form);
    }
    *matrix = (struct matrix){0};
}

bool matrix_owns(const struct matrix *matrix)
{
    return matrix->bfloats || matrix->form;
}

bool matrix_exists(const struct matrix *matrix)
{
    return matrix->values || matrix->bfloats || matrix->stored.bytes;
}

/* What products with stored words take. */
static struct matrix form_of_words(const struct matrix *matrix)
{
    struct word_form *form = matrix->form;
    pthread_mutex_lock(&form->making);
    if (!matrix_exists(&form->made)) {
        size_t count = matrix_count(matrix->rows, matrix->columns);
        form->floats = new_floats(count);
        stored_read(matrix->stored, 0, count, form->floats);
        form->made = matrix_of(form->floats, matrix->rows, matrix->columns);
    }
    if (form->made.bfloats) {
        free(form->floats);
        form->floats = NULL;
    }
    pthread_mutex_unlock(&form->making);
    return form->made;
}

struct matrix matrix_ready(const struct matrix *matrix)
{
    if (!matrix->stored.bytes)
        return *matrix;
    if (matrix->form)
        return form_of_words(matrix);
    const float *values = stored_widen(matrix->stored, matrix_count(matrix->rows, matrix->columns));
    return (struct matrix){.rows = matrix->rows, .columns = matrix->columns, .values = values};
}

void matrix_multiply(const struct matrix *matrix, size_t count, const float *x, float beta, float *y,
                     size_t y_step)
{
    const struct matrix ready = matrix_ready(matrix);
    if (ready.bfloats)
        bfloat_matrix_multiply(ready.bfloats, count, x, beta, y, y_step);
    else
        blas_product_transposed(count, ready.rows, ready.columns, x, ready.values, beta, y, y_step);
}

struct vector_work {
    const struct matrix *matrix;
    size_t members;
    const float *x;
    float beta, *y;
};

/* Floats in memory are as a file's are. */
static struct stored_floats as_stored(const float *values)
{
    return (struct stored_floats){(const void *)values, FLOATS_32};
}

/* A member's part of the rows. */
static void multiply_part(void *shared, size_t member)
{
    const struct vector_work *work = shared;
    const struct matrix *matrix = work->matrix;
    size_t part = (matrix->rows + work->members - 1) / work->members;
    size_t first = member * part < matrix->rows ? member * part : matrix->rows;
    size_t count = matrix->rows - first < part ? matrix->rows - first : part;
    if (matrix->bfloats)
        bfloat_matrix_multiply_vector(matrix->bfloats, first, count, work->x, work->beta, work->y + first);
    else
        vector_product(matrix->stored.bytes ? matrix->stored : as_stored(matrix->values), first, count,
                       matrix->columns, work->x, work->beta, work->y + first);
}

void matrix_multiply_vector(const struct matrix *matrix, struct team *team, const float *x, float beta,
                            float *y)
{
    bool formed = matrix->form && matrix_products() != PRODUCTS_FLOAT32;
    const struct matrix ready = formed ? matrix_ready(matrix) : *matrix; /* else it is read where it is */
    struct vector_work work = {&ready, team_size(team), x, beta, y};
    team_run(team, multiply_part, &work);
}

void matrix_multiply_transposed(const struct matrix *matrix, size_t count, const float *x, float *y)
{
    const struct matrix ready = matrix_ready(matrix);
    if (ready.bfloats)
        bfloat_matrix_multiply_transposed(ready.bfloats, count, x, y);
    else
        blas_product(count, ready.columns, ready.rows, x, ready.values, y);
}

void matrix_row(const struct matrix *matrix, size_t row, float *out)
{
    if (matrix->bfloats) {
        bfloat_matrix_row(matrix->bfloats, row, out);
        return;
    }
    struct stored_floats stored = matrix->stored.bytes ? matrix->stored : as_stored(matrix->values);
    stored_read(stored, row * matrix->columns, matrix->columns, out);
    if (matrix->form && matrix_products() != PRODUCTS_FLOAT32) /* as the products have it */
        bfloats_round(out, matrix->columns, terms_of(chosen));
}

void matrix_column(const struct matrix *matrix, size_t column, float *out)
{
    if (matrix->bfloats) {
        bfloat_matrix_column(matrix->bfloats, column, out);
        return;
    }
    struct stored_floats stored = matrix->stored.bytes ? matrix->stored : as_stored(matrix->values);
    for (size_t row = 0; row < matrix->rows; row++)
        out[row] = stored_float(stored, row * matrix->columns + column);
}

const char *matrix_arithmetic(void)
{
    return blas_name();
}

const char *matrix_arithmetic_of_bfloats(void)
{
    return onednn_name();
}

/* ---- auto ---- */

/* Processor time of this thread, in seconds. */
static double processor_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The faster of what a product has taken so far, and one more. */
static double try_once(const struct matrix *matrix, size_t count, const float *x, float *y, double best)
{
    double start = processor_time();
    matrix_multiply(matrix, count, x, 0, y, matrix->rows);
    return fmin(best, processor_time() - start);
}

/* Whether bf16x3 is faster than float32 by a margin that no trial on one machine misses now and hits then. */
static bool bf16x3_is_faster(void)
{
    enum { COUNT = 256, SIDE = 768, TRIALS = 6 };
    const double margin = 1.15;
    float *x = new_floats(COUNT * SIDE), *weights = new_floats(SIDE * SIDE), *y = new_floats(COUNT * SIDE);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        weights[i] = from_bfloat(to_bfloat((float)(i * 2654435761u % 1021) / 1021 - 0.5f));
    for (size_t i = 0; i < COUNT * SIDE; i++)
        x[i] = (float)(i * 2246822519u % 65521) / 65521 - 0.5f;
    struct matrix floats = {.rows = SIDE, .columns = SIDE, .values = weights};
    struct matrix bfloats = {.rows = SIDE, .columns = SIDE,
                             .bfloats = bfloat_matrix_round(weights, SIDE, SIDE, MAX_TERMS)};
    double of_floats = INFINITY, of_bfloats = INFINITY;
    for (size_t i = 0; i < TRIALS; i++) {
        of_floats = try_once(&floats, COUNT, x, y, of_floats);
        of_bfloats = try_once(&bfloats, COUNT, x, y, of_bfloats);
    }
    matrix_free(&bfloats);
    free(y);
    free(weights);
    free(x);
    return of_floats > margin * of_bfloats;
}

void matrix_settle(bool bfloats)
{
    if (chosen != PRODUCTS_AUTO)
        return;
    bool fast = bfloats && !onednn_start() && onednn_is_native() && bf16x3_is_faster();
    chosen = fast ? PRODUCTS_BF16X3 : PRODUCTS_FLOAT32;
}
