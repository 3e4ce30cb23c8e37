#include "model/weights.h"

#include "base/input.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mapping.h"
#include "base/messages.h"
#include "formats/gguf.h"
#include "formats/quantized.h"
#include "formats/safetensors.h"
#include "model/checksums.h"
#include "numeric/floats.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>


struct weights {
    char *directory;             /* NULL: a GGUF file */
    struct safetensors **shards; /* shard_count, by rising name */
    char **paths;                /* shard_count */
    size_t shard_count;
    json_t *index;               /* {tensor: file}; NULL: one file has all */
    struct gguf *gguf;           /* in place of shards; its path is paths[0] */
    json_t *used;                /* names of the tensors that somebody knows */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The last part of a shard's path. */
static const char *file_name(const struct weights *weights, size_t shard)
{
    return weights->paths[shard] + strlen(weights->directory) + 1;
}

/*
 * The shard that the index names for the tensor. Where it names none, the
 * first, which says that it lacks it.
 */
static size_t shard_of(const struct weights *weights, const char *name)
{
    const char *file = json_string_value(json_object_get(weights->index, name));
    for (size_t i = 0; file && i < weights->shard_count; i++)
        if (!strcmp(file_name(weights, i), file))
            return i;
    return 0;
}

/* Adds a file of the directory, once. */
static void add_file(struct weights *weights, const char *name)
{
    const char *directory = weights->directory;
    char *path = format_string("%s/%s", directory, name);
    for (size_t i = 0; i < weights->shard_count; i++)
        if (!strcmp(weights->paths[i], path)) {
            free(path);
            return;
        }
    if (weights->shard_count == MAX_WEIGHT_FILES)
        die("%s: more than %d files", directory, MAX_WEIGHT_FILES);
    weights->paths = grow_array(weights->paths, weights->shard_count + 1, sizeof *weights->paths);
    weights->paths[weights->shard_count++] = path;
}

/* The files of an index, "weight_map": {tensor: file}. */
static void add_index(struct weights *weights, const char *index_path)
{
    json_t *index = json_read_object(index_path, "model's", "an index: {\"weight_map\": {...}}"), *file;
    const char *tensor;
    weights->index = json_incref(json_object_get(index, "weight_map"));
    if (!json_is_object(weights->index) || json_object_size(weights->index) == 0)
        die("%s: there is no 'weight_map'", index_path);
    json_object_foreach(weights->index, tensor, file) {
        const char *name = json_string_value(file);
        if (!name || !*name || strchr(name, '/') || name[0] == '.')
            die("%s: tensor '%s' is not in a file of this folder", index_path, tensor);
        add_file(weights, name);
    }
    json_decref(index);
}

/* Ends the program for a directory that has its weights in another form. */
static void refuse_other_forms(const char *directory)
{
    static const char *const names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5",
                                        "flax_model.msgpack", "consolidated.00.pth", NULL};
    for (size_t i = 0; names[i]; i++)
        if (input_exists_in(directory, names[i]))
            die("%s: has its weights in %s, not in model.safetensors; load it with transformers and save it"
                " again: AutoModelForCausalLM.from_pretrained(\"%s\").save_pretrained(\"NEW\")",
                directory, names[i], directory);
}

/* Ends the program when the index names a file for a tensor that is not in it. */
static void check_index(const struct weights *weights)
{
    const char *tensor;
    json_t *file;
    json_object_foreach(weights->index, tensor, file)
        if (!safetensors_has(weights->shards[shard_of(weights, tensor)], tensor))
            die("%s: there is no tensor '%s', which model.safetensors.index.json says is in it",
                weights_file(weights, tensor), tensor);
}

struct weights *weights_open(const char *path)
{
    static const char index_name[] = "model.safetensors.index.json", name[] = "model.safetensors";
    struct weights *weights = new_array(1, sizeof *weights);
    weights->used = json_make("{}");
    if (is_gguf(path)) {
        weights->paths = new_array(1, sizeof *weights->paths);
        weights->paths[0] = copy_string(path);
        weights->gguf = gguf_open(path);
        return weights;
    }
    weights->directory = copy_string(path);
    char *index_path = format_string("%s/%s", path, index_name);
    if (input_exists_in(path, index_name))
        add_index(weights, index_path);
    else if (!input_exists_in(path, name))
        refuse_other_forms(path);
    if (!weights->index)
        add_file(weights, name);
    free(index_path);
    qsort(weights->paths, weights->shard_count, sizeof *weights->paths, by_text);
    weights->shards = new_array(weights->shard_count, sizeof *weights->shards);
    for (size_t i = 0; i < weights->shard_count; i++)
        weights->shards[i] = safetensors_open(weights->paths[i]);
    check_index(weights);
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
    json_decref(weights->index);
    free(weights->directory);
    free(weights->shards);
    free(weights->paths);
    free(weights);
}

