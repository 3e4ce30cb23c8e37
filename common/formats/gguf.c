#include "formats/gguf.h"

#include "base/input.h"
#include "base/messages.h"
#include "base/order.h"
#include "formats/gguf_file.h"
#include "numeric/stored_floats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CHUNK = 1 << 14, /* elements that are converted, and then checked, while in the cache */
    MAX_PARTS = 65535,
};

struct gguf {
    struct gguf_file **part;           /* parts: of a split model, or 1 */
    size_t parts;
    const struct gguf_tensor **tensor; /* tensors, of all parts, by name */
    size_t tensors;
};

/* ---- the parts of a split model ---- */

static const char split_prefix[] = "split.", split_number[] = "split.no", split_count[] = "split.count",
                  split_tensors[] = "split.tensors.count"; /* of all parts */

/* Whether an entry tells of parts. */
static bool is_of_split(const struct gguf_entry *entry)
{
    return !strncmp(entry->key, split_prefix, strlen(split_prefix));
}

/* What the name of a part, from 0, of so many ends with. */
static char *part_ending(size_t part, size_t parts)
{
    return format_string("-%05zu-of-%05zu.gguf", part + 1, parts);
}

/* The path of another part than that whose path this is. The caller frees it. NULL: it has another name. */
static char *part_path(const char *path, size_t own, size_t other, size_t parts)
{
    char *own_ending = part_ending(own, parts), *ending = part_ending(other, parts);
    char *found = NULL;
    if (ends_with(path, own_ending))
        found = format_string("%.*s%s", (int)(strlen(path) - strlen(own_ending)), path, ending);
    free(own_ending);
    free(ending);
    return found;
}

/* How many files the model is in, of which this is one. */
static size_t parts_of(const struct gguf_file *file)
{
    if (!gguf_find_entry(file, split_count))
        return 1;
    size_t parts = (size_t)gguf_file_uint(file, split_count, 0, MAX_PARTS);
    return parts ? parts : 1; /* files that were joined again have 0 */
}

/* Ends the program for a part but the first, which nothing else describes. */
static void check_first(const struct gguf_file *file, size_t parts)
{
    size_t number = (size_t)gguf_file_uint(file, split_number, 0, MAX_PARTS);
    char *ending = part_ending(0, parts);
    if (number >= parts)
        die("%s: %s is %zu, of %zu parts: " GGUF_DAMAGED, file->path, split_number, number, parts);
    if (number > 0) {
        char *first = part_path(file->path, number, 0, parts);
        die("%s: part %zu of %zu of a split model; give the first, %s%s", file->path, number + 1, parts,
            first ? "" : "whose name ends with ", first ? first : ending);
    }
    if (!ends_with(file->path, ending))
        die("%s: the first of %zu parts of a split model, whose name must end with %s, as those of the others"
            " do with their numbers; give the files their names again", file->path, parts, ending);
    free(ending);
}

/* Ends the program where a part's number at key is not what it must be. */
static void check_number(const struct gguf *gguf, const struct gguf_file *file, const char *key, size_t must,
                         const char *what)
{
    size_t is = (size_t)gguf_file_uint(file, key, 0, INT32_MAX);
    if (is != must)
        die("%s: %s is %zu, where %zu %s: not that part of the model of %s; take all parts from one place",
            file->path, key, is, must, what, gguf->part[0]->path);
}

/* Ends the program for a file that is not part number index of the model. */
static void check_part(const struct gguf *gguf, const struct gguf_file *file, size_t index)
{
    check_number(gguf, file, split_count, gguf->parts, "is that of the first");
    check_number(gguf, file, split_number, index, "follows from its name");
    check_number(gguf, file, split_tensors,
                 (size_t)gguf_file_uint(gguf->part[0], split_tensors, 0, INT32_MAX), "is that of the first");
    for (size_t i = 0; i < file->entries; i++)
        if (!is_of_split(&file->entry[i]) && strcmp(file->entry[i].key, "general.alignment"))
            die("%s: has metadata of its own, '%s', which only the first part of a split model has: it does"
                " not belong to %s; take all parts from one place", file->path, file->entry[i].key,
                gguf->part[0]->path);
}

