#include "formats/safetensors.h"

#include "base/json.h"
#include "base/mapping.h"
#include "base/messages.h"
#include "base/order.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100 << 20, MAX_DIMENSIONS = 8 };

struct safetensors {
    char *path;
    struct mapping mapping;
    const unsigned char *data; /* behind the header */
    size_t data_size;
    json_t *header;
};

/* Where a tensor's data lie, for finding overlaps. */
struct extent {
    const char *name;
    size_t begin, end;
};

/* Bytes of one element; 0 for a type that is not known. */
static size_t type_size(const char *type)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {
        {"F32", 4},         {"F16", 2}, {"BF16", 2}, /* those of numbers that can be read */
        {"F64", 8},         {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1},
        {"F8_E5M2FNUZ", 1}, {"I64", 8}, {"U64", 8},     {"I32", 4},     {"U32", 4},     {"I16", 2},
        {"U16", 2},         {"I8", 1},  {"U8", 1},      {"BOOL", 1},
    };
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, type))
            return types[i].bytes;
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct extent *left = a, *right = b;
    int order = compare_numbers(left->begin, right->begin);
    return order ? order : compare_numbers(left->end, right->end);
}

/* Checks one header entry: type, shape, and that its data have just that size. */
static struct extent check_tensor(const struct safetensors *file, const char *name, const json_t *tensor)
{
    const char *type = json_string_value(json_object_get(tensor, "dtype"));
    const json_t *shape = json_object_get(tensor, "shape");
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    size_t bytes = type_size(type);
    if (!bytes)
        die("%s: tensor '%s' is of type %s, which is not known", file->path, name, type ? type : "(none)");
    if (!json_is_array(shape) || json_array_size(shape) > MAX_DIMENSIONS)
        die("%s: tensor '%s' has no valid shape", file->path, name);
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_t *length = json_array_get(shape, i);
        if (!json_is_integer(length) || json_integer_value(length) < 0)
            die("%s: tensor '%s' has no valid shape", file->path, name);
        size_t count = (size_t)json_integer_value(length);
        if (count && bytes > file->mapping.size / count)
            die("%s: tensor '%s' claims to be larger than the file", file->path, name);
        bytes *= count;
    }
    json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end)
        || json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)
        || (uint64_t)json_integer_value(end) > file->data_size)
        die("%s: tensor '%s' has data offsets outside of the file: it was cut, or is damaged",
            file->path, name);
    struct extent extent = {name, (size_t)json_integer_value(begin), (size_t)json_integer_value(end)};
    if (extent.end - extent.begin != bytes)
        die("%s: tensor '%s' has %zu bytes of data, its shape and type need %zu", file->path, name,
            extent.end - extent.begin, bytes);
    return extent;
}

static void check_header(const struct safetensors *file)
{
    size_t count = 0;
    struct extent *extents = new_array(json_object_size(file->header), sizeof *extents);
    const char *name;
    json_t *tensor;
    json_object_foreach(file->header, name, tensor)
        if (strcmp(name, "__metadata__"))
            extents[count++] = check_tensor(file, name, tensor);
    qsort(extents, count, sizeof *extents, by_begin);
    size_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (extents[i].begin != end)
            die("%s: the data of tensor '%s' %s those before it", file->path, extents[i].name,
                extents[i].begin < end ? "overlap" : "leave a hole behind");
        end = extents[i].end;
    }
    if (end != file->data_size)
        die("%s: %zu bytes follow the last tensor", file->path, file->data_size - end);
    free(extents);
}

struct safetensors *safetensors_open(const char *path)
{
    struct safetensors *file = new_array(1, sizeof *file);
    file->path = copy_string(path);
    file->mapping = mapping_open(path, LENGTH_BYTES, "safetensors");
    uint64_t header_bytes = 0;
    memcpy(&header_bytes, file->mapping.bytes, LENGTH_BYTES); /* little endian: stream_format.h */
    if (header_bytes > file->mapping.size - LENGTH_BYTES || header_bytes > MAX_HEADER_BYTES)
        die("%s: not a safetensors file, or cut: its header claims %llu bytes", path,
            (unsigned long long)header_bytes);
    json_error_t error;
    file->header = json_loadb((const char *)file->mapping.bytes + LENGTH_BYTES, (size_t)header_bytes,
                              JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(file->header))
        die("%s: the header is not a JSON object: %s", path, file->header ? "another value" : error.text);
    file->data = file->mapping.bytes + LENGTH_BYTES + header_bytes;
    file->data_size = file->mapping.size - LENGTH_BYTES - (size_t)header_bytes;
    check_header(file);
    return file;
}

