#include "formats/torchfile.h"

#include "base/hash_table.h"
#include "base/mapping.h"
#include "base/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

enum { MAX_PICKLE_ENTRY = 64 << 20 };

enum role { TENSOR = PICKLE_ROLES, PARAMETER, STORAGE };

/*
 * All that a checkpoint may name. Into objects of fairseq and NumPy, which tell of
 * the training, nothing looks.
 */
static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", PICKLE_MAPPING},
    {"argparse", "Namespace", PICKLE_RECORD},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR},
    {"torch._utils", "_rebuild_tensor", TENSOR},
    {"torch._utils", "_rebuild_parameter", PARAMETER},
    {"torch", "DoubleStorage", STORAGE},
    {"torch", "FloatStorage", STORAGE},
    {"torch", "HalfStorage", STORAGE},
    {"torch", "BFloat16Storage", STORAGE},
    {"torch", "LongStorage", STORAGE},
    {"torch", "IntStorage", STORAGE},
    {"torch", "ShortStorage", STORAGE},
    {"torch", "CharStorage", STORAGE},
    {"torch", "ByteStorage", STORAGE},
    {"torch", "BoolStorage", STORAGE},
    {"torch", "Size", PICKLE_OPAQUE},
    {"torch", "device", PICKLE_OPAQUE},
    {"builtins", "set", PICKLE_OPAQUE},
    {"builtins", "frozenset", PICKLE_OPAQUE},
    {"builtins", "complex", PICKLE_OPAQUE},
    {"__builtin__", "set", PICKLE_OPAQUE},
    {"__builtin__", "frozenset", PICKLE_OPAQUE},
    {"__builtin__", "complex", PICKLE_OPAQUE},
    {"_codecs", "encode", PICKLE_OPAQUE}, /* how protocol 2 has bytes */
    {"numpy", "dtype", PICKLE_OPAQUE},
    {"numpy", "ndarray", PICKLE_OPAQUE},
    {"numpy.core.multiarray", "scalar", PICKLE_OPAQUE},
    {"numpy.core.multiarray", "_reconstruct", PICKLE_OPAQUE},
    {"numpy._core.multiarray", "scalar", PICKLE_OPAQUE},
    {"numpy._core.multiarray", "_reconstruct", PICKLE_OPAQUE},
    {"fairseq.meters", "AverageMeter", PICKLE_OPAQUE},
    {"fairseq.meters", "TimeMeter", PICKLE_OPAQUE},
    {"fairseq.meters", "StopwatchMeter", PICKLE_OPAQUE},
    {"fairseq.logging.meters", "AverageMeter", PICKLE_OPAQUE},
    {"fairseq.logging.meters", "TimeMeter", PICKLE_OPAQUE},
    {"fairseq.logging.meters", "StopwatchMeter", PICKLE_OPAQUE},
    {NULL, NULL, 0},
};

struct storage_type {
    const char *torch, *type;
    size_t bytes;
};

static const struct storage_type storage_types[] = {
    {"DoubleStorage", "F64", 8},    {"FloatStorage", "F32", 4}, {"HalfStorage", "F16", 2},
    {"BFloat16Storage", "BF16", 2}, {"LongStorage", "I64", 8},  {"IntStorage", "I32", 4},
    {"ShortStorage", "I16", 2},     {"CharStorage", "I8", 1},   {"ByteStorage", "U8", 1},
    {"BoolStorage", "BOOL", 1},
};

struct torch_storage {
    struct pickle_text key;
    const struct storage_type *type;
    size_t count;               /* elements */
    const unsigned char *bytes; /* of the mapped file, or loaded; NULL: not yet */
    unsigned char *loaded;      /* to be freed */
    UT_hash_handle hh;
};

struct torch_file {
    char *path;
    char *pickle_name;          /* of the tree's pickle, for messages */
    size_t size;
    struct pickle *pickle;      /* the tree */
    struct torch_storage *storages; /* by key */
    struct mapping mapping;     /* the old form: all of the file */
    zip_t *zip;                 /* the zip form, and what is before its entries' names */
    char *prefix;
    unsigned char *pickle_bytes;
    size_t loaded_bytes;
};

/* ---- storages, as persistent ids name them ---- */