/* Opens the parts behind the first. */
static void open_parts(struct gguf *gguf)
{
    const char *first = gguf->part[0]->path;
    for (size_t i = 1; i < gguf->parts; i++) {
        char *path = part_path(first, 0, i, gguf->parts);
        if (!input_exists(path))
            die("%s: part %zu of %zu of the model is not there; put all parts beside %s", path, i + 1,
                gguf->parts, first);
        gguf->part[i] = gguf_file_open(path);
        check_part(gguf, gguf->part[i], i);
        free(path);
    }
}

/* ---- the tensors of all ---- */

static int by_tensor_name(const void *a, const void *b)
{
    const struct gguf_tensor *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

/* Compares a name with a tensor's. */
static int by_its_name(const void *name, const void *tensor)
{
    const struct gguf_tensor *const *one = tensor;
    return strcmp(name, (*one)->name);
}

/* Ends the program where the parts have not the tensors that the first says. */
static void check_tensors(const struct gguf *gguf)
{
    if (gguf->parts == 1)
        return;
    const struct gguf_file *first = gguf->part[0];
    size_t stated = (size_t)gguf_file_uint(first, split_tensors, 0, INT32_MAX);
    if (stated != gguf->tensors)
        die("%s: %s is %zu, but its %zu parts have %zu tensors: a part is of another model; take all parts"
            " from one place", first->path, split_tensors, stated, gguf->parts, gguf->tensors);
    for (size_t i = 1; i < gguf->tensors; i++)
        if (!by_tensor_name(&gguf->tensor[i - 1], &gguf->tensor[i]))
            die("%s: the tensor '%s' is in %s, too: a part is of another model; take all parts from one"
                " place", gguf->tensor[i]->file->path, gguf->tensor[i]->name,
                gguf->tensor[i - 1]->file->path);
}

static void gather_tensors(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->parts; i++)
        gguf->tensors += gguf->part[i]->tensors; /* of files in memory */
    gguf->tensor = new_array(gguf->tensors, sizeof *gguf->tensor);
    size_t index = 0;
    for (size_t i = 0; i < gguf->parts; i++)
        for (size_t j = 0; j < gguf->part[i]->tensors; j++)
            gguf->tensor[index++] = &gguf->part[i]->tensor[j];
    if (gguf->parts > 1)
        qsort(gguf->tensor, gguf->tensors, sizeof *gguf->tensor, by_tensor_name);
    check_tensors(gguf);
}

struct gguf *gguf_open(const char *path)
{
    struct gguf *gguf = new_array(1, sizeof *gguf);
    struct gguf_file *first = gguf_file_open(path);
    gguf->parts = parts_of(first);
    if (gguf->parts > 1)
        check_first(first, gguf->parts);
    gguf->part = new_array(gguf->parts, sizeof *gguf->part);
    gguf->part[0] = first;
    open_parts(gguf);
    gather_tensors(gguf);
    return gguf;
}

void gguf_close(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->parts; i++)
        gguf_file_close(gguf->part[i]);
    free(gguf->part);
    free(gguf->tensor);
    free(gguf);
}

size_t gguf_files(const struct gguf *gguf, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < gguf->parts; i++)
        *bytes += gguf->part[i]->mapping.size;
    return gguf->parts;
}

/* ---- the hash ---- */

static void hash_uint64(struct hash *hash, uint64_t number)
{
    hash_add(hash, &number, sizeof number);
}

static void hash_zeros(struct hash *hash, size_t count)
{
    static const unsigned char zeros[4096] = {0};
    for (size_t added; count; count -= added) {
        added = count < sizeof zeros ? count : sizeof zeros;
        hash_add(hash, zeros, added);
    }
}

static size_t padding_of(size_t size, size_t alignment)
{
    return (alignment - size % alignment) % alignment;
}

static int by_entry_place(const void *a, const void *b)
{
    const struct gguf_entry *const *left = a, *const *right = b;
    return compare_numbers((uintptr_t)(*left)->data, (uintptr_t)(*right)->data);
}

