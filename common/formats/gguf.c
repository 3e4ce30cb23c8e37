#include "formats/gguf.h"

#include "base/mapping.h"
#include "base/messages.h"
#include "base/order.h"
#include "formats/quantized.h"
#include "numeric/floats.h"

#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    HEADER_BYTES = 4 + 4 + 8 + 8, /* "GGUF", version, tensors, keys */
    LEAST_ENTRY_BYTES = 8 + 1 + 4 + 1,
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
    MAX_NAME_BYTES = 65535,
    MAX_NESTING = 4, /* of arrays in arrays; none is known to have any */
    DEFAULT_ALIGNMENT = 32,
    CHUNK = 1 << 14, /* elements that are converted, and then checked, while in the cache */
};

/* Types of metadata, by their numbers in the file. */
enum type {
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
    TYPES
};

/* bytes: of a value; of texts and arrays the fewest, those of an empty one. */
static const struct {
    const char *name;
    size_t bytes;
    bool integer;
} types[TYPES] = {
    [UINT8] = {"uint8", 1, true},       [INT8] = {"int8", 1, true},        [UINT16] = {"uint16", 2, true},
    [INT16] = {"int16", 2, true},       [UINT32] = {"uint32", 4, true},    [INT32] = {"int32", 4, true},
    [FLOAT32] = {"float32", 4, false},  [BOOL] = {"bool", 1, false},       [TEXT] = {"string", 8, false},
    [ARRAY] = {"array", 4 + 8, false},  [UINT64] = {"uint64", 8, true},    [INT64] = {"int64", 8, true},
    [FLOAT64] = {"float64", 8, false},
};

/* Entries and tensors begin with their names: see by_name. */
struct entry {
    char *key;
    bool array;
    enum type type; /* of the value, or of the array's elements */
    size_t count;   /* of elements; 1 when it is no array */
    const unsigned char *data;
};

struct tensor {
    char *name;
    const struct quantization *format;
    size_t length[GGUF_DIMENSIONS]; /* as the file has them, the fastest first; 1 behind the last */
    size_t elements, bytes;
    size_t begin; /* in the data */
};

struct gguf {
    char *path;
    struct mapping mapping;
    const unsigned char *data; /* behind the header and its padding */
    size_t data_size;
    size_t entries, tensors;
    struct entry *entry; /* by name */
    struct tensor *tensor; /* by name */
};

/* Where the next bytes of the header are. */
struct cursor {
    const struct gguf *file;
    size_t place;
};

/* ---- the header's parts ---- */

static size_t left(const struct cursor *cursor)
{
    return cursor->file->mapping.size - cursor->place;
}

static const unsigned char *take(struct cursor *cursor, uint64_t bytes, const char *what)
{
    if (bytes > left(cursor))
        die("%s: %s at byte %zu needs %llu bytes, but the file has %zu: it was cut, or is damaged",
            cursor->file->path, what, cursor->place, (unsigned long long)bytes, left(cursor));
    const unsigned char *taken = cursor->file->mapping.bytes + cursor->place;
    cursor->place += (size_t)bytes;
    return taken;
}

static uint32_t take_uint32(struct cursor *cursor, const char *what)
{
    uint32_t number; /* little endian, as the host is: stream_format.h */
    memcpy(&number, take(cursor, sizeof number, what), sizeof number);
    return number;
}

static uint64_t take_uint64(struct cursor *cursor, const char *what)
{
    uint64_t number;
    memcpy(&number, take(cursor, sizeof number, what), sizeof number);
    return number;
}

/* A number of things that take at least so many bytes each. */
static size_t take_count(struct cursor *cursor, size_t least_bytes, const char *what)
{
    size_t place = cursor->place;
    uint64_t count = take_uint64(cursor, what);
    if (count > left(cursor) / least_bytes)
        die("%s: %s at byte %zu claims %llu, more than the file has bytes for: it was cut, or is damaged",
            cursor->file->path, what, place, (unsigned long long)count);
    return (size_t)count;
}

