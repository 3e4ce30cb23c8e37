/*
 * Reads the GGUF format, versions 2 and 3, little endian: metadata by key, a
 * table of tensors, their data. Everything that the file says is checked against
 * the file before it is used; memory is at most a small multiple of its size.
 *
 * Source of the format: docs/gguf.md of the ggml project.
 */
#ifndef FFKV_GGUF_H
#define FFKV_GGUF_H

#include "base/hash.h"
#include "formats/tensor_shape.h"
#include "numeric/stored_floats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

/* What messages say is to be done. */
#define GGUF_DAMAGED "the file is damaged: fetch it again"
#define GGUF_CUT "the file was cut, or is damaged: fetch it again"
#define GGUF_ANEW "convert the original model anew (convert_hf_to_gguf.py of llama.cpp)"

/* Bytes in the file, not terminated; the format says UTF-8, but nothing checks it. */
struct gguf_text {
    const char *bytes;
    size_t length;
};

/* Whether a model's path is a GGUF file's: a model that is a file, not a directory, is one. */
bool is_gguf(const char *path);

/*
 * Maps the file at path. Ends the program when it is not valid: another version
 * or byte order, counts, lengths or offsets beyond the file, unknown types,
 * names that are not printable ASCII or come twice, data that overlap.
 *
 * Where it is the first part of a split model, as its keys split.* and its name say,
 * NAME-00001-of-00003.gguf, all parts are mapped, and are one file from then on. Another
 * part ends the program, and so does one that is not there or not of this model.
 */
struct gguf *gguf_open(const char *path);

/*
 * Adds what a file says, its metadata and its tensors, to a hash: the bytes that one file of
 * all parts has, without keys split.*, with the tensors' data in the order of the header, each
 * from the next multiple of the alignment on and padded to one. Of a file that is so written,
 * as llama.cpp's programs and the Python package gguf do, this is the hash of its bytes.
 */
void gguf_hash(const struct gguf *gguf, struct hash *hash);

void gguf_close(struct gguf *gguf);

/* See mapping_drop_pages: of all parts. */
void gguf_drop_pages(const struct gguf *gguf);

/* Of how many files the model is, and their bytes in all. */
size_t gguf_files(const struct gguf *gguf, size_t *bytes);

/* ---- metadata ---- */

/* How many keys there are, and the one of an index: in order of their bytes. */
size_t gguf_keys(const struct gguf *gguf);
const char *gguf_key(const struct gguf *gguf, size_t index);

bool gguf_has_key(const struct gguf *gguf, const char *key);
bool gguf_is_array(const struct gguf *gguf, const char *key); /* false without the key, too */
bool gguf_is_neutral(const struct gguf *gguf, const char *key); /* missing, 0, false, empty: asks nothing */

/*
 * The value of key. A key that is not there, or is of another type, or a number
 * out of the range given, ends the program. Integers may be of any width.
 */
struct gguf_text gguf_text(const struct gguf *gguf, const char *key);
char *gguf_word(const struct gguf *gguf, const char *key); /* printable ASCII; the caller frees */
uint64_t gguf_uint(const struct gguf *gguf, const char *key, uint64_t least, uint64_t most);
double gguf_real(const struct gguf *gguf, const char *key); /* finite */
bool gguf_bool(const struct gguf *gguf, const char *key);

/* The elements of the array at key, and in count how many. The caller frees. */
struct gguf_text *gguf_texts(const struct gguf *gguf, const char *key, size_t *count);
int64_t *gguf_ints(const struct gguf *gguf, const char *key, size_t *count);
float *gguf_floats(const struct gguf *gguf, const char *key, size_t *count); /* finite */

/* ---- tensors ---- */

/* How many tensors there are, and the name of one: in order of their bytes. */
size_t gguf_tensors(const struct gguf *gguf);
const char *gguf_tensor(const struct gguf *gguf, size_t index);

bool gguf_has(const struct gguf *gguf, const char *name);

enum { GGUF_DIMENSIONS = 4 };

/*
 * The number format of a tensor that is there, as "Q4_1", and at length its
 * lengths as the file has them: elements of a row, rows, ..., 1 behind the last.
 */
const char *gguf_format(const struct gguf *gguf, const char *name, size_t length[GGUF_DIMENSIONS]);

/* The bytes that the tensor takes in the file. */
size_t gguf_tensor_bytes(const struct gguf *gguf, const char *name);

/*
 * Converts the tensor called name, which must have this shape, to 32-bit floats at
 * values. A missing tensor, another shape, or an element that is not finite ends
 * the program. The file has the lengths the other way round: columns first, and
 * does not tell a matrix of one row from a vector.
 */
void gguf_read(const struct gguf *gguf, const char *name, struct tensor_shape shape, float *values);

/*
 * The same tensor, with the same checks, where it lies in the file, until gguf_close. FLOATS_OTHER: its
 * elements are quantized, and nothing looks at them: read it then.
 */
struct stored_floats gguf_map(const struct gguf *gguf, const char *name, struct tensor_shape shape);

/* The same, but that nothing looks at the elements of any. */
struct stored_floats gguf_find(const struct gguf *gguf, const char *name, struct tensor_shape shape);

#endif
