#include "weights.h"

#include "config.h"
#include "gguf.h"
#include "input.h"
#include "json.h"
#include "messages.h"
#include "safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 1000 };

struct weights {
    struct safetensors **shards; /* shard_count, by rising name */
    char **paths;                /* shard_count */
    size_t shard_count;
    struct gguf *gguf;           /* in place of shards; its path is paths[0] */
    json_t *used;                /* names of the tensors that somebody knows */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds a file of the directory, once. */
static void add_file(struct weights *weights, const char *directory, const char *name)
{
    char *path = format_string("%s/%s", directory, name);
    for (size_t i = 0; i < weights->shard_count; i++)
        if (!strcmp(weights->paths[i], path)) {
            free(path);
            return;
        }
    if (weights->shard_count == MOST_SHARDS)
        die("%s: more than %d files", directory, MOST_SHARDS);
    weights->paths = grow_array(weights->paths, weights->shard_count + 1, sizeof *weights->paths);
    weights->paths[weights->shard_count++] = path;
}

/* The files of an index, "weight_map": {tensor: file}. */
static void add_index(struct weights *weights, const char *directory, const char *index_path)
{
    json_error_t error;
    json_t *index = json_load_file(index_path, JSON_REJECT_DUPLICATES, &error);
    json_t *map = json_object_get(index, "weight_map"), *file;
    const char *tensor;
    if (!index)
        die("%s: line %d: %s", index_path, error.line, error.text);
    if (!json_is_object(map) || json_object_size(map) == 0)
        die("%s: there is no 'weight_map'", index_path);
    json_object_foreach(map, tensor, file) {
        const char *name = json_string_value(file);
        if (!name || !*name || strchr(name, '/') || name[0] == '.')
            die("%s: tensor '%s' is not in a file of this folder", index_path, tensor);
        add_file(weights, directory, name);
    }
    json_decref(index);
}

struct weights *weights_open(const char *path)
{
    struct weights *weights = new_array(1, sizeof *weights);
    weights->used = json_make("{}");
    if (model_is_gguf(path)) {
        weights->paths = new_array(1, sizeof *weights->paths);
        weights->paths[0] = copy_string(path);
        weights->gguf = gguf_open(path);
        return weights;
    }
    char *index_path = format_string("%s/model.safetensors.index.json", path);
    if (input_exists(index_path))
        add_index(weights, path, index_path);
    else
        add_file(weights, path, "model.safetensors");
    free(index_path);
    qsort(weights->paths, weights->shard_count, sizeof *weights->paths, by_text);
    weights->shards = new_array(weights->shard_count, sizeof *weights->shards);
    for (size_t i = 0; i < weights->shard_count; i++)
        weights->shards[i] = safetensors_open(weights->paths[i]);
    return weights;
}

void weights_close(struct weights *weights)
{
    for (size_t i = 0; i < weights->shard_count; i++) {
        safetensors_close(weights->shards[i]);
        free(weights->paths[i]);
    }
    if (weights->gguf) {
        gguf_close(weights->gguf);
        free(weights->paths[0]);
    }
    json_decref(weights->used);
    free(weights->shards);
    free(weights->paths);
    free(weights);
}

/* The shard that has the tensor, or the first one, which then says that it is missing. */
static size_t shard_of(const struct weights *weights, const char *name)
{
    for (size_t i = 0; i < weights->shard_count; i++)
        if (safetensors_has(weights->shards[i], name))
            return i;
    return 0;
}

/* Notes that the tensor is known. */
static void use(struct weights *weights, const char *name)
{
    json_put(weights->used, name, json_true());
}

bool weights_has(struct weights *weights, const char *name)
{
    use(weights, name);
    return weights->gguf ? gguf_has(weights->gguf, name)
                         : safetensors_has(weights->shards[shard_of(weights, name)], name);
}

void weights_read(struct weights *weights, const char *name, size_t rows, size_t columns, float *values)
{
    use(weights, name);
    if (weights->gguf)
        gguf_read(weights->gguf, name, rows, columns, values);
    else
        safetensors_read(weights->shards[shard_of(weights, name)], name, rows, columns, values);
}

const float *weights_map(struct weights *weights, const char *name, size_t rows, size_t columns)
{
    use(weights, name);
    return weights->gguf ? gguf_map(weights->gguf, name, rows, columns)
                         : safetensors_map(weights->shards[shard_of(weights, name)], name, rows, columns);
}

static bool ends_with_one_of(const char *name, const char *const *endings)
{
    for (; *endings; endings++)
        if (strlen(name) >= strlen(*endings) && !strcmp(name + strlen(name) - strlen(*endings), *endings))
            return true;
    return false;
}

static bool is_unused(const struct weights *weights, const char *name, const char *const *ignored)
{
    return !json_object_get(weights->used, name) && !ends_with_one_of(name, ignored);
}

const char *weights_unused(const struct weights *weights, const char *const *ignored)
{
    const char *name;
    json_t *tensor;
    for (size_t i = 0; weights->gguf && i < gguf_tensors(weights->gguf); i++)
        if (is_unused(weights, gguf_tensor(weights->gguf, i), ignored))
            return gguf_tensor(weights->gguf, i);
    for (size_t i = 0; i < weights->shard_count; i++)
        json_object_foreach(safetensors_header(weights->shards[i]), name, tensor)
            if (safetensors_has(weights->shards[i], name) && is_unused(weights, name, ignored))
                return name;
    return NULL;
}

void weights_hash(const struct weights *weights, struct hash *hash)
{
    if (weights->gguf) {
        size_t size;
        const void *bytes = gguf_bytes(weights->gguf, &size);
        hash_add(hash, bytes, size);
    }
    for (size_t i = 0; i < weights->shard_count; i++) {
        size_t size;
        const void *bytes = safetensors_bytes(weights->shards[i], &size);
        hash_add(hash, bytes, size);
    }
}

const struct gguf *weights_gguf(const struct weights *weights)
{
    return weights->gguf;
}

const char *weights_file(const struct weights *weights, const char *name)
{
    return weights->paths[weights->gguf ? 0 : shard_of(weights, name)];
}