static struct gguf_text take_text(struct cursor *cursor, const char *what)
{
    uint64_t length = take_uint64(cursor, what);
    const unsigned char *bytes = take(cursor, length, what);
    return (struct gguf_text){(const char *)bytes, (size_t)length};
}

static bool printable(struct gguf_text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.bytes[i] < ' ' || text.bytes[i] > '~')
            return false;
    return true;
}

static char *copy_text(struct gguf_text text)
{
    char *copy = new_array(text.length + 1, 1);
    memcpy(copy, text.bytes, text.length);
    return copy;
}

/* A key's or a tensor's name, as a string to free. */
static char *take_name(struct cursor *cursor, const char *what)
{
    size_t place = cursor->place;
    struct gguf_text name = take_text(cursor, what);
    if (name.length < 1 || name.length > MAX_NAME_BYTES || !printable(name))
        die("%s: %s at byte %zu is not 1 to %d printable ASCII characters: the file is damaged",
            cursor->file->path, what, place, MAX_NAME_BYTES);
    return copy_text(name);
}

static enum type take_type(struct cursor *cursor, const char *key)
{
    size_t place = cursor->place;
    uint32_t number = take_uint32(cursor, "a type");
    if (number >= TYPES)
        die("%s: metadata '%s' has a value of type %lu at byte %zu; types up to %d are known",
            cursor->file->path, key, (unsigned long)number, place, TYPES - 1);
    return (enum type)number;
}

/* Passes over count values of one type, which count was checked to have bytes for. */
static void skip_values(struct cursor *cursor, enum type type, size_t count, size_t nesting, const char *key)
{
    if (type == ARRAY && nesting == MAX_NESTING)
        die("%s: metadata '%s' has arrays nested more than %d deep", cursor->file->path, key, MAX_NESTING);
    if (type == ARRAY) {
        for (size_t i = 0; i < count; i++) {
            enum type inner = take_type(cursor, key);
            size_t elements = take_count(cursor, types[inner].bytes, "an array's length");
            skip_values(cursor, inner, elements, nesting + 1, key);
        }
    } else if (type == TEXT) {
        for (size_t i = 0; i < count; i++)
            take_text(cursor, "a string");
    } else {
        const unsigned char *values = take(cursor, (uint64_t)count * types[type].bytes, "a value");
        for (size_t i = 0; type == BOOL && i < count; i++)
            if (values[i] > 1)
                die("%s: metadata '%s' has a bool that is neither 0 nor 1: the file is damaged",
                    cursor->file->path, key);
    }
}

static struct entry take_entry(struct cursor *cursor)
{
    struct entry entry = {.key = take_name(cursor, "a key"), .count = 1};
    entry.type = take_type(cursor, entry.key);
    if (entry.type == ARRAY) {
        entry.array = true;
        entry.type = take_type(cursor, entry.key);
        entry.count = take_count(cursor, types[entry.type].bytes, "an array's length");
    }
    entry.data = cursor->file->mapping.bytes + cursor->place;
    skip_values(cursor, entry.type, entry.count, entry.array, entry.key);
    return entry;
}

static const struct quantization *take_format(struct cursor *cursor, const char *name)
{
    uint32_t number = take_uint32(cursor, "a tensor's type");
    const struct quantization *format = quantization_find(number);
    if (!format || !format->convert)
        die("%s: tensor '%s' is of type %s (%lu); " QUANTIZATIONS_KNOWN " are known: take another"
            " quantization of the model", cursor->file->path, name, format ? format->name : "unknown",
            (unsigned long)number);
    return format;
}

/* Works out a tensor's elements and bytes, which must not exceed the file's. */
static void set_size(const struct gguf *file, struct tensor *tensor)
{
    if (tensor->length[0] % tensor->format->elements)
        die("%s: tensor '%s' has rows of %zu elements, not whole blocks of %zu as %s has them", file->path,
            tensor->name, tensor->length[0], tensor->format->elements, tensor->format->name);
    tensor->elements = tensor->format->elements;
    tensor->bytes = tensor->format->bytes;
    for (size_t i = 0; i < GGUF_DIMENSIONS; i++) {
        size_t factor = i ? tensor->length[i] : tensor->length[0] / tensor->format->elements;
        if (factor && tensor->bytes > file->mapping.size / factor)
            die("%s: tensor '%s' claims to be larger than the file: it was cut, or is damaged", file->path,
                tensor->name);
        tensor->elements *= factor; /* no more than 2 a byte of the file */
        tensor->bytes *= factor;
    }
}

