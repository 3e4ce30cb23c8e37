/*
 * One GGUF file as its header says it: what is behind gguf.h, which puts the parts of a
 * split model together.
 */
#ifndef FFKV_GGUF_FILE_H
#define FFKV_GGUF_FILE_H

#include "base/mapping.h"
#include "formats/gguf.h"
#include "formats/quantized.h"

/* Types of metadata, by their numbers in the file. */
enum gguf_type {
    UINT8,
    INT8,
    UINT16,
    INT16,
    UINT32,
    INT32,
    FLOAT32,
    BOOL,
    TEXT,
    ARRAY,
    UINT64,
    INT64,
    FLOAT64,
    GGUF_TYPES
};

/* bytes: of a value; of texts and arrays the fewest, those of an empty one. */
struct gguf_type_name {
    const char *name;
    size_t bytes;
    bool integer;
};

extern const struct gguf_type_name gguf_types[GGUF_TYPES];

/* Bytes of the file. */
struct gguf_range {
    const unsigned char *bytes;
    size_t size;
};

/* Entries and tensors begin with their names: see gguf_by_name. */
struct gguf_entry {
    char *key;
    bool array;
    enum gguf_type type; /* of the value, or of the array's elements */
    size_t count;        /* of elements; 1 when it is no array */
    const unsigned char *data;
    struct gguf_range whole; /* key, type and value */
};

struct gguf_tensor {
    char *name;
    const struct quantization *format;
    size_t length[GGUF_DIMENSIONS]; /* as the file has them, the fastest first; 1 behind the last */
    size_t elements, bytes;
    size_t begin; /* in the file's data */
    struct gguf_range info; /* what the header has of it; the offset is last, in 8 bytes */
    const struct gguf_file *file;
};

struct gguf_file {
    char *path;
    struct mapping mapping;
    uint32_t version;
    size_t alignment;
    const unsigned char *data; /* behind the header and its padding */
    size_t data_size;
    size_t entries, tensors;
    struct gguf_entry *entry;   /* by key */
    struct gguf_tensor *tensor; /* by name */
};

/* Maps the file at path and reads its header; gguf_open says what ends the program. */
struct gguf_file *gguf_file_open(const char *path);
void gguf_file_close(struct gguf_file *file);

/* The entry of key; NULL when there is none. */
const struct gguf_entry *gguf_find_entry(const struct gguf_file *file, const char *key);

/* As gguf_uint. */
uint64_t gguf_file_uint(const struct gguf_file *file, const char *key, uint64_t least, uint64_t most);

/* Element index of an entry of integers. */
int64_t gguf_integer_at(const struct gguf_file *file, const struct gguf_entry *entry, size_t index);

/* Its texts, which are at data and were checked. The caller frees them. */
struct gguf_text *gguf_texts_of(const struct gguf_file *file, const struct gguf_entry *entry);

/* Ends the program for an entry of another type than is wanted. */
_Noreturn void gguf_wrong_type(const struct gguf_file *file, const struct gguf_entry *entry,
                               const char *wanted);

/* The entry of key, which must be there and be an array or not; wanted is for the message. */
const struct gguf_entry *gguf_need_entry(const struct gguf_file *file, const char *key, bool array,
                                         const char *wanted);

bool gguf_printable(struct gguf_text text);
char *gguf_copy_text(struct gguf_text text);

/* Compares entries or tensors, which begin with a string. */
int gguf_by_name(const void *a, const void *b);

#endif
