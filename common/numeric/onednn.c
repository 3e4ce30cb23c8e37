#include "numeric/onednn.h"

#include "base/messages.h"

#ifdef FFKV_DNNL

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
/* Of the OpenMP library that oneDNN was built with, whose header not every compiler has: for this thread. */
void omp_set_num_threads(int threads);
#else
static void omp_set_num_threads(int threads)
{
    (void)threads;
}
#endif

/* What a shape is laid out for; every other number of rows uses the same arrangement. */
enum { USUAL_ROWS = 512 };

static dnnl_engine_t engine; /* made by onednn_start, never changed */
static char name[96];

static void check(dnnl_status_t status)
{
    const dnnl_version_t *version = dnnl_version();
    if (status == dnnl_out_of_memory)
        die("out of memory: oneDNN does not get what a product needs; use fewer --threads");
    if (status != dnnl_success)
        die("oneDNN %d.%d.%d cannot make a product of bfloat16 numbers (its status %d): use --products"
            " float32", version->major, version->minor, version->patch, (int)status);
}

/* ---- what versions 2 and 3 call differently ---- */

/* A matrix as the library describes it; both versions take it by this pointer. */
#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t description;
typedef const_dnnl_memory_desc_t const_description;

static description copy_description(const_description from)
{
    description to = NULL;
    check(dnnl_memory_desc_clone(&to, from));
    return to;
}

static void free_description(description of)
{
    dnnl_memory_desc_destroy(of);
}

static description describe(size_t rows, size_t columns, dnnl_data_type_t type, size_t row_step,
                            size_t column_step)
{
    const dnnl_dims_t lengths = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    const dnnl_dims_t steps = {(dnnl_dim_t)row_step, (dnnl_dim_t)column_step};
    description of = NULL;
    check(row_step ? dnnl_memory_desc_create_with_strides(&of, 2, lengths, type, steps)
                   : dnnl_memory_desc_create_with_tag(&of, 2, lengths, type, dnnl_format_tag_any));
    return of;
}

static void append_sum(dnnl_post_ops_t operations, float scale)
{
    check(dnnl_post_ops_append_sum(operations, scale, 0, dnnl_data_type_undef));
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *product, const_description x,
                                      const_description matrix, const_description y,
                                      const_dnnl_primitive_attr_t attributes)
{
    return dnnl_matmul_primitive_desc_create(product, engine, x, matrix, NULL, y, attributes);
}

#else

typedef dnnl_memory_desc_t *description;
typedef const dnnl_memory_desc_t *const_description;

static description copy_description(const_description from)
{
    description to = new_array(1, sizeof *to);
    *to = *from;
    return to;
}

static void free_description(description of)
{
    free(of);
}

static description describe(size_t rows, size_t columns, dnnl_data_type_t type, size_t row_step,
                            size_t column_step)
{
    const dnnl_dims_t lengths = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    const dnnl_dims_t steps = {(dnnl_dim_t)row_step, (dnnl_dim_t)column_step};
    description of = new_array(1, sizeof *of);
    check(row_step ? dnnl_memory_desc_init_by_strides(of, 2, lengths, type, steps)
                   : dnnl_memory_desc_init_by_tag(of, 2, lengths, type, dnnl_format_tag_any));
    return of;
}

static void append_sum(dnnl_post_ops_t operations, float scale)
{
    check(dnnl_post_ops_append_sum(operations, scale));
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *product, const_description x,
                                      const_description matrix, const_description y,
                                      const_dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, x, matrix, NULL, y);
    return status ? status : dnnl_primitive_desc_create(product, &operation, attributes, engine, NULL);
}

#endif

/* ---- products ---- */

/*
 * y (count x columns) = x (count x inner) . matrix + beta * y, as the library describes it; the caller
 * destroys it. The rows of y have no gaps: with them version 2 is a hundred times slower, and version 3 wrong
 * where there is one column. The library keeps what it compiled for the shapes that it met, so that this
 * takes microseconds.
 */
static dnnl_status_t find_product(size_t count, size_t columns, size_t inner, const_description matrix,
                                  float beta, dnnl_primitive_desc_t *product)
{
    description x = describe(count, inner, dnnl_bf16, inner, 1);
    description y = describe(count, columns, dnnl_f32, columns, 1);
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t operations;
    check(dnnl_primitive_attr_create(&attributes));
    check(dnnl_post_ops_create(&operations));
    if (beta > 0 || beta < 0)
        append_sum(operations, beta);
    check(dnnl_primitive_attr_set_post_ops(attributes, operations));
    dnnl_status_t status = describe_product(product, x, matrix, y, attributes);
    dnnl_post_ops_destroy(operations);
    dnnl_primitive_attr_destroy(attributes);
    free_description(x);
    free_description(y);
    return status;
}

static dnnl_memory_t memory_at(const_description of, const void *values)
{
    dnnl_memory_t memory;
    /* The library takes every pointer as one to change; it changes none of what it reads. */
    check(dnnl_memory_create(&memory, of, engine, (void *)(uintptr_t)values));
    return memory;
}

/* Runs a primitive with so many arguments, whose memory is destroyed. */
static void run(const_dnnl_primitive_desc_t described, int count, dnnl_exec_arg_t *arguments)
{
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    check(dnnl_primitive_create(&primitive, described));
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    check(dnnl_primitive_execute(primitive, stream, count, arguments));
    check(dnnl_stream_wait(stream));
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(primitive);
    for (int i = 0; i < count; i++)
        dnnl_memory_destroy(arguments[i].memory);
}

