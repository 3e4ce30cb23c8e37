/*
 * Files that torch.save wrote, in the old form (pickles, then the storages' bytes)
 * and in the zip one, as a tree of values and tensors in it. Nothing in a file
 * is executed: see pickle.h.
 */
#ifndef FFKV_TORCHFILE_H
#define FFKV_TORCHFILE_H

#include "formats/pickle.h"

#include <stdbool.h>
#include <stddef.h>

enum { TORCH_MAX_DIMENSIONS = 8 };

struct torch_file;

/* A view of a storage, which lies within it. Lengths and strides count elements. */
struct torch_tensor {
    const char *type;       /* as safetensors calls it: "F32", "F16", "BF16", "I64" ... */
    size_t element_bytes;
    size_t dimensions;
    size_t shape[TORCH_MAX_DIMENSIONS], stride[TORCH_MAX_DIMENSIONS];
    size_t count, offset;   /* elements in all; where the first one is */
    struct torch_storage *storage;
};

/* Opens a file and reads its tree. What is damaged, or not known, ends the program. */
struct torch_file *torch_open(const char *path);
void torch_close(struct torch_file *file);

/* The tree: what was given to torch.save. */
const struct pickle_value *torch_root(const struct torch_file *file);
size_t torch_file_bytes(const struct torch_file *file);

/*
 * False: value is no tensor. True: *tensor is what it says. A tensor that does
 * not fit its storage ends the program; name is for the message.
 */
bool torch_tensor_get(const struct torch_file *file, const struct pickle_value *value, const char *name,
                      struct torch_tensor *tensor);

/*
 * The tensor's elements in row-major order, for the caller to free. Its storage
 * is read when it is first asked for, and kept: memory is at most the file's size
 * more.
 */
void *torch_tensor_read(struct torch_file *file, const struct torch_tensor *tensor);

#endif