/* Notes that the tensor is known. */
static void use(struct weights *weights, const char *name)
{
    json_put(weights->used, name, json_true());
}

/* Whether the tensor is where it belongs. */
static bool has(const struct weights *weights, const char *name)
{
    if (weights->gguf)
        return gguf_has(weights->gguf, name);
    return (!weights->index || json_object_get(weights->index, name))
        && safetensors_has(weights->shards[shard_of(weights, name)], name);
}

bool weights_has(struct weights *weights, const char *name)
{
    use(weights, name);
    return has(weights, name);
}

/* Ends the program for a tensor that a shard has and the index places elsewhere, or nowhere. */
static void check_place(const struct weights *weights, size_t shard, const char *name)
{
    const char *file = json_string_value(json_object_get(weights->index, name));
    if (weights->index && (!file || strcmp(file, file_name(weights, shard))))
        die("%s: tensor '%s' is in this file, but model.safetensors.index.json places it in %s; take the"
            " model's own files", weights->paths[shard], name, file ? file : "none");
}

struct stored_floats weights_check(struct weights *weights, const char *name, struct tensor_shape shape)
{
    use(weights, name);
    return weights->gguf ? gguf_find(weights->gguf, name, shape)
                         : safetensors_find(weights->shards[shard_of(weights, name)], name, shape);
}

void weights_read(struct weights *weights, const char *name, struct tensor_shape shape, float *values)
{
    use(weights, name);
    if (weights->gguf)
        gguf_read(weights->gguf, name, shape, values);
    else
        safetensors_read(weights->shards[shard_of(weights, name)], name, shape, values);
}

/* The bytes of both tensors of a stack of MXFP4; shape is of its numbers. */
static const unsigned char *find_mxfp4(struct weights *weights, const char *blocks, const char *scales,
                                       struct tensor_shape shape, const unsigned char **exponents)
{
    const size_t lengths[] = {shape.stack, shape.rows, shape.columns / MXFP4_ELEMENTS, MXFP4_PAIRS};
    use(weights, blocks);
    use(weights, scales);
    const unsigned char *pairs =
        safetensors_codes(weights->shards[shard_of(weights, blocks)], blocks, lengths, 4);
    *exponents = safetensors_codes(weights->shards[shard_of(weights, scales)], scales, lengths, 3);
    return pairs;
}

void weights_check_mxfp4(struct weights *weights, const char *blocks, const char *scales,
                         struct tensor_shape shape)
{
    const unsigned char *exponents;
    find_mxfp4(weights, blocks, scales, shape, &exponents);
}

void weights_read_mxfp4(struct weights *weights, const char *blocks, const char *scales,
                        struct tensor_shape shape, float *values)
{
    size_t count = shape_elements(shape);
    const unsigned char *exponents, *pairs = find_mxfp4(weights, blocks, scales, shape, &exponents);
    mxfp4_from_pairs(pairs, exponents, count / MXFP4_ELEMENTS, values);
    size_t place = floats_first_not_finite(values, count);
    if (place < count)
        die("%s: tensor '%s' has an exponent beyond 32-bit floats at block %zu: the file is damaged",
            weights->paths[shard_of(weights, blocks)], scales, place / MXFP4_ELEMENTS);
}

struct stored_floats weights_map(struct weights *weights, const char *name, struct tensor_shape shape)
{
    use(weights, name);
    return weights->gguf ? gguf_map(weights->gguf, name, shape)
                         : safetensors_map(weights->shards[shard_of(weights, name)], name, shape);
}

void weights_drop_pages(const struct weights *weights)
{
    if (weights->gguf)
        gguf_drop_pages(weights->gguf);
    for (size_t i = 0; i < weights->shard_count; i++)
        safetensors_drop_pages(weights->shards[i]);
}

static void count_tensor(struct weights_summary *summary, const char *type, size_t bytes)
{
    size_t i = 0;
    while (i < summary->type_count && strcmp(summary->type[i].name, type))
        i++;
    if (i == summary->type_count) {
        summary->type = grow_array(summary->type, ++summary->type_count, sizeof *summary->type);
        summary->type[i] = (struct weights_type){.name = type};
    }
    summary->type[i].tensors++;
    summary->type[i].bytes += bytes;
}

static void count_shard(struct weights_summary *summary, const struct safetensors *shard)
{
    const char *name;
    json_t *tensor;
    size_t size;
    safetensors_bytes(shard, &size);
    summary->bytes += size;
    json_object_foreach(safetensors_header(shard), name, tensor) {
        if (!safetensors_has(shard, name))
            continue;
        struct stored_bytes stored = safetensors_stored(shard, name);
        count_tensor(summary, stored.type, stored.size);
    }
}

