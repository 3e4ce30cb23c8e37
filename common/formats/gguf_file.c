#include "formats/gguf_file.h"

#include "base/messages.h"
#include "base/order.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 4 + 4 + 8 + 8, /* "GGUF", version, tensors, keys */
    LEAST_ENTRY_BYTES = 8 + 1 + 4 + 1,
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
    MAX_NAME_BYTES = 65535,
    MAX_NESTING = 4, /* of arrays in arrays; none is known to have any */
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 16, /* no processor's pages are larger */
};

const struct gguf_type_name gguf_types[GGUF_TYPES] = {
    [UINT8] = {"uint8", 1, true},       [INT8] = {"int8", 1, true},        [UINT16] = {"uint16", 2, true},
    [INT16] = {"int16", 2, true},       [UINT32] = {"uint32", 4, true},    [INT32] = {"int32", 4, true},
    [FLOAT32] = {"float32", 4, false},  [BOOL] = {"bool", 1, false},       [TEXT] = {"string", 8, false},
    [ARRAY] = {"array", 4 + 8, false},  [UINT64] = {"uint64", 8, true},    [INT64] = {"int64", 8, true},
    [FLOAT64] = {"float64", 8, false},
};

/* Where the next bytes of the header are. */
struct cursor {
    const struct gguf_file *file;
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
        die("%s: %s at byte %zu needs %llu bytes, but the file has %zu: " GGUF_CUT,
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
        die("%s: %s at byte %zu claims %llu, more than the file has bytes for: " GGUF_CUT,
            cursor->file->path, what, place, (unsigned long long)count);
    return (size_t)count;
}

static struct gguf_text take_text(struct cursor *cursor, const char *what)
{
    uint64_t length = take_uint64(cursor, what);
    const unsigned char *bytes = take(cursor, length, what);
    return (struct gguf_text){(const char *)bytes, (size_t)length};
}

bool gguf_printable(struct gguf_text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.bytes[i] < ' ' || text.bytes[i] > '~')
            return false;
    return true;
}

char *gguf_copy_text(struct gguf_text text)
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
    if (name.length < 1 || name.length > MAX_NAME_BYTES || !gguf_printable(name))
        die("%s: %s at byte %zu is not 1 to %d printable ASCII characters: " GGUF_DAMAGED,
            cursor->file->path, what, place, MAX_NAME_BYTES);
    return gguf_copy_text(name);
}

static enum gguf_type take_type(struct cursor *cursor, const char *key)
{
    size_t place = cursor->place;
    uint32_t number = take_uint32(cursor, "a type");
    if (number >= GGUF_TYPES)
        die("%s: metadata '%s' has a value of type %lu at byte %zu; types up to %d are known: " GGUF_DAMAGED,
            cursor->file->path, key, (unsigned long)number, place, GGUF_TYPES - 1);
    return (enum gguf_type)number;
}

/* Passes over count values of one type, which count was checked to have bytes for. */
static void skip_values(struct cursor *cursor, enum gguf_type type, size_t count, size_t nesting,
                        const char *key)
{
    if (type == ARRAY && nesting == MAX_NESTING)
        die("%s: metadata '%s' has arrays nested more than %d deep: " GGUF_DAMAGED, cursor->file->path,
            key, MAX_NESTING);
    if (type == ARRAY) {
        for (size_t i = 0; i < count; i++) {
            enum gguf_type inner = take_type(cursor, key);
            size_t elements = take_count(cursor, gguf_types[inner].bytes, "an array's length");
            skip_values(cursor, inner, elements, nesting + 1, key);
        }
    } else if (type == TEXT) {
        for (size_t i = 0; i < count; i++)
            take_text(cursor, "a string");
    } else {
        const unsigned char *values = take(cursor, (uint64_t)count * gguf_types[type].bytes, "a value");
        for (size_t i = 0; type == BOOL && i < count; i++)
            if (values[i] > 1)
                die("%s: metadata '%s' has a bool that is neither 0 nor 1: " GGUF_DAMAGED,
                    cursor->file->path, key);
    }
}

/* What the cursor passed from begin on. */
static struct gguf_range passed(const struct cursor *cursor, size_t begin)
{
    return (struct gguf_range){cursor->file->mapping.bytes + begin, cursor->place - begin};
}

static struct gguf_entry take_entry(struct cursor *cursor)
{
    size_t begin = cursor->place;
    struct gguf_entry entry = {.key = take_name(cursor, "a key"), .count = 1};
    entry.type = take_type(cursor, entry.key);
    if (entry.type == ARRAY) {
        entry.array = true;
        entry.type = take_type(cursor, entry.key);
        entry.count = take_count(cursor, gguf_types[entry.type].bytes, "an array's length");
    }
    entry.data = cursor->file->mapping.bytes + cursor->place;
    skip_values(cursor, entry.type, entry.count, entry.array, entry.key);
    entry.whole = passed(cursor, begin);
    return entry;
}

