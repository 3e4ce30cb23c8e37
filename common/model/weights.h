/*
 * A model's tensors by name, in whatever files they are: model.safetensors, the
 * shards that model.safetensors.index.json lists, each with the tensors that it
 * names for it, or a GGUF file.
 */
#ifndef FFKV_WEIGHTS_H
#define FFKV_WEIGHTS_H

#include "base/hash.h"
#include "formats/tensor_shape.h"
#include "numeric/stored_floats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weights;

/*
 * Opens the files of the model at path. Ends the program when they are not valid,
 * or are not there; what is there in their place is told, and what to do.
 */
struct weights *weights_open(const char *path);
void weights_close(struct weights *weights);

bool weights_has(struct weights *weights, const char *name);

/*
 * Copies the tensor called name, of this shape, to values as 32-bit floats.
 * Missing, another shape, not finite: the program ends.
 */
void weights_read(struct weights *weights, const char *name, struct tensor_shape shape, float *values);

/*
 * The same of a stack of matrices that safetensors files have as blocks of MXFP4, along rows: tensor blocks
 * has their numbers and scales their exponents. columns must be a multiple of MXFP4_ELEMENTS.
 */
void weights_read_mxfp4(struct weights *weights, const char *blocks, const char *scales,
                        struct tensor_shape shape, float *values);

/*
 * The same tensor, with the same checks, where it lies in the file, until weights_close. FLOATS_OTHER: it is
 * quantized, and only weights_read gives it.
 */
struct stored_floats weights_map(struct weights *weights, const char *name, struct tensor_shape shape);

/* The same, checked only as to name, shape and type: nothing looks at its elements. */
struct stored_floats weights_check(struct weights *weights, const char *name, struct tensor_shape shape);
void weights_check_mxfp4(struct weights *weights, const char *blocks, const char *scales,
                         struct tensor_shape shape);

/*
 * The files' pages that are in memory no longer count as this program's, until they are read again: for a
 * model larger than memory, when what was read of it is not needed soon.
 */
void weights_drop_pages(const struct weights *weights);

/* Whether the files have a tensor of bfloats. */
bool weights_have_bfloats(const struct weights *weights);

/* What the files have: their number and bytes, and of each number format ("F32") its tensors and bytes. */
struct weights_type {
    const char *name;
    size_t tensors, bytes;
};

struct weights_summary {
    size_t files, bytes;
    struct weights_type *type; /* type_count, in the order of the names of their first tensors */
    size_t type_count;
};

/* The caller frees type; its names are there until weights_close. */
struct weights_summary weights_summarize(const struct weights *weights);

/* Whether two tensors that are there, in safetensors files, are of the same type and the same bytes. */
bool weights_equal(const struct weights *weights, const char *a, const char *b);

/* The name of a tensor that ends so, or NULL. */
const char *weights_find(const struct weights *weights, const char *ending);

/*
 * A tensor that nobody has read, mapped or asked for by weights_has, or NULL;
 * names that end with one of ignored, or begin with one of other_parts (NULL-terminated,
 * or NULL), do not count. Such a tensor belongs to arithmetic that this program does not know. One that is in
 * another file than the index says ends the program.
 */
const char *weights_unused(const struct weights *weights, const char *const *ignored,
                           const char *const *other_parts);

/* Adds all bytes of the files to a hash, and on the way checks each against its directory's sums, if any. */
void weights_hash(const struct weights *weights, struct hash *hash);

/* The GGUF file, or NULL where the tensors are in safetensors files. */
const struct gguf *weights_gguf(const struct weights *weights);

/* File that a tensor is in, or the main one; for messages. */
const char *weights_file(const struct weights *weights, const char *name);

#endif