static struct tensor take_tensor(struct cursor *cursor)
{
    const struct gguf *file = cursor->file;
    struct tensor tensor = {.name = take_name(cursor, "a tensor's name")};
    uint32_t dimensions = take_uint32(cursor, "a number of dimensions");
    if (dimensions > GGUF_DIMENSIONS)
        die("%s: tensor '%s' has %lu dimensions; up to %d are known", file->path, tensor.name,
            (unsigned long)dimensions, GGUF_DIMENSIONS);
    for (size_t i = 0; i < GGUF_DIMENSIONS; i++) {
        uint64_t length = i < dimensions ? take_uint64(cursor, "a dimension") : 1;
        if (length > INT64_MAX || length > SIZE_MAX)
            die("%s: tensor '%s' claims to be larger than the file: it is damaged", file->path, tensor.name);
        tensor.length[i] = (size_t)length;
    }
    tensor.format = take_format(cursor, tensor.name);
    uint64_t begin = take_uint64(cursor, "a tensor's offset");
    set_size(file, &tensor);
    if (begin > file->mapping.size)
        die("%s: tensor '%s' has its data behind the end of the file: it was cut, or is damaged",
            file->path, tensor.name);
    tensor.begin = (size_t)begin;
    return tensor;
}

/* ---- the whole header ---- */

/* Compares entries or tensors, which begin with a string. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts count entries or tensors, of size bytes each, by names, which must differ. */
static void sort_by_name(const struct gguf *file, void *items, size_t count, size_t size, const char *what)
{
    char *item = items;
    qsort(items, count, size, by_name);
    for (size_t i = 1; i < count; i++)
        if (!by_name(item + (i - 1) * size, item + i * size))
            die("%s: the %s '%s' is there twice: the file is damaged", file->path, what,
                *(char **)(void *)(item + i * size));
}

static int by_begin(const void *a, const void *b)
{
    const struct tensor *const *left = a, *const *right = b;
    int order = compare_numbers((*left)->begin, (*right)->begin);
    return order ? order : compare_numbers((*left)->bytes, (*right)->bytes); /* empty ones before others */
}

/* Checks that every tensor's data are aligned, within the file, and its own. */
static void check_places(const struct gguf *file, size_t alignment)
{
    const struct tensor **sorted = new_array(file->tensors, sizeof *sorted);
    for (size_t i = 0; i < file->tensors; i++)
        sorted[i] = &file->tensor[i];
    qsort(sorted, file->tensors, sizeof *sorted, by_begin);
    size_t end = 0;
    for (size_t i = 0; i < file->tensors; i++) {
        const struct tensor *tensor = sorted[i];
        if (tensor->begin % alignment)
            die("%s: the data of tensor '%s' do not begin at a multiple of %zu bytes", file->path,
                tensor->name, alignment);
        if (tensor->begin < end)
            die("%s: the data of tensor '%s' overlap those before it", file->path, tensor->name);
        if (tensor->begin > file->data_size || tensor->bytes > file->data_size - tensor->begin)
            die("%s: the data of tensor '%s' end behind the end of the file: it was cut, or is damaged",
                file->path, tensor->name);
        end = tensor->begin + tensor->bytes;
    }
    free(sorted);
}

/* Passes magic number and version. */
static void check_version(struct cursor *cursor)
{
    const char *path = cursor->file->path;
    if (memcmp(take(cursor, 4, "the magic number"), "GGUF", 4) != 0)
        die("%s: not a GGUF file", path);
    uint32_t version = take_uint32(cursor, "the version");
    if (version && !(version & 0xffff))
        die("%s: GGUF of big-endian byte order; only little-endian files are read: take one of those", path);
    if (version != 2 && version != 3)
        die("%s: GGUF version %lu; versions 2 and 3 are known", path, (unsigned long)version);
}

