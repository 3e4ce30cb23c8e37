#include "numeric/blas.h"

#include <cblas.h>
#include <stdio.h>

void blas_start(void)
{
#ifdef OPENBLAS_VERSION
    openblas_set_num_threads(1);
#endif
}

const char *blas_name(void)
{
#ifdef OPENBLAS_VERSION
    static char name[64];
    char version[32] = "";
    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..." */
    sscanf(openblas_get_config(), "OpenBLAS %31s", version);
    snprintf(name, sizeof name, "OpenBLAS %s %s", version, openblas_get_corename());
    return name;
#else
    return "CBLAS";
#endif
}

void blas_product_transposed(size_t rows, size_t columns, size_t inner, const float *a, const float *b,
                             float beta, float *c, size_t c_step)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)inner, 1.0f, a,
                (int)inner, b, (int)inner, beta, c, (int)c_step);
}

void blas_product(size_t rows, size_t columns, size_t inner, const float *a, const float *b, float *c)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)inner, 1.0f, a,
                (int)inner, b, (int)columns, 0.0f, c, (int)columns);
}
