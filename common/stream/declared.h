/* Arrays of records as the header declares them, whatever the kind of stream. */
#ifndef FFKV_DECLARED_H
#define FFKV_DECLARED_H

#include "stream/elements.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct declared_array {
    enum element type;
    const char *dimension; /* what it has a row of; "": as many elements as the header says */
    size_t size;           /* bytes of an element */
    bool has_columns;      /* it has two dimensions */
    size_t rows, columns;  /* elements: rows * columns; columns is 1 without */
    const char *bytes;     /* not aligned */
};

/*
 * A member of a record, which is a bin, by what header says of that name: the stream's header, or
 * a changed copy of it. An array that it does not declare, or of another size, ends the program.
 */
struct declared_array declared_array(const struct stream_reader *reader, const json_t *header,
                                     const char *name, const msgpack_object_bin *bin);

/* Its elements; numbers as they are, also those of 64 bits. */
uint64_t declared_number(const struct declared_array *array, size_t index);
double declared_real(const struct declared_array *array, size_t index);

#endif