/* Reads the header, up to where the data begin. */
static void read_header(struct gguf *file)
{
    struct cursor cursor = {file, 0};
    check_version(&cursor);
    size_t tensors = take_count(&cursor, LEAST_TENSOR_BYTES, "the number of tensors");
    size_t entries = take_count(&cursor, LEAST_ENTRY_BYTES, "the number of keys");
    file->entry = new_array(entries, sizeof *file->entry);
    for (; file->entries < entries; file->entries++)
        file->entry[file->entries] = take_entry(&cursor);
    sort_by_name(file, file->entry, file->entries, sizeof *file->entry, "key");
    file->tensor = new_array(tensors, sizeof *file->tensor);
    for (; file->tensors < tensors; file->tensors++)
        file->tensor[file->tensors] = take_tensor(&cursor);
    sort_by_name(file, file->tensor, file->tensors, sizeof *file->tensor, "tensor");

    size_t alignment = DEFAULT_ALIGNMENT;
    if (gguf_has_key(file, "general.alignment"))
        alignment = (size_t)gguf_uint(file, "general.alignment", 1, 1 << 30);
    if (alignment & (alignment - 1))
        die("%s: metadata 'general.alignment' is %zu, not a power of 2", file->path, alignment);
    size_t padding = (alignment - cursor.place % alignment) % alignment;
    /* A file without data may end before it. */
    take(&cursor, padding < left(&cursor) ? padding : left(&cursor), "padding");
    file->data = file->mapping.bytes + cursor.place;
    file->data_size = left(&cursor);
    check_places(file, alignment);
}

struct gguf *gguf_open(const char *path)
{
    struct gguf *file = new_array(1, sizeof *file);
    file->path = copy_string(path);
    file->mapping = mapping_open(path, HEADER_BYTES, "GGUF");
    read_header(file);
    return file;
}

const void *gguf_bytes(const struct gguf *file, size_t *size)
{
    *size = file->mapping.size;
    return file->mapping.bytes;
}

void gguf_close(struct gguf *file)
{
    for (size_t i = 0; i < file->entries; i++)
        free(file->entry[i].key);
    for (size_t i = 0; i < file->tensors; i++)
        free(file->tensor[i].name);
    free(file->entry);
    free(file->tensor);
    mapping_close(&file->mapping);
    free(file->path);
    free(file);
}

/* ---- metadata ---- */

size_t gguf_keys(const struct gguf *file)
{
    return file->entries;
}

const char *gguf_key(const struct gguf *file, size_t index)
{
    return file->entry[index].key;
}

/* NULL when there is none. */
static const struct entry *find_entry(const struct gguf *file, const char *key)
{
    return bsearch(&key, file->entry, file->entries, sizeof *file->entry, by_name);
}

bool gguf_has_key(const struct gguf *file, const char *key)
{
    return find_entry(file, key);
}

bool gguf_is_array(const struct gguf *file, const char *key)
{
    const struct entry *entry = find_entry(file, key);
    return entry && entry->array;
}

bool gguf_is_neutral(const struct gguf *file, const char *key)
{
    static const unsigned char zeros[8] = {0};
    const struct entry *entry = find_entry(file, key);
    return !entry
           || (entry->array ? entry->count == 0 : !memcmp(entry->data, zeros, types[entry->type].bytes));
}

static _Noreturn void wrong_type(const struct gguf *file, const struct entry *entry, const char *wanted)
{
    die("%s: metadata '%s' is of type %s%s; %s is needed", file->path, entry->key, types[entry->type].name,
        entry->array ? " array" : "", wanted);
}

/* The entry of key, which must be there and be an array or not; wanted is for the message. */
static const struct entry *need_entry(const struct gguf *file, const char *key, bool array,
                                      const char *wanted)
{
    const struct entry *entry = find_entry(file, key);
    if (!entry)
        die("%s: there is no metadata '%s', %s", file->path, key, wanted);
    if (entry->array != array)
        wrong_type(file, entry, wanted);
    return entry;
}