/* ("storage", type, key, location, elements), the old form with a None behind them. */
static bool is_storage_id(const struct pickle_value *id)
{
    return id->kind == PICKLE_TUPLE && (id->count == 5 || id->count == 6)
           && pickle_is_text(id->items[0], "storage") && id->items[1]->kind == PICKLE_GLOBAL
           && id->items[1]->global->role == STORAGE && id->items[2]->kind == PICKLE_TEXT
           && id->items[4]->kind == PICKLE_INTEGER && id->items[4]->integer >= 0
           && (id->count == 5 || id->items[5]->kind == PICKLE_NONE);
}

static const struct storage_type *find_type(const char *torch)
{
    const struct storage_type *type = storage_types;
    while (strcmp(type->torch, torch))
        type++; /* every storage in globals has a row */
    return type;
}

static struct torch_storage *find_storage(const struct torch_file *file, struct pickle_text key)
{
    struct torch_storage *storage;
    HASH_FIND(hh, file->storages, key.bytes, key.length, storage);
    return storage;
}

static int shown(struct pickle_text key)
{
    enum { SHOWN_CHARACTERS = 80 };
    return key.length < SHOWN_CHARACTERS ? (int)key.length : SHOWN_CHARACTERS;
}

static void add_storage(struct torch_file *file, const struct pickle_value *id)
{
    if (!is_storage_id(id))
        die("%s: a persistent id that names no storage: %s", file->pickle_name, pickle_describe(id));
    struct pickle_text key = id->items[2]->text;
    const struct storage_type *type = find_type(id->items[1]->global->name);
    uint64_t count = (uint64_t)id->items[4]->integer;
    if (count > file->size / type->bytes)
        die("%s: storage '%.*s' claims %llu elements of %zu bytes, the whole file has %zu bytes: it was cut, "
            "or is damaged",
            file->path, shown(key), key.bytes, (unsigned long long)count, type->bytes, file->size);
    struct torch_storage *storage = find_storage(file, key);
    if (!storage) {
        storage = new_array(1, sizeof *storage);
        storage->key = key;
        storage->type = type;
        storage->count = (size_t)count;
        HASH_ADD_KEYPTR(hh, file->storages, storage->key.bytes, storage->key.length, storage);
    } else if (storage->type != type || storage->count != count) {
        die("%s: storage '%.*s' has two types or sizes", file->path, shown(key), key.bytes);
    }
}

static void add_storages(struct torch_file *file)
{
    const struct pickle_value *value;
    for (size_t i = 0; (value = pickle_value(file->pickle, i)); i++)
        if (value->kind == PICKLE_PERSISTENT)
            add_storage(file, value->items[0]);
}

/* ---- the old form: five pickles, then of each storage its length and its bytes ---- */