/* y (count x columns) = x (count x inner) . values, in this arrangement, + beta * y */
static void multiply(size_t count, size_t columns, size_t inner, const uint16_t *x,
                     const_description arrangement, const void *values, float beta, float *y)
{
    dnnl_primitive_desc_t product;
    omp_set_num_threads(1);
    check(find_product(count, columns, inner, arrangement, beta, &product));
    dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, memory_at(dnnl_primitive_desc_query_md(product, dnnl_query_src_md, 0), x)},
        {DNNL_ARG_WEIGHTS, memory_at(arrangement, values)},
        {DNNL_ARG_DST, memory_at(dnnl_primitive_desc_query_md(product, dnnl_query_dst_md, 0), y)}};
    run(product, sizeof arguments / sizeof *arguments, arguments);
    dnnl_primitive_desc_destroy(product);
}

void onednn_product(size_t count, size_t columns, size_t inner, const uint16_t *x, const uint16_t *b,
                    float beta, float *y)
{
    description plain = describe(inner, columns, dnnl_bf16, columns, 1);
    multiply(count, columns, inner, x, plain, b, beta, y);
    free_description(plain);
}

struct onednn_matrix {
    size_t rows, columns;
    description arrangement; /* of columns x rows, the transpose */
    void *values;
};

struct onednn_matrix *onednn_pack(const uint16_t *values, size_t rows, size_t columns)
{
    struct onednn_matrix *matrix = new_array(1, sizeof *matrix);
    description plain = describe(columns, rows, dnnl_bf16, 1, columns);
    description any = describe(columns, rows, dnnl_bf16, 0, 0);
    dnnl_primitive_desc_t product, reorder;
    omp_set_num_threads(1);
    check(find_product(USUAL_ROWS, rows, columns, any, 0, &product));
    matrix->rows = rows;
    matrix->columns = columns;
    matrix->arrangement = copy_description(dnnl_primitive_desc_query_md(product, dnnl_query_weights_md, 0));
    matrix->values = new_aligned(dnnl_memory_desc_get_size(matrix->arrangement), 1);
    check(dnnl_reorder_primitive_desc_create(&reorder, plain, engine, matrix->arrangement, engine, NULL));
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, memory_at(plain, values)},
                                   {DNNL_ARG_TO, memory_at(matrix->arrangement, matrix->values)}};
    run(reorder, sizeof arguments / sizeof *arguments, arguments);
    dnnl_primitive_desc_destroy(reorder);
    dnnl_primitive_desc_destroy(product);
    free_description(any);
    free_description(plain);
    return matrix;
}

void onednn_free(struct onednn_matrix *matrix)
{
    if (!matrix)
        return;
    free_description(matrix->arrangement);
    free(matrix->values);
    free(matrix);
}

void onednn_product_transposed(const struct onednn_matrix *matrix, size_t count, const uint16_t *x,
                               float beta, float *y)
{
    multiply(count, matrix->rows, matrix->columns, x, matrix->arrangement, matrix->values, beta, y);
}

/* ---- the library ---- */

const char *onednn_start(void)
{
    enum { SOME = 64 };
    const dnnl_version_t *version = dnnl_version();
    const char *kernel = "";
    dnnl_primitive_desc_t product;
    omp_set_num_threads(1);
    if (!engine)
        check(dnnl_engine_create(&engine, dnnl_cpu, 0));
    description any = describe(SOME, SOME, dnnl_bf16, 0, 0);
    dnnl_status_t status = find_product(SOME, SOME, SOME, any, 0, &product);
    free_description(any);
    if (status == dnnl_unimplemented)
        return "oneDNN has no products of bfloat16 numbers on this processor";
    check(status);
    check(dnnl_primitive_desc_query(product, dnnl_query_impl_info_str, 0, &kernel));
    snprintf(name, sizeof name, "oneDNN %d.%d.%d %s", version->major, version->minor, version->patch, kernel);
    dnnl_primitive_desc_destroy(product);
    return NULL;
}

bool onednn_is_native(void)
{
    /* Instruction sets are sums of what they have. */
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

const char *onednn_name(void)
{
    return name;
}

#else

const char *onednn_start(void)
{
    return "this program was built without oneDNN";
}

bool onednn_is_native(void)
{
    return false;
}

const char *onednn_name(void)
{
    return "";
}

/* Nobody calls these: matrix_start has ended the program. */
static _Noreturn void there_is_none(void)
{
    die("%s", onednn_start());
}

struct onednn_matrix *onednn_pack(const uint16_t *values, size_t rows, size_t columns)
{
    (void)values, (void)rows, (void)columns;
    there_is_none();
}

void onednn_free(struct onednn_matrix *matrix)
{
    (void)matrix;
}

void onednn_product_transposed(const struct onednn_matrix *matrix, size_t count, const uint16_t *x,
                               float beta, float *y)
{
    (void)matrix, (void)count, (void)x, (void)beta, (void)y;
    there_is_none();
}

void onednn_product(size_t count, size_t columns, size_t inner, const uint16_t *x, const uint16_t *b,
                    float beta, float *y)
{
    (void)count, (void)columns, (void)inner, (void)x, (void)b, (void)beta, (void)y;
    there_is_none();
}

#endif
