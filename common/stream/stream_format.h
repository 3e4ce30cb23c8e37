/*
 * What ffkv-stream(5) fixes for whoever reads or writes a stream: its name and version. The most
 * that it can have of anything, which readers check before they reserve memory, is in limits.h.
 */
#ifndef FFKV_STREAM_FORMAT_H
#define FFKV_STREAM_FORMAT_H

#include "base/limits.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the stream's arrays are little endian and are not converted"
#endif

#define STREAM_FORMAT "ffkv"

enum {
    STREAM_VERSION = 1,
    PROMPTS_VERSION = 2, /* of a stream of prompts, whose placeholders a reader of 1 would take for tokens */
    CRC_BYTES = 4,                /* the last ones of a stream */
};

#endif