static const struct quantization *take_format(struct cursor *cursor, const char *name)
{
    static const char cure[] = "quantize the original weights to another type (llama-quantize of llama.cpp),"
                               " or take a file of one; these are read:";
    uint32_t number = take_uint32(cursor, "a tensor's type");
    const struct quantization *format = quantization_find(number);
    if (!format)
        die("%s: tensor '%s' is of type %lu, which no format has that is known, or the file is damaged; %s"
            " %s", cursor->file->path, name, (unsigned long)number, cure, quantization_list());
    if (!format->convert)
        die("%s: tensor '%s' is of type %s (%lu), which is not read; %s %s", cursor->file->path, name,
            format->name, (unsigned long)number, cure, quantization_list());
    return format;
}

/* Works out a tensor's elements and bytes, which must not exceed the file's. */
static void set_size(const struct gguf_file *file, struct gguf_tensor *tensor)
{
    if (tensor->length[0] % tensor->format->elements)
        die("%s: tensor '%s' has rows of %zu elements, not whole blocks of %zu as %s has them: "
            GGUF_DAMAGED, file->path, tensor->name, tensor->length[0], tensor->format->elements,
            tensor->format->name);
    tensor->elements = tensor->format->elements;
    tensor->bytes = tensor->format->bytes;
    for (size_t i = 0; i < GGUF_DIMENSIONS; i++) {
        size_t factor = i ? tensor->length[i] : tensor->length[0] / tensor->format->elements;
        if (factor && tensor->bytes > file->mapping.size / factor)
            die("%s: tensor '%s' claims to be larger than the file: " GGUF_CUT, file->path,
                tensor->name);
        tensor->elements *= factor; /* no more than 5 a byte of the file */
        tensor->bytes *= factor;
    }
}

static struct gguf_tensor take_tensor(struct cursor *cursor)
{
    const struct gguf_file *file = cursor->file;
    size_t first = cursor->place;
    struct gguf_tensor tensor = {.file = file, .name = take_name(cursor, "a tensor's name")};
    uint32_t dimensions = take_uint32(cursor, "a number of dimensions");
    if (dimensions > GGUF_DIMENSIONS)
        die("%s: tensor '%s' has %lu dimensions; up to %d are known: " GGUF_DAMAGED, file->path, tensor.name,
            (unsigned long)dimensions, GGUF_DIMENSIONS);
    for (size_t i = 0; i < GGUF_DIMENSIONS; i++) {
        uint64_t length = i < dimensions ? take_uint64(cursor, "a dimension") : 1;
        if (length > INT64_MAX || length > SIZE_MAX)
            die("%s: tensor '%s' claims to be larger than the file: " GGUF_DAMAGED, file->path, tensor.name);
        tensor.length[i] = (size_t)length;
    }
    tensor.format = take_format(cursor, tensor.name);
    uint64_t begin = take_uint64(cursor, "a tensor's offset");
    set_size(file, &tensor);
    if (begin > file->mapping.size)
        die("%s: tensor '%s' has its data behind the end of the file: " GGUF_CUT,
            file->path, tensor.name);
    tensor.begin = (size_t)begin;
    tensor.info = passed(cursor, first);
    return tensor;
}

/* ---- the whole header ---- */

int gguf_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts count entries or tensors, of size bytes each, by names, which must differ. */
static void sort_by_name(const struct gguf_file *file, void *items, size_t count, size_t size,
                         const char *what)
{
    char *item = items;
    qsort(items, count, size, gguf_by_name);
    for (size_t i = 1; i < count; i++)
        if (!gguf_by_name(item + (i - 1) * size, item + i * size))
            die("%s: the %s '%s' is there twice: " GGUF_DAMAGED, file->path, what,
                *(char **)(void *)(item + i * size));
}

static int by_begin(const void *a, const void *b)
{
    const struct gguf_tensor *const *left = a, *const *right = b;
    int order = compare_numbers((*left)->begin, (*right)->begin);
    return order ? order : compare_numbers((*left)->bytes, (*right)->bytes); /* empty ones before others */
}

/* Checks that every tensor's data are aligned, within the file, and its own. */
static void check_places(const struct gguf_file *file)
{
    const struct gguf_tensor **sorted = new_array(file->tensors, sizeof *sorted);
    for (size_t i = 0; i < file->tensors; i++)
        sorted[i] = &file->tensor[i];
    qsort(sorted, file->tensors, sizeof *sorted, by_begin);
    size_t end = 0;
    for (size_t i = 0; i < file->tensors; i++) {
        const struct gguf_tensor *tensor = sorted[i];
        if (tensor->begin % file->alignment)
            die("%s: the data of tensor '%s' do not begin at a multiple of %zu bytes: " GGUF_DAMAGED,
                file->path, tensor->name, file->alignment);
        if (tensor->begin < end)
            die("%s: the data of tensor '%s' overlap those before it: " GGUF_DAMAGED, file->path,
                tensor->name);
        if (tensor->begin > file->data_size || tensor->bytes > file->data_size - tensor->begin)
            die("%s: the data of tensor '%s' end behind the end of the file: " GGUF_CUT,
                file->path, tensor->name);
        end = tensor->begin + tensor->bytes;
    }
    free(sorted);
}