enum { PICKLE_START = 0x80 }; /* opcode PROTO */
static const unsigned char magic_number[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
enum { OLD_FORM_VERSION = 1001 };

static struct pickle *next_pickle(const struct torch_file *file, size_t *at)
{
    size_t end;
    struct pickle *pickle =
        pickle_read(file->path, file->mapping.bytes + *at, file->size - *at, *at, globals, &end);
    *at += end;
    return pickle;
}

static void check_magic(const struct torch_file *file, size_t *at)
{
    struct pickle *pickle = next_pickle(file, at);
    const struct pickle_value *magic = pickle_root(pickle);
    if (magic->kind != PICKLE_HUGE || magic->text.length != sizeof magic_number
        || memcmp(magic->text.bytes, magic_number, sizeof magic_number))
        die("%s: not a file that torch.save wrote: it begins with another pickle than the magic number",
            file->path);
    pickle_free(pickle);
    pickle = next_pickle(file, at);
    const struct pickle_value *version = pickle_root(pickle);
    if (version->kind != PICKLE_INTEGER || version->integer != OLD_FORM_VERSION)
        die("%s: not the version of torch's old form that is known, %d", file->path, OLD_FORM_VERSION);
    pickle_free(pickle);
    pickle = next_pickle(file, at);
    const struct pickle_value *little = pickle_find(pickle_root(pickle), "little_endian");
    if (!little || little->kind != PICKLE_BOOL || !little->truth)
        die("%s: not said to be little endian, the only order of bytes that is known", file->path);
    pickle_free(pickle);
}

/* Finds the bytes of the storage with this key, which begin at *at. */
static void place_storage(const struct torch_file *file, const struct pickle_value *key, size_t *at)
{
    enum { LENGTH_BYTES = 8 };
    struct torch_storage *storage = key->kind == PICKLE_TEXT ? find_storage(file, key->text) : NULL;
    if (!storage || storage->bytes)
        die("%s: the list of storages has one that no tensor names, or one twice", file->path);
    uint64_t count = 0;
    if (file->size - *at < LENGTH_BYTES)
        die("%s: the file ends before storage '%.*s': it was cut", file->path, shown(storage->key),
            storage->key.bytes);
    memcpy(&count, file->mapping.bytes + *at, LENGTH_BYTES);
    *at += LENGTH_BYTES;
    if (count != storage->count)
        die("%s: byte %zu: storage '%.*s' has %llu elements, its tensors' storage %zu", file->path,
            *at - LENGTH_BYTES, shown(storage->key), storage->key.bytes, (unsigned long long)count,
            storage->count);
    if (storage->count * storage->type->bytes > file->size - *at)
        die("%s: the file ends within storage '%.*s': it was cut", file->path, shown(storage->key),
            storage->key.bytes);
    storage->bytes = file->mapping.bytes + *at;
    *at += storage->count * storage->type->bytes;
}

static void open_old(struct torch_file *file)
{
    size_t at = 0;
    if (file->mapping.bytes[0] != PICKLE_START)
        die("%s: neither of the two forms in which torch.save writes: not a checkpoint", file->path);
    check_magic(file, &at);
    file->pickle_name = copy_string(file->path);
    file->pickle = next_pickle(file, &at);
    add_storages(file);
    struct pickle *list = next_pickle(file, &at);
    const struct pickle_value *keys = pickle_root(list);
    if (keys->kind != PICKLE_LIST || keys->count != HASH_COUNT(file->storages))
        die("%s: the list of storages is not that of the tensors'", file->path);
    for (size_t i = 0; i < keys->count; i++)
        place_storage(file, keys->items[i], &at);
    pickle_free(list);
    if (at != file->size)
        die("%s: %zu bytes follow the last storage", file->path, file->size - at);
}

/* ---- the zip form: PREFIX/data.pkl, PREFIX/byteorder, PREFIX/data/KEY ---- */

/*
 * The entry's bytes, for the caller to free, with its size, of at most most
 * bytes. Only stored entries, whose size the file's own bounds.
 */
static unsigned char *read_entry(const struct torch_file *file, zip_uint64_t index, size_t most, size_t *size)
{
    zip_stat_t status;
    const zip_uint64_t wanted = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(file->zip, index, 0, &status) != 0 || (status.valid & wanted) != wanted)
        die("%s: damaged zip directory: %s", file->path, zip_strerror(file->zip));
    if (status.comp_method != ZIP_CM_STORE || status.size != status.comp_size)
        die("%s: '%s' is compressed; torch stores it as it is", file->path, status.name);
    if (status.size > file->size || status.size > most)
        die("%s: '%s' claims %llu bytes; the file and what is known of it allow %zu", file->path, status.name,
            (unsigned long long)status.size, file->size < most ? file->size : most);
    zip_file_t *entry = zip_fopen_index(file->zip, index, 0);
    if (!entry)
        die("%s: '%s': %s", file->path, status.name, zip_strerror(file->zip));
    unsigned char *bytes = new_array((size_t)status.size, 1);
    zip_int64_t got = 0;
    unsigned char behind;
    for (*size = 0; *size < status.size; *size += (size_t)got)
        if ((got = zip_fread(entry, bytes + *size, status.size - *size)) <= 0)
            die("%s: '%s': %s: the file was cut, or is damaged", file->path, status.name,
                zip_file_strerror(entry));
    if (zip_fread(entry, &behind, 1) != 0) /* the end, where the checksum is compared */
        die("%s: '%s': %s: the file is damaged", file->path, status.name, zip_file_strerror(entry));
    zip_fclose(entry);
    return bytes;
}

/* The index of PREFIX/name, -1: there is none. */
static zip_int64_t find_entry(const struct torch_file *file, const char *name, size_t length)
{
    char *path = format_string("%s%.*s", file->prefix, (int)length, name);
    zip_int64_t index =
        strlen(path) == strlen(file->prefix) + length ? zip_name_locate(file->zip, path, 0) : -1;
    free(path);
    return index;
}

/* Finds what is before the names of all entries: that of data.pkl. */
static void find_prefix(struct torch_file *file)
{
    static const char wanted[] = "data.pkl";
    zip_int64_t entries = zip_get_num_entries(file->zip, 0);
    for (zip_int64_t i = 0; i < entries; i++) {
        const char *name = zip_get_name(file->zip, (zip_uint64_t)i, 0);
        size_t length = name ? strlen(name) : 0, end = sizeof wanted - 1;
        if (length < end || strcmp(name + length - end, wanted)
            || (length > end && name[length - end - 1] != '/'))
            continue;
        if (file->prefix)
            die("%s: more than one 'data.pkl' in it", file->path);
        file->prefix = copy_string(name);
        file->prefix[length - end] = '\0';
    }
    if (!file->prefix)
        die("%s: a zip file without 'data.pkl': not one that torch.save wrote", file->path);
}

