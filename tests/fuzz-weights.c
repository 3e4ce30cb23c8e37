/*
 * A fuzzer of what reads safetensors: a folder with model.safetensors, or shards
 * and their index; hashes them, and asks for every tensor in the shape that it
 * states, and in another.
 */
#include "base/messages.h"
#include "formats/safetensors.h"
#include "fuzz.h"
#include "model/weights.h"

#include <stdlib.h>

struct question {
    struct weights *weights;
    const char *name;
    size_t rows, columns;
};

static void read_tensor(void *context)
{
    const struct question *question = context;
    float *values = new_floats(question->rows * (question->columns ? question->columns : 1));
    weights_map(question->weights, question->name, question->rows, question->columns);
    weights_read(question->weights, question->name, question->rows, question->columns, values);
    free(values);
}

static void read_tensors(struct weights *weights)
{
    static const char *const none[] = {NULL};
    struct question question = {.weights = weights};
    while ((question.name = weights_unused(weights, none, none))) {
        struct safetensors *file = safetensors_open(weights_file(weights, question.name));
        const json_t *shape =
            json_object_get(json_object_get(safetensors_header(file), question.name), "shape");
        question.rows = (size_t)json_integer_value(json_array_get(shape, 0));
        question.columns = (size_t)json_integer_value(json_array_get(shape, 1));
        if (weights_has(weights, question.name) && json_array_size(shape) < 3)
            fuzz_try(read_tensor, &question);
        question.rows = question.columns = 2;
        fuzz_try(read_tensor, &question);
        safetensors_close(file);
    }
}

static void read_folder(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "a", "b", NULL};
    char id[HASH_CHARACTERS + 1];
    fuzz_files(bytes, size, names);
    struct weights *weights = weights_open(fuzz_folder());
    struct hash *hash = hash_new();
    weights_hash(weights, hash);
    hash_finish(hash, id);
    read_tensors(weights);
    weights_close(weights);
}

const struct fuzzer fuzzer = {read_folder, NULL, 1 << 19, 64}; /* zlib has buffers of 256 KiB */
