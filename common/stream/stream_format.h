/*
 * What ffkv-stream(5) fixes for whoever reads or writes a stream: its name and version, and the
 * most that it can have of anything, which readers check before they reserve memory.
 */
#ifndef FFKV_STREAM_FORMAT_H
#define FFKV_STREAM_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the stream's arrays are little endian and are not converted"
#endif

#define STREAM_FORMAT "ffkv"

/* What a bin can hold; memory follows what arrives, not what is claimed. */
#define MAX_OBJECT_BYTES ((size_t)UINT32_MAX)

enum {
    STREAM_VERSION = 1,
    PROMPTS_VERSION = 2, /* of a stream of prompts, whose placeholders a reader of 1 would take for tokens */
    MAX_HEADER_BYTES = 1 << 23,   /* and of what a record or trailer has besides declared arrays */
    MAX_TEXT_BYTES = 1 << 16,     /* of a string */
    MAX_ARRAY_BYTES = UINT32_MAX / 8, /* an eighth of an object's */
    MAX_DEPTH = 16,               /* of nested maps and arrays */
    MAX_ELEMENTS = 1 << 20,       /* of all maps and arrays of one object */
    MAX_MEMBERS = 256,            /* of a header, record or trailer */
    CRC_BYTES = 4,                /* the last ones of a stream */
};

#endif