struct weights_summary weights_summarize(const struct weights *weights)
{
    struct weights_summary summary = {.files = weights->shard_count};
    if (weights->gguf)
        summary.files = gguf_files(weights->gguf, &summary.bytes);
    for (size_t i = 0; weights->gguf && i < gguf_tensors(weights->gguf); i++) {
        const char *name = gguf_tensor(weights->gguf, i);
        size_t length[GGUF_DIMENSIONS];
        count_tensor(&summary, gguf_format(weights->gguf, name, length),
                     gguf_tensor_bytes(weights->gguf, name));
    }
    for (size_t i = 0; i < weights->shard_count; i++)
        count_shard(&summary, weights->shards[i]);
    return summary;
}

bool weights_have_bfloats(const struct weights *weights)
{
    struct weights_summary summary = weights_summarize(weights);
    bool found = false;
    for (size_t i = 0; i < summary.type_count; i++)
        found = found || !strcmp(summary.type[i].name, "BF16");
    free(summary.type);
    return found;
}

bool weights_equal(const struct weights *weights, const char *a, const char *b)
{
    if (weights->gguf)
        return false;
    struct stored_bytes first = safetensors_stored(weights->shards[shard_of(weights, a)], a);
    struct stored_bytes second = safetensors_stored(weights->shards[shard_of(weights, b)], b);
    return !strcmp(first.type, second.type) && first.size == second.size
        && !memcmp(first.bytes, second.bytes, first.size);
}

static bool ends_with_one_of(const char *name, const char *const *endings)
{
    for (; endings && *endings; endings++)
        if (ends_with(name, *endings))
            return true;
    return false;
}

const char *weights_find(const struct weights *weights, const char *ending)
{
    const char *name;
    json_t *tensor;
    for (size_t i = 0; weights->gguf && i < gguf_tensors(weights->gguf); i++)
        if (ends_with(gguf_tensor(weights->gguf, i), ending))
            return gguf_tensor(weights->gguf, i);
    for (size_t i = 0; i < weights->shard_count; i++)
        json_object_foreach(safetensors_header(weights->shards[i]), name, tensor)
            if (safetensors_has(weights->shards[i], name) && ends_with(name, ending))
                return name;
    return NULL;
}

static bool begins_with_one_of(const char *name, const char *const *beginnings)
{
    for (; beginnings && *beginnings; beginnings++)
        if (!strncmp(name, *beginnings, strlen(*beginnings)))
            return true;
    return false;
}

static bool is_unused(const struct weights *weights, const char *name, const char *const *ignored)
{
    return !json_object_get(weights->used, name) && !ends_with_one_of(name, ignored);
}

/* The same for one that a shard has, be it a second time. */
static bool is_unused_in(const struct weights *weights, size_t shard, const char *name,
                         const char *const *ignored, const char *const *other_parts)
{
    if (!safetensors_has(weights->shards[shard], name) || ends_with_one_of(name, ignored)
        || begins_with_one_of(name, other_parts))
        return false;
    check_place(weights, shard, name);
    return is_unused(weights, name, ignored);
}

const char *weights_unused(const struct weights *weights, const char *const *ignored,
                           const char *const *other_parts)
{
    const char *name;
    json_t *tensor;
    for (size_t i = 0; weights->gguf && i < gguf_tensors(weights->gguf); i++)
        if (is_unused(weights, gguf_tensor(weights->gguf, i), ignored))
            return gguf_tensor(weights->gguf, i);
    for (size_t i = 0; i < weights->shard_count; i++)
        json_object_foreach(safetensors_header(weights->shards[i]), name, tensor)
            if (is_unused_in(weights, i, name, ignored, other_parts))
                return name;
    return NULL;
}

/* Adds a file's bytes to the hash of all, and at the same time to its own, which must be what is listed. */
static void hash_shard(const struct weights *weights, size_t shard, const struct checksums *checksums,
                       struct hash *hash)
{
    size_t size;
    const void *bytes = safetensors_bytes(weights->shards[shard], &size);
    struct hash *own = checksums ? hash_new() : NULL;
    mapping_hash(bytes, size, hash, own);
    if (!own)
        return;
    char sum[HASH_CHARACTERS + 1];
    hash_finish(own, sum);
    checksums_check(checksums, file_name(weights, shard), sum);
}

void weights_hash(const struct weights *weights, struct hash *hash)
{
    if (weights->gguf) {
        gguf_hash(weights->gguf, hash);
        return;
    }
    struct checksums *checksums = checksums_open(weights->directory);
    for (size_t i = 0; i < weights->shard_count; i++)
        hash_shard(weights, i, checksums, hash);
    checksums_close(checksums);
}

const struct gguf *weights_gguf(const struct weights *weights)
{
    return weights->gguf;
}

const char *weights_file(const struct weights *weights, const char *name)
{
    return weights->paths[weights->gguf ? 0 : shard_of(weights, name)];
}
