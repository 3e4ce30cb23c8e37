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
    struct tensor_shape shape;
};

static void read_tensor(void *context)
{
    const struct question *question = context;
    float *values = new_floats(shape_elements(question->shape));
    weights_map(question->weights, question->name, question->shape);
    weights_read(question->weights, question->name, question->shape, values);
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
        size_t length[3] = {0}, lengths = json_array_size(shape), first = lengths == 3;
        for (size_t i = 0; i < 3; i++)
            length[i] = (size_t)json_integer_value(json_array_get(shape, i));
        question.shape = (struct tensor_shape){first ? length[0] : 0, length[first], length[first + 1]};
        if (weights_has(weights, question.name) && (lengths < 3 || (lengths == 3 && length[2])))
            fuzz_try(read_tensor, &question);
        question.shape = (struct tensor_shape){.rows = 2, .columns = 2};
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
