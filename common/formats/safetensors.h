/*
 * Reads the safetensors format: 8 bytes of header length, a JSON header, data.
 * Everything that the header says is checked against the file before it is used.
 */
#ifndef FFKV_SAFETENSORS_H
#define FFKV_SAFETENSORS_H

#include "formats/tensor_shape.h"
#include "numeric/stored_floats.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct safetensors;

/*
 * Maps the file at path. Ends the program when its header is not valid: sizes
 * beyond the file, data that overlap or leave holes, types that the format does
 * not have. Tensors may be of any type that it has, as long as nobody reads them.
 */
struct safetensors *safetensors_open(const char *path);

/* What the header says: tensors by name, and perhaps "__metadata__". */
json_t *safetensors_header(const struct safetensors *file);

bool safetensors_has(const struct safetensors *file, const char *name);

/*
 * Converts the tensor called name, which must have this shape, to 32-bit floats
 * at values. A missing tensor, another shape, a type other than F32, F16 and
 * BF16, or an element that is not finite ends the program.
 */
void safetensors_read(const struct safetensors *file, const char *name, struct tensor_shape shape,
                      float *values);

/* The same tensor, with the same checks, where it lies in the mapped file, until safetensors_close. */
struct stored_floats safetensors_map(const struct safetensors *file, const char *name,
                                     struct tensor_shape shape);

/* The same, but that nothing looks at its elements, which may not be finite. */
struct stored_floats safetensors_find(const struct safetensors *file, const char *name,
                                      struct tensor_shape shape);

/*
 * The bytes of the tensor called name, which must be of type U8 and of so many dimensions, whose lengths
 * these are. They are numbers in a form of their own: the caller knows it.
 */
const unsigned char *safetensors_codes(const struct safetensors *file, const char *name,
                                       const size_t *lengths, size_t dimensions);

/* A tensor as it is stored. */
struct stored_bytes {
    const char *type;
    const void *bytes;
    size_t size;
};

/* The tensor called name, which must be there. */
struct stored_bytes safetensors_stored(const struct safetensors *file, const char *name);

/* The whole file, for its hash. */
const void *safetensors_bytes(const struct safetensors *file, size_t *size);

/* See mapping_drop_pages: of the whole file. */
void safetensors_drop_pages(const struct safetensors *file);

void safetensors_close(struct safetensors *file);

#endif