static void check_byte_order(const struct torch_file *file)
{
    enum { MAX_BYTES = 16 };
    static const char little[] = "little";
    zip_int64_t index = find_entry(file, "byteorder", strlen("byteorder"));
    if (index < 0)
        return; /* older ones do not say it */
    size_t size;
    unsigned char *order = read_entry(file, (zip_uint64_t)index, MAX_BYTES, &size);
    if (size < sizeof little - 1 || memcmp(order, little, sizeof little - 1))
        die("%s: not little endian, the only order of bytes that is known", file->path);
    free(order);
}

static void open_zip(struct torch_file *file)
{
    int problem;
    file->zip = zip_open(file->path, ZIP_RDONLY, &problem);
    if (!file->zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, problem);
        die("%s: damaged or cut zip file: %s", file->path, zip_error_strerror(&error));
    }
    find_prefix(file);
    check_byte_order(file);
    zip_int64_t index = find_entry(file, "data.pkl", strlen("data.pkl"));
    size_t size, end;
    file->pickle_bytes = read_entry(file, index < 0 ? 0 : (zip_uint64_t)index, MAX_PICKLE_ENTRY, &size);
    file->pickle_name = format_string("%s: %sdata.pkl", file->path, file->prefix);
    file->pickle = pickle_read(file->pickle_name, file->pickle_bytes, size, 0, globals, &end);
    if (end != size)
        die("%s: %zu bytes follow the pickle", file->pickle_name, size - end);
    add_storages(file);
}

static void load_storage(struct torch_file *file, struct torch_storage *storage)
{
    enum { MAX_KEY = 1000 };
    char *name =
        format_string("data/%.*s", storage->key.length < MAX_KEY ? (int)storage->key.length : MAX_KEY,
                      storage->key.bytes);
    zip_int64_t index = find_entry(file, name, strlen(name));
    free(name);
    if (index < 0)
        die("%s: there is no storage '%.*s', which a tensor names", file->path, shown(storage->key),
            storage->key.bytes);
    size_t size, needed = storage->count * storage->type->bytes;
    storage->bytes = storage->loaded =
        read_entry(file, (zip_uint64_t)index, file->size - file->loaded_bytes, &size);
    file->loaded_bytes += size;
    if (size != needed)
        die("%s: storage '%.*s' has %zu bytes, its tensors need %zu", file->path, shown(storage->key),
            storage->key.bytes, size, needed);
}

/* ---- both ---- */