static int by_info_place(const void *a, const void *b)
{
    const struct gguf_tensor *const *left = a, *const *right = b;
    return compare_numbers((uintptr_t)(*left)->info.bytes, (uintptr_t)(*right)->info.bytes);
}

/* The metadata in the file's order, but what tells of parts. Returns their bytes. */
static size_t hash_entries(const struct gguf_file *file, struct hash *hash)
{
    const struct gguf_entry **sorted = new_array(file->entries, sizeof *sorted);
    size_t bytes = 0;
    for (size_t i = 0; i < file->entries; i++)
        sorted[i] = &file->entry[i];
    qsort(sorted, file->entries, sizeof *sorted, by_entry_place);
    for (size_t i = 0; i < file->entries; i++)
        if (!is_of_split(sorted[i])) {
            hash_add(hash, sorted[i]->whole.bytes, sorted[i]->whole.size);
            bytes += sorted[i]->whole.size;
        }
    free(sorted);
    return bytes;
}

/* All tensors, part by part, in the order of the headers. The caller frees them. */
static const struct gguf_tensor **in_file_order(const struct gguf *gguf)
{
    const struct gguf_tensor **sorted = new_array(gguf->tensors, sizeof *sorted);
    size_t begin = 0;
    for (size_t i = 0; i < gguf->parts; i++) {
        const struct gguf_file *file = gguf->part[i];
        for (size_t j = 0; j < file->tensors; j++)
            sorted[begin + j] = &file->tensor[j];
        qsort(sorted + begin, file->tensors, sizeof *sorted, by_info_place);
        begin += file->tensors;
    }
    return sorted;
}

void gguf_hash(const struct gguf *gguf, struct hash *hash)
{
    const struct gguf_file *first = gguf->part[0];
    const struct gguf_tensor **sorted = in_file_order(gguf);
    size_t entries = 0, header = 4 + 4 + 8 + 8, offset = 0;
    for (size_t i = 0; i < first->entries; i++)
        entries += !is_of_split(&first->entry[i]);
    hash_add(hash, "GGUF", 4);
    hash_add(hash, &first->version, sizeof first->version);
    hash_uint64(hash, gguf->tensors);
    hash_uint64(hash, entries);
    header += hash_entries(first, hash);
    for (size_t i = 0; i < gguf->tensors; i++) {
        const struct gguf_tensor *tensor = sorted[i];
        hash_add(hash, tensor->info.bytes, tensor->info.size - sizeof(uint64_t));
        hash_uint64(hash, offset);
        header += tensor->info.size;
        offset += tensor->bytes + padding_of(tensor->bytes, first->alignment);
    }
    hash_zeros(hash, padding_of(header, first->alignment));
    for (size_t i = 0; i < gguf->tensors; i++) {
        mapping_hash(sorted[i]->file->data + sorted[i]->begin, sorted[i]->bytes, hash, NULL);
        hash_zeros(hash, padding_of(sorted[i]->bytes, first->alignment));
    }
    free(sorted);
}

void gguf_drop_pages(const struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->parts; i++)
        mapping_drop_pages(gguf->part[i]->mapping.bytes, gguf->part[i]->mapping.size);
}

/* ---- metadata ---- */

size_t gguf_keys(const struct gguf *gguf)
{
    return gguf->part[0]->entries;
}

const char *gguf_key(const struct gguf *gguf, size_t index)
{
    return gguf->part[0]->entry[index].key;
}

bool gguf_has_key(const struct gguf *gguf, const char *key)
{
    return gguf_find_entry(gguf->part[0], key);
}

bool gguf_is_array(const struct gguf *gguf, const char *key)
{
    const struct gguf_entry *entry = gguf_find_entry(gguf->part[0], key);
    return entry && entry->array;
}

bool gguf_is_neutral(const struct gguf *gguf, const char *key)
{
    static const unsigned char zeros[8] = {0};
    const struct gguf_entry *entry = gguf_find_entry(gguf->part[0], key);
    return !entry
           || (entry->array ? entry->count == 0 : !memcmp(entry->data, zeros, gguf_types[entry->type].bytes));
}

