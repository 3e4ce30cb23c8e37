#define _XOPEN_SOURCE 700 /* setitimer */
#include "numeric/blas.h"

#include "base/messages.h"

#include <cblas.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#ifdef OPENBLAS_VERSION

/*
 * OpenBLAS reserves a buffer for each thread that computes a product, 128 MB of addresses on
 * x86-64, and some versions already one when they are loaded. Where the system refuses it,
 * under a limit on memory, versions from 0.3.21 to 0.3.29 ask again for ever. So it takes all
 * its buffers where we can watch it: in blas_start, and before, while libraries are loaded. It
 * reserves addresses only, which takes next to no time, so one that takes long asks in vain.
 */
enum { MILLISECONDS_TO_LOAD = 5000, MILLISECONDS_TO_RESERVE = 200 };

/*
 * Of OpenBLAS, where its headers do not have it: of its buffers, the first that is free; and how
 * many threads it is to have, which it asks while it is loaded. This program's answer comes
 * before its own, which is the processors: it starts that many threads then, and ends the
 * program by SIGINT where it cannot.
 */
void *blas_memory_alloc(int unused) __attribute__((weak));
void blas_memory_free(void *buffer) __attribute__((weak));
int openblas_num_threads_env(void);

int openblas_num_threads_env(void)
{
    return 1;
}

static void give_up(int number)
{
    (void)number;
    die_in_handler("out of memory",
                   "the BLAS library does not get its buffers, up to 128 MB for each thread: "
                   "use fewer --threads, or raise the limit on memory (ulimit -v)");
}

/* Ends the program after so much processor time; 0: no more. */
static void watch(int milliseconds)
{
    struct itimerval time = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000}};
    signal(SIGPROF, milliseconds ? give_up : SIG_DFL);
    setitimer(ITIMER_PROF, &time, NULL);
}

/* Runs before libraries are initialized, the sanitizers' among them, and knows nothing but its arguments. */
__attribute__((no_sanitize("address", "undefined"))) static void watch_loading(int count, char **arguments)
{
    if (count < 1)
        return;
    const char *name = arguments[0];
    for (const char *character = name; *character; character++)
        if (*character == '/')
            name = character + 1;
    set_program_name(name);
    watch(MILLISECONDS_TO_LOAD);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char **) = watch_loading;

/* Behind them. */
__attribute__((constructor)) static void loaded(void)
{
    watch(0);
}

/* One buffer for each thread; they stay the library's, which uses those it has before it takes another. */
static void take_buffers(size_t threads)
{
    void **buffer = new_array(threads, sizeof *buffer);
    watch(MILLISECONDS_TO_RESERVE);
    for (size_t i = 0; i < threads; i++)
        buffer[i] = blas_memory_alloc(0);
    watch(0);
    for (size_t i = 0; i < threads; i++)
        blas_memory_free(buffer[i]);
    free(buffer);
}

#endif

void blas_start(size_t threads)
{
#ifdef OPENBLAS_VERSION
    openblas_set_num_threads(1);
    if (blas_memory_alloc && blas_memory_free)
        take_buffers(threads);
#else
    (void)threads;
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