bool safetensors_has(const struct safetensors *file, const char *name)
{
    return strcmp(name, "__metadata__") && json_object_get(file->header, name);
}

json_t *safetensors_header(const struct safetensors *file)
{
    return file->header;
}

/* The lengths of a shape that are stated, as a header has them; the caller releases the list. */
static json_t *shape_json(struct tensor_shape shape)
{
    json_int_t stack = (json_int_t)shape.stack, rows = (json_int_t)shape.rows;
    json_int_t columns = (json_int_t)shape.columns;
    return shape.stack ? json_make("[I, I, I]", stack, rows, columns)
         : columns     ? json_make("[I, I]", rows, columns) : json_make("[I]", rows);
}

/* The tensor's header entry; the shape must be the list that is asked for, which this releases. */
static const json_t *find_of_shape(const struct safetensors *file, const char *name, json_t *asked)
{
    if (!safetensors_has(file, name))
        die("%s: there is no tensor '%s', which config.json asks for", file->path, name);
    const json_t *tensor = json_object_get(file->header, name);
    const json_t *shape = json_object_get(tensor, "shape");
    if (!json_equal(shape, asked)) {
        char *found = json_dumps(shape, 0), *right = json_dumps(asked, 0);
        die("%s: tensor '%s' has shape %s, config.json asks for %s", file->path, name, found ? found : "?",
            right ? right : "another");
    }
    json_decref(asked);
    return tensor;
}

/* The same of a type of numbers that can be read. */
static const json_t *find_tensor(const struct safetensors *file, const char *name, struct tensor_shape wanted)
{
    const json_t *tensor = find_of_shape(file, name, shape_json(wanted));
    const char *type = json_string_value(json_object_get(tensor, "dtype"));
    if (strcmp(type, "F32") && strcmp(type, "F16") && strcmp(type, "BF16"))
        die("%s: tensor '%s' is of type %s; F32, F16 and BF16 can be read", file->path, name, type);
    return tensor;
}

static const unsigned char *data_of(const struct safetensors *file, const json_t *tensor)
{
    return file->data + json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 0));
}

static bool is_type(const json_t *tensor, const char *type)
{
    return !strcmp(json_string_value(json_object_get(tensor, "dtype")), type);
}

const unsigned char *safetensors_codes(const struct safetensors *file, const char *name,
                                       const size_t *lengths, size_t dimensions)
{
    const json_t *tensor = find_of_shape(file, name, json_list(lengths, dimensions));
    if (!is_type(tensor, "U8"))
        die("%s: tensor '%s' is of type %s, where U8 is expected", file->path, name,
            json_string_value(json_object_get(tensor, "dtype")));
    return data_of(file, tensor);
}

struct stored_floats safetensors_find(const struct safetensors *file, const char *name,
                                      struct tensor_shape shape)
{
    const json_t *tensor = find_tensor(file, name, shape);
    enum float_format format = is_type(tensor, "F32") ? FLOATS_32 : is_type(tensor, "F16") ? FLOATS_HALF
                                                                                           : FLOATS_BFLOAT;
    return (struct stored_floats){data_of(file, tensor), format};
}

struct stored_floats safetensors_map(const struct safetensors *file, const char *name,
                                     struct tensor_shape shape)
{
    struct stored_floats stored = safetensors_find(file, name, shape);
    size_t count = shape_elements(shape), place = stored_first_not_finite(stored, count);
    if (place < count)
        die("%s: tensor '%s' has %s at element %zu: the file is damaged or was trained to divergence",
            file->path, name, isnan(stored_float(stored, place)) ? "NaN" : "infinity", place);
    return stored;
}

void safetensors_read(const struct safetensors *file, const char *name, struct tensor_shape shape,
                      float *values)
{
    stored_read(safetensors_map(file, name, shape), 0, shape_elements(shape), values);
}

struct stored_bytes safetensors_stored(const struct safetensors *file, const char *name)
{
    const json_t *tensor = json_object_get(file->header, name);
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    json_int_t end = json_integer_value(json_array_get(offsets, 1));
    return (struct stored_bytes){json_string_value(json_object_get(tensor, "dtype")), data_of(file, tensor),
                                 (size_t)(end - begin)};
}

const void *safetensors_bytes(const struct safetensors *file, size_t *size)
{
    *size = file->mapping.size;
    return file->mapping.bytes;
}

void safetensors_drop_pages(const struct safetensors *file)
{
    mapping_drop_pages(file->mapping.bytes, file->mapping.size);
}

void safetensors_close(struct safetensors *file)
{
    mapping_close(&file->mapping);
    json_decref(file->header);
    free(file->path);
    free(file);
}