/* Element index of an entry of floats. */
static double real_at(const struct gguf_file *file, const struct gguf_entry *entry, size_t index)
{
    double real;
    float single;
    const unsigned char *data = entry->data + index * gguf_types[entry->type].bytes;
    if (entry->type == FLOAT32) {
        memcpy(&single, data, sizeof single);
        real = (double)single;
    } else {
        memcpy(&real, data, sizeof real);
    }
    if (!isfinite(real))
        die("%s: metadata '%s' has a number that is not finite: " GGUF_DAMAGED, file->path, entry->key);
    return real;
}

struct gguf_text gguf_text(const struct gguf *gguf, const char *key)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, false, "a string");
    if (entry->type != TEXT)
        gguf_wrong_type(file, entry, "a string");
    struct gguf_text *texts = gguf_texts_of(file, entry), text = *texts;
    free(texts);
    return text;
}

char *gguf_word(const struct gguf *gguf, const char *key)
{
    const struct gguf_file *file = gguf->part[0];
    struct gguf_text text = gguf_text(gguf, key);
    if (!gguf_printable(text))
        die("%s: metadata '%s' is not printable ASCII; " GGUF_ANEW, file->path, key);
    return gguf_copy_text(text);
}

uint64_t gguf_uint(const struct gguf *gguf, const char *key, uint64_t least, uint64_t most)
{
    return gguf_file_uint(gguf->part[0], key, least, most);
}

double gguf_real(const struct gguf *gguf, const char *key)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, false, "a number with a fraction");
    if (entry->type != FLOAT32 && entry->type != FLOAT64)
        gguf_wrong_type(file, entry, "a number with a fraction");
    return real_at(file, entry, 0);
}

bool gguf_bool(const struct gguf *gguf, const char *key)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, false, "a bool");
    if (entry->type != BOOL)
        gguf_wrong_type(file, entry, "a bool");
    return *entry->data;
}

struct gguf_text *gguf_texts(const struct gguf *gguf, const char *key, size_t *count)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, true, "an array of strings");
    if (entry->type != TEXT)
        gguf_wrong_type(file, entry, "an array of strings");
    *count = entry->count;
    return gguf_texts_of(file, entry);
}

int64_t *gguf_ints(const struct gguf *gguf, const char *key, size_t *count)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, true, "an array of whole numbers");
    if (!gguf_types[entry->type].integer)
        gguf_wrong_type(file, entry, "an array of whole numbers");
    int64_t *numbers = new_array(entry->count, sizeof *numbers);
    for (size_t i = 0; i < entry->count; i++)
        numbers[i] = gguf_integer_at(file, entry, i);
    *count = entry->count;
    return numbers;
}

float *gguf_floats(const struct gguf *gguf, const char *key, size_t *count)
{
    const struct gguf_file *file = gguf->part[0];
    const struct gguf_entry *entry = gguf_need_entry(file, key, true, "an array of numbers with a fraction");
    if (entry->type != FLOAT32 && entry->type != FLOAT64)
        gguf_wrong_type(file, entry, "an array of numbers with a fraction");
    float *numbers = new_floats(entry->count);
    for (size_t i = 0; i < entry->count; i++) {
        numbers[i] = (float)real_at(file, entry, i);
        if (!isfinite(numbers[i]))
            die("%s: metadata '%s' has a number too large for 32 bits; " GGUF_ANEW, file->path, key);
    }
    *count = entry->count;
    return numbers;
}

/* ---- tensors ---- */

size_t gguf_tensors(const struct gguf *gguf)
{
    return gguf->tensors;
}

const char *gguf_tensor(const struct gguf *gguf, size_t index)
{
    return gguf->tensor[index]->name;
}

/* NULL when there is none. */
static const struct gguf_tensor *find_tensor(const struct gguf *gguf, const char *name)
{
    const struct gguf_tensor **found =
        bsearch(name, gguf->tensor, gguf->tensors, sizeof *gguf->tensor, by_its_name);
    return found ? *found : NULL;
}

bool gguf_has(const struct gguf *gguf, const char *name)
{
    return find_tensor(gguf, name);
}