struct torch_file *torch_open(const char *path)
{
    static const unsigned char zip_magic[] = {'P', 'K', 3, 4};
    unsigned char start[sizeof zip_magic];
    struct torch_file *file = new_array(1, sizeof *file);
    struct stat status;
    file->path = copy_string(path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        die("%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        die("%s: not a regular file, which a checkpoint is", path);
    file->size = (size_t)status.st_size;
    if (pread(descriptor, start, sizeof start, 0) != sizeof start)
        die("%s: too short for a checkpoint", path);
    if (!memcmp(start, zip_magic, sizeof start)) {
        open_zip(file);
    } else {
        file->mapping = mapping_make(descriptor, path, file->size);
        open_old(file);
    }
    close(descriptor);
    return file;
}

void torch_close(struct torch_file *file)
{
    struct torch_storage *storage, *next;
    HASH_ITER(hh, file->storages, storage, next) {
        HASH_DEL(file->storages, storage);
        free(storage->loaded);
        free(storage);
    }
    pickle_free(file->pickle);
    if (file->zip)
        zip_discard(file->zip);
    if (file->mapping.bytes)
        mapping_close(&file->mapping);
    free(file->pickle_bytes);
    free(file->pickle_name);
    free(file->prefix);
    free(file->path);
    free(file);
}

const struct pickle_value *torch_root(const struct torch_file *file)
{
    return pickle_root(file->pickle);
}

size_t torch_file_bytes(const struct torch_file *file)
{
    return file->size;
}

/* ---- tensors ---- */

static bool is_tuple_of_sizes(const struct pickle_value *value)
{
    if (value->kind != PICKLE_TUPLE)
        return false;
    for (size_t i = 0; i < value->count; i++)
        if (value->items[i]->kind != PICKLE_INTEGER || value->items[i]->integer < 0)
            return false;
    return true;
}

/* (storage, offset, shape, strides, ...) */
static bool are_tensor_arguments(const struct pickle_value *arguments)
{
    struct pickle_value **item = arguments->items;
    return arguments->count >= 4 && item[0]->kind == PICKLE_PERSISTENT && item[1]->kind == PICKLE_INTEGER
        && item[1]->integer >= 0 && is_tuple_of_sizes(item[2]) && is_tuple_of_sizes(item[3])
        && item[2]->count == item[3]->count && item[2]->count <= TORCH_MAX_DIMENSIONS;
}

/* Whether all elements lie within the storage, and are no more than it has. */
static bool fits_storage(const struct torch_tensor *tensor)
{
    size_t most = tensor->storage->count, count = 1, last = tensor->offset;
    for (size_t i = 0; i < tensor->dimensions; i++)
        if (tensor->shape[i] == 0)
            return true;
    if (last >= most)
        return false;
    for (size_t i = 0; i < tensor->dimensions; i++) {
        size_t steps = tensor->shape[i] - 1;
        if (tensor->shape[i] > most / count || (steps && tensor->stride[i] > (most - 1 - last) / steps))
            return false;
        count *= tensor->shape[i];
        last += steps * tensor->stride[i];
    }
    return true;
}

bool torch_tensor_get(const struct torch_file *file, const struct pickle_value *value, const char *name,
                      struct torch_tensor *tensor)
{
    if (value->kind == PICKLE_OBJECT && value->type->role == PARAMETER && value->arguments->count)
        value = value->arguments->items[0];
    if (value->kind != PICKLE_OBJECT || value->type->role != TENSOR)
        return false;
    if (!are_tensor_arguments(value->arguments))
        die("%s: tensor '%s' is not made as torch makes one of up to %d dimensions", file->path, name,
            TORCH_MAX_DIMENSIONS);
    struct pickle_value **argument = value->arguments->items;
    struct torch_storage *storage = find_storage(file, argument[0]->items[0]->items[2]->text);
    *tensor = (struct torch_tensor){.type = storage->type->type, .element_bytes = storage->type->bytes,
                                    .dimensions = argument[2]->count, .count = 1,
                                    .offset = (size_t)argument[1]->integer, .storage = storage};
    for (size_t i = 0; i < tensor->dimensions; i++) {
        tensor->shape[i] = (size_t)argument[2]->items[i]->integer;
        tensor->stride[i] = (size_t)argument[3]->items[i]->integer;
    }
    if (!fits_storage(tensor))
        die("%s: tensor '%s' reaches beyond its storage '%.*s' of %zu elements", file->path, name,
            shown(storage->key), storage->key.bytes, storage->count);
    for (size_t i = 0; i < tensor->dimensions; i++)
        tensor->count *= tensor->shape[i];
    return true;
}

static bool is_contiguous(const struct torch_tensor *tensor)
{
    size_t step = 1;
    for (size_t i = tensor->dimensions; i-- > 0; step *= tensor->shape[i])
        if (tensor->shape[i] != 1 && tensor->stride[i] != step)
            return false;
    return true;
}

/* Copies element by element, counting an index through all dimensions. */
static void gather(const struct torch_tensor *tensor, const unsigned char *source, unsigned char *target)
{
    size_t index[TORCH_MAX_DIMENSIONS] = {0}, at = 0;
    for (size_t done = 0; done < tensor->count; done++) {
        memcpy(target + done * tensor->element_bytes, source + at * tensor->element_bytes,
               tensor->element_bytes);
        for (size_t i = tensor->dimensions; i-- > 0;) {
            at += tensor->stride[i];
            if (++index[i] < tensor->shape[i])
                break;
            at -= tensor->stride[i] * index[i];
            index[i] = 0;
        }
    }
}

void *torch_tensor_read(struct torch_file *file, const struct torch_tensor *tensor)
{
    struct torch_storage *storage = tensor->storage;
    unsigned char *elements = new_array(tensor->count, tensor->element_bytes);
    if (!storage->bytes)
        load_storage(file, storage);
    if (!tensor->count)
        return elements;
    const unsigned char *source = storage->bytes + tensor->offset * tensor->element_bytes;
    if (is_contiguous(tensor))
        memcpy(elements, source, tensor->count * tensor->element_bytes);
    else
        gather(tensor, source, elements);
    return elements;
}