/* Passes magic number and version, which it gives. */
static uint32_t take_version(struct cursor *cursor)
{
    const char *path = cursor->file->path;
    if (memcmp(take(cursor, 4, "the magic number"), "GGUF", 4) != 0)
        die("%s: not a GGUF file", path);
    uint32_t version = take_uint32(cursor, "the version");
    if (version && !(version & 0xffff))
        die("%s: GGUF of big-endian byte order; only little-endian files are read: convert it"
            " (gguf-convert-endian FILE little, of the Python package gguf)", path);
    if (version != 2 && version != 3)
        die("%s: GGUF version %lu; versions 2 and 3 are known%s", path, (unsigned long)version,
            version == 1 ? ": " GGUF_ANEW : "");
    return version;
}

/* Reads the header, up to where the data begin. */
static void read_header(struct gguf_file *file)
{
    struct cursor cursor = {file, 0};
    file->version = take_version(&cursor);
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

    file->alignment = DEFAULT_ALIGNMENT;
    if (gguf_find_entry(file, "general.alignment"))
        file->alignment = (size_t)gguf_file_uint(file, "general.alignment", 1, MAX_ALIGNMENT);
    if (file->alignment & (file->alignment - 1))
        die("%s: metadata 'general.alignment' is %zu, not a power of 2: " GGUF_DAMAGED, file->path,
            file->alignment);
    size_t padding = (file->alignment - cursor.place % file->alignment) % file->alignment;
    /* A file without data may end before it. */
    take(&cursor, padding < left(&cursor) ? padding : left(&cursor), "padding");
    file->data = file->mapping.bytes + cursor.place;
    file->data_size = left(&cursor);
    check_places(file);
}

struct gguf_file *gguf_file_open(const char *path)
{
    struct gguf_file *file = new_array(1, sizeof *file);
    file->path = copy_string(path);
    file->mapping = mapping_open(path, HEADER_BYTES, "GGUF");
    read_header(file);
    return file;
}

void gguf_file_close(struct gguf_file *file)
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

/* ---- entries ---- */

const struct gguf_entry *gguf_find_entry(const struct gguf_file *file, const char *key)
{
    return bsearch(&key, file->entry, file->entries, sizeof *file->entry, gguf_by_name);
}

_Noreturn void gguf_wrong_type(const struct gguf_file *file, const struct gguf_entry *entry,
                               const char *wanted)
{
    die("%s: metadata '%s' is of type %s%s; %s is needed; " GGUF_ANEW, file->path, entry->key,
        gguf_types[entry->type].name, entry->array ? " array" : "", wanted);
}

const struct gguf_entry *gguf_need_entry(const struct gguf_file *file, const char *key, bool array,
                                         const char *wanted)
{
    const struct gguf_entry *entry = gguf_find_entry(file, key);
    if (!entry)
        die("%s: there is no metadata '%s', %s; " GGUF_ANEW, file->path, key, wanted);
    if (entry->array != array)
        gguf_wrong_type(file, entry, wanted);
    return entry;
}

int64_t gguf_integer_at(const struct gguf_file *file, const struct gguf_entry *entry, size_t index)
{
    const unsigned char *data = entry->data + index * gguf_types[entry->type].bytes;
    uint64_t bits = 0;
    memcpy(&bits, data, gguf_types[entry->type].bytes);
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
            die("%s: metadata '%s' has a number larger than %lld; " GGUF_ANEW, file->path, entry->key,
                (long long)INT64_MAX);
        return (int64_t)bits;
    }
}

uint64_t gguf_file_uint(const struct gguf_file *file, const char *key, uint64_t least, uint64_t most)
{
    const struct gguf_entry *entry = gguf_need_entry(file, key, false, "a whole number");
    if (!gguf_types[entry->type].integer)
        gguf_wrong_type(file, entry, "a whole number");
    int64_t number = gguf_integer_at(file, entry, 0);
    if (number < 0 || (uint64_t)number < least || (uint64_t)number > most)
        die("%s: metadata '%s' is %lld; a whole number from %llu to %llu is needed; " GGUF_ANEW, file->path,
            key, (long long)number, (unsigned long long)least, (unsigned long long)most);
    return (uint64_t)number;
}

struct gguf_text *gguf_texts_of(const struct gguf_file *file, const struct gguf_entry *entry)
{
    struct gguf_text *texts = new_array(entry->count, sizeof *texts);
    struct cursor cursor = {file, (size_t)(entry->data - file->mapping.bytes)};
    for (size_t i = 0; i < entry->count; i++)
        texts[i] = take_text(&cursor, "a string");
    return texts;
}