/* Element index of an entry of integers. */
static int64_t integer_at(const struct gguf *file, const struct entry *entry, size_t index)
{
    const unsigned char *data = entry->data + index * types[entry->type].bytes;
    uint64_t bits = 0;
    memcpy(&bits, data, types[entry->type].bytes);
    switch (entry->type) {
    case INT8:
        return (int8_t)bits;
    case INT16:
        return (int16_t)bits;
    case INT32:
        return (int32_t)bits;
    case INT64:
        return (int64_t)bits;
    default:
        if (bits > INT64_MAX)
            die("%s: metadata '%s' has a number larger than %lld", file->path, entry->key,
                (long long)INT64_MAX);
        return (int64_t)bits;
    }
}

/* Element index of an entry of floats. */
static double real_at(const struct gguf *file, const struct entry *entry, size_t index)
{
    double real;
    float single;
    const unsigned char *data = entry->data + index * types[entry->type].bytes;
    if (entry->type == FLOAT32) {
        memcpy(&single, data, sizeof single);
        real = (double)single;
    } else {
        memcpy(&real, data, sizeof real);
    }
    if (!isfinite(real))
        die("%s: metadata '%s' has a number that is not finite: the file is damaged", file->path, entry->key);
    return real;
}

struct gguf_text gguf_text(const struct gguf *file, const char *key)
{
    const struct entry *entry = need_entry(file, key, false, "a string");
    if (entry->type != TEXT)
        wrong_type(file, entry, "a string");
    struct cursor cursor = {file, (size_t)(entry->data - file->mapping.bytes)};
    return take_text(&cursor, "a string");
}

char *gguf_word(const struct gguf *file, const char *key)
{
    struct gguf_text text = gguf_text(file, key);
    if (!printable(text))
        die("%s: metadata '%s' is not printable ASCII", file->path, key);
    return copy_text(text);
}

uint64_t gguf_uint(const struct gguf *file, const char *key, uint64_t least, uint64_t most)
{
    const struct entry *entry = need_entry(file, key, false, "a whole number");
    if (!types[entry->type].integer)
        wrong_type(file, entry, "a whole number");
    int64_t number = integer_at(file, entry, 0);
    if (number < 0 || (uint64_t)number < least || (uint64_t)number > most)
        die("%s: metadata '%s' is %lld; a whole number from %llu to %llu is needed", file->path, key,
            (long long)number, (unsigned long long)least, (unsigned long long)most);
    return (uint64_t)number;
}

double gguf_real(const struct gguf *file, const char *key)
{
    const struct entry *entry = need_entry(file, key, false, "a number with a fraction");
    if (entry->type != FLOAT32 && entry->type != FLOAT64)
        wrong_type(file, entry, "a number with a fraction");
    return real_at(file, entry, 0);
}

bool gguf_bool(const struct gguf *file, const char *key)
{
    const struct entry *entry = need_entry(file, key, false, "a bool");
    if (entry->type != BOOL)
        wrong_type(file, entry, "a bool");
    return *entry->data;
}

struct gguf_text *gguf_texts(const struct gguf *file, const char *key, size_t *count)
{
    const struct entry *entry = need_entry(file, key, true, "an array of strings");
    if (entry->type != TEXT)
        wrong_type(file, entry, "an array of strings");
    struct gguf_text *texts = new_array(entry->count, sizeof *texts);
    struct cursor cursor = {file, (size_t)(entry->data - file->mapping.bytes)};
    for (size_t i = 0; i < entry->count; i++)
        texts[i] = take_text(&cursor, "a string");
    *count = entry->count;
    return texts;
}

int64_t *gguf_ints(const struct gguf *file, const char *key, size_t *count)
{
    const struct entry *entry = need_entry(file, key, true, "an array of whole numbers");
    if (!types[entry->type].integer)
        wrong_type(file, entry, "an array of whole numbers");
    int64_t *numbers = new_array(entry->count, sizeof *numbers);
    for (size_t i = 0; i < entry->count; i++)
        numbers[i] = integer_at(file, entry, i);
    *count = entry->count;
    return numbers;
}