/* The tensor called name, of any shape. */
static const struct gguf_tensor *any_tensor(const struct gguf *gguf, const char *name)
{
    const struct gguf_tensor *tensor = find_tensor(gguf, name);
    if (!tensor)
        die("%s: there is no tensor '%s'", gguf->part[0]->path, name);
    return tensor;
}

const char *gguf_format(const struct gguf *gguf, const char *name, size_t length[GGUF_DIMENSIONS])
{
    const struct gguf_tensor *tensor = any_tensor(gguf, name);
    memcpy(length, tensor->length, sizeof tensor->length);
    return tensor->format->name;
}

size_t gguf_tensor_bytes(const struct gguf *gguf, const char *name)
{
    return any_tensor(gguf, name)->bytes;
}

/* The tensor called name, which must have that shape. */
static const struct gguf_tensor *need_tensor(const struct gguf *gguf, const char *name,
                                             struct tensor_shape shape)
{
    const struct gguf_tensor *tensor = find_tensor(gguf, name);
    if (!tensor)
        die("%s: there is no tensor '%s', which the metadata ask for; " GGUF_ANEW, gguf->part[0]->path, name);
    const size_t *length = tensor->length;
    const size_t wanted[] = {shape.columns ? shape.columns : shape.rows, shape.columns ? shape.rows : 1,
                             shape.stack ? shape.stack : 1, 1};
    if (memcmp(length, wanted, sizeof wanted))
        die("%s: tensor '%s' has shape [%zu, %zu, %zu, %zu], the metadata ask for [%zu, %zu, %zu, 1]; "
            GGUF_ANEW, tensor->file->path, name, length[0], length[1], length[2], length[3], wanted[0],
            wanted[1], wanted[2]);
    return tensor;
}

/* Ends the program for an element that is not finite. */
__attribute__((noreturn)) static void refuse_element(const struct gguf_tensor *tensor, size_t place,
                                                     float value)
{
    die("%s: tensor '%s' has %s at element %zu: the file is damaged or was trained to divergence; fetch"
        " it again, or take another model",
        tensor->file->path, tensor->name, isnan(value) ? "NaN" : "infinity", place);
}

void gguf_read(const struct gguf *gguf, const char *name, struct tensor_shape shape, float *values)
{
    const struct gguf_tensor *tensor = need_tensor(gguf, name, shape);
    const struct quantization *format = tensor->format;
    for (size_t first = 0; first < tensor->elements; first += CHUNK) {
        size_t count = tensor->elements - first < CHUNK ? tensor->elements - first : CHUNK;
        const unsigned char *data = tensor->file->data + tensor->begin
                                  + first / format->elements * format->bytes;
        format->convert(data, count, values + first);
        size_t place = floats_first_not_finite(values + first, count);
        if (place < count)
            refuse_element(tensor, first + place, values[first + place]);
    }
}

static struct stored_floats stored_at(const struct gguf_tensor *tensor)
{
    void (*convert)(const unsigned char *, size_t, float *) = tensor->format->convert;
    enum float_format format = convert == floats_from_floats    ? FLOATS_32
                             : convert == floats_from_halves    ? FLOATS_HALF
                             : convert == floats_from_bfloats   ? FLOATS_BFLOAT
                                                                : FLOATS_OTHER;
    return (struct stored_floats){tensor->file->data + tensor->begin, format};
}

struct stored_floats gguf_find(const struct gguf *gguf, const char *name, struct tensor_shape shape)
{
    return stored_at(need_tensor(gguf, name, shape));
}

struct stored_floats gguf_map(const struct gguf *gguf, const char *name, struct tensor_shape shape)
{
    const struct gguf_tensor *tensor = need_tensor(gguf, name, shape);
    struct stored_floats stored = stored_at(tensor);
    if (stored.format == FLOATS_OTHER)
        return stored;
    size_t place = stored_first_not_finite(stored, tensor->elements);
    if (place < tensor->elements)
        refuse_element(tensor, place, stored_float(stored, place));
    return stored;
}

bool is_gguf(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}
