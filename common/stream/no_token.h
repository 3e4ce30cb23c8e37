#ifndef FFKV_NO_TOKEN_H
#define FFKV_NO_TOKEN_H

#include <stdint.h>

/* No token has this number. */
#define NO_TOKEN UINT32_MAX

#endif