float *gguf_floats(const struct gguf *file, const char *key, size_t *count)
{
    const struct entry *entry = need_entry(file, key, true, "an array of numbers with a fraction");
    if (entry->type != FLOAT32 && entry->type != FLOAT64)
        wrong_type(file, entry, "an array of numbers with a fraction");
    float *numbers = new_floats(entry->count);
    for (size_t i = 0; i < entry->count; i++) {
        numbers[i] = (float)real_at(file, entry, i);
        if (!isfinite(numbers[i]))
            die("%s: metadata '%s' has a number too large for 32 bits", file->path, key);
    }
    *count = entry->count;
    return numbers;
}

/* ---- tensors ---- */

size_t gguf_tensors(const struct gguf *file)
{
    return file->tensors;
}

const char *gguf_tensor(const struct gguf *file, size_t index)
{
    return file->tensor[index].name;
}

/* NULL when there is none. */
static const struct tensor *find_tensor(const struct gguf *file, const char *name)
{
    return bsearch(&name, file->tensor, file->tensors, sizeof *file->tensor, by_name);
}

bool gguf_has(const struct gguf *file, const char *name)
{
    return find_tensor(file, name);
}

const char *gguf_format(const struct gguf *file, const char *name, size_t length[GGUF_DIMENSIONS])
{
    const struct tensor *tensor = find_tensor(file, name);
    if (!tensor)
        die("%s: there is no tensor '%s'", file->path, name);
    memcpy(length, tensor->length, sizeof tensor->length);
    return tensor->format->name;
}

/* The tensor called name, which must have that shape. */
static const struct tensor *need_tensor(const struct gguf *file, const char *name, struct tensor_shape shape)
{
    const struct tensor *tensor = find_tensor(file, name);
    if (!tensor)
        die("%s: there is no tensor '%s', which the metadata ask for", file->path, name);
    const size_t *length = tensor->length;
    const size_t wanted[] = {shape.columns ? shape.columns : shape.rows, shape.columns ? shape.rows : 1,
                             shape.stack ? shape.stack : 1, 1};
    if (memcmp(length, wanted, sizeof wanted))
        die("%s: tensor '%s' has shape [%zu, %zu, %zu, %zu], the metadata ask for [%zu, %zu, %zu, 1]",
            file->path, name, length[0], length[1], length[2], length[3], wanted[0], wanted[1], wanted[2]);
    return tensor;
}

static void check_finite(const struct gguf *file, const struct tensor *tensor, size_t first,
                         const float *values, size_t count)
{
    size_t place = floats_first_not_finite(values, count);
    if (place < count)
        die("%s: tensor '%s' has %s at element %zu: the file is damaged or was trained to divergence",
            file->path, tensor->name, isnan(values[place]) ? "NaN" : "infinity", first + place);
}

void gguf_read(const struct gguf *file, const char *name, struct tensor_shape shape, float *values)
{
    const struct tensor *tensor = need_tensor(file, name, shape);
    const struct quantization *format = tensor->format;
    for (size_t first = 0; first < tensor->elements; first += CHUNK) {
        size_t count = tensor->elements - first < CHUNK ? tensor->elements - first : CHUNK;
        const unsigned char *data = file->data + tensor->begin + first / format->elements * format->bytes;
        format->convert(data, count, values + first);
        check_finite(file, tensor, first, values + first, count);
    }
}

const float *gguf_map(const struct gguf *file, const char *name, struct tensor_shape shape)
{
    const struct tensor *tensor = need_tensor(file, name, shape);
    const unsigned char *data = file->data + tensor->begin;
    if (tensor->format->convert != floats_from_floats || (uintptr_t)data % alignof(float))
        return NULL;
    const float *values = (const float *)(const void *)data;
    check_finite(file, tensor, 0, values, tensor->elements);
    return values;
}

bool is_gguf(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}
