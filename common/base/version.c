#include "base/version.h"

#include <cblas.h>
#include <jansson.h>
#include <msgpack/version_master.h>
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <string.h>
#include <unicode/uvernum.h>
#include <xxhash.h>
#include <zip.h>
#include <zlib.h>

#ifdef FFKV_DNNL
#include <oneapi/dnnl/dnnl_version.h>
#endif

#ifndef OPENBLAS_VERSION
#define OPENBLAS_VERSION " another CBLAS "
#endif

/* With the commit, as version.sh tells it to the Makefile. */
#ifndef FFKV_BUILD
#define FFKV_BUILD FFKV_VERSION
#endif

void print_version(const char *tool)
{
    printf("%s (ffkv) %s\n", tool, FFKV_BUILD);
    printf("compiler %s\n", __VERSION__);
#ifdef FFKV_DNNL
    printf("oneDNN %d.%d.%d, ", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
#endif
    printf("zlib %s, msgpack-c %d.%d.%d, jansson %s, ICU %s, libzip %s, protobuf-c %s, "
           "xxHash %d.%d.%d,%.*s\n",
           ZLIB_VERSION, MSGPACK_VERSION_MAJOR, MSGPACK_VERSION_MINOR, MSGPACK_VERSION_REVISION,
           JANSSON_VERSION, U_ICU_VERSION, LIBZIP_VERSION, PROTOBUF_C_VERSION, XXH_VERSION_MAJOR,
           XXH_VERSION_MINOR, XXH_VERSION_RELEASE,
           (int)strlen(OPENBLAS_VERSION) - 1, OPENBLAS_VERSION); /* it has a blank at both ends */
}
