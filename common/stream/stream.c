#include "stream/stream.h"

#include "base/mapping.h"
#include "base/messages.h"
#include "base/output.h"
#include "base/version.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the stream's arrays are little endian and are not converted"
#endif

static const char FORMAT[] = "ffkv";

/* What a bin can hold; memory follows what arrives, not what is claimed. */
static const size_t MAX_OBJECT_BYTES = UINT32_MAX;

enum {
    VERSION = 1,
    MAX_HEADER_BYTES = 1 << 23,   /* and of what a record or trailer has besides declared arrays */
    MAX_TEXT_BYTES = 1 << 16,     /* of a string */
    MAX_ARRAY_BYTES = UINT32_MAX / 8, /* an eighth of an object's */
    MAX_DEPTH = 16,               /* of nested maps and arrays */
    MAX_ELEMENTS = 1 << 20,       /* of all maps and arrays of one object */
    MAX_MEMBERS = 256,            /* of a header, record or trailer */
    CRC_BYTES = 4,
    FIRST_BUFFER_BYTES = 1 << 16,
};

struct stream_reader {
    struct input *input;
    json_t *header;
    json_t *trailer;
    bool any_kind;             /* of stream, also one without a sentence */
    bool needs_sentences;      /* even if it is a shard */
    unsigned char *buffer;     /* bytes start .. filled-1 were read, not yet used */
    size_t capacity, start, filled;
    uint64_t offset;           /* of buffer[start] in the stream */
    size_t most_bytes;         /* of an object: as the header says, once it was read */
    uint64_t records;
    uint32_t crc;              /* of all objects before the current one */
    size_t object_bytes;       /* of the current one */
    msgpack_zone zone;         /* what the current object's map is stored in */
};

struct stream_writer {
    struct output *output;
    uint64_t records;
    uint32_t crc;
};

/* Names of the counts that every trailer carries and merging adds up. */
static const char *const passed_counts[] = {"sentences", "tokens", "unknown", "truncated", "skipped"};
enum { PASSED_COUNTS = sizeof passed_counts / sizeof *passed_counts };

/* What trailers pass on as it is: what of the corpus the stream covers, see merging.h. */
static const char *const passed_members[] = {"batches", "covers", "text"};
enum { PASSED_MEMBERS = sizeof passed_members / sizeof *passed_members };

void stream_fail(const struct stream_reader *reader, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char where[32] = "header";
    if (reader->records)
        snprintf(where, sizeof where, "record %llu", (unsigned long long)reader->records);
    die("%s: %s, byte %llu: %s", input_name(reader->input), where,
        (unsigned long long)reader->offset, text);
}

/* ---- one object ---- */

/*
 * How one MessagePack item begins: the bytes of its head, of the payload behind
 * it, and the number of items nested in it.
 */
struct item {
    size_t head, payload, nested;
    bool is_text;
};

static uint64_t big_endian(const unsigned char *bytes, size_t count)
{
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++)
        number = number << 8 | bytes[i];
    return number;
}

/*
 * Reads an item's head, of which available bytes are there. Returns false when
 * more are needed (item->head says how many); valid is false for what a stream
 * does not use.
 */
static bool read_head(const unsigned char *bytes, size_t available, struct item *item, bool *valid)
{
    unsigned char first = bytes[0];
    size_t width = 0; /* of the length behind the first byte */
    *item = (struct item){.head = 1, .is_text = (first >= 0xa0 && first <= 0xbf) || (first >= 0xd9 && first <= 0xdb)};
    *valid = true;
    if (first <= 0x7f || first >= 0xe0 || first == 0xc0 || first == 0xc2 || first == 0xc3)
        return true;                                              /* small number, nil, boolean */
    if (first <= 0x8f)
        item->nested = 2 * (size_t)(first & 0x0f);                /* small map */
    else if (first <= 0x9f)
        item->nested = first & 0x0f;                              /* small array */
    else if (first <= 0xbf)
        item->payload = first & 0x1f;                             /* short string */
    else if (first >= 0xc4 && first <= 0xc6)
        width = (size_t)1 << (first - 0xc4);                      /* binary */
    else if (first == 0xca || first == 0xcb)
        item->payload = first == 0xca ? 4 : 8;                    /* float */
    else if (first >= 0xcc && first <= 0xd3)
        item->payload = (size_t)1 << ((first - 0xcc) & 3);        /* integer */
    else if (first >= 0xd9 && first <= 0xdb)
        width = (size_t)1 << (first - 0xd9);                      /* string */
    else if (first >= 0xdc)
        width = first & 1 ? 4 : 2;                                /* array, map */
    else
        *valid = false;                                           /* extension, unused */
    item->head += width;
    if (!width || available < item->head)
        return available >= item->head;
    size_t length = (size_t)big_endian(bytes + 1, width);
    if (first >= 0xdc)
        item->nested = first >= 0xde ? 2 * length : length;
    else
        item->payload = length;
    return true;
}

/*
 * Walks over the object at bytes. Returns its size when all of it is within
 * available, else 0 with *needed the least number of bytes that it must have.
 * This bounds depth, lengths and counts before msgpack-c sees the object: its
 * unpacker reserves room for as many elements as an array claims to have.
 */
static size_t object_size(const struct stream_reader *reader, const unsigned char *bytes,
                          size_t available, size_t *needed)
{
    size_t left[MAX_DEPTH] = {1}; /* items still to come at each depth */
    size_t depth = 0, position = 0, elements = 0;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0)
                return position;
            depth--;
        }
        left[depth]--;
        *needed = position + 1;
        if (position >= available)
            return 0;
        struct item item;
        bool valid;
        bool complete = read_head(bytes + position, available - position, &item, &valid);
        if (!valid)
            stream_fail(reader, "not an ffkv stream: byte 0x%02x at %llu", bytes[position],
                        (unsigned long long)(reader->offset + position));
        *needed = position + item.head + item.payload;
        elements += item.nested;
        if (item.is_text && item.payload > MAX_TEXT_BYTES)
            stream_fail(reader, "a string claims more than %d bytes", MAX_TEXT_BYTES);
        if (elements > MAX_ELEMENTS || *needed > reader->most_bytes)
            stream_fail(reader, "an object claims more than %d elements or %zu bytes%s", MAX_ELEMENTS,
                        reader->most_bytes, reader->header ? ", which is what the header's arrays can have" : "");
        if (!complete || *needed > available)
            return 0;
        position = *needed;
        if (item.nested) {
            if (++depth == MAX_DEPTH)
                stream_fail(reader, "more than %d levels of maps and arrays", MAX_DEPTH - 1);
            left[depth] = item.nested;
        }
    }
}

/* Reads on until at least needed bytes are in the buffer or the input ends. */
static bool fill(struct stream_reader *reader, size_t needed)
{
    if (reader->start) {
        memmove(reader->buffer, reader->buffer + reader->start, reader->filled - reader->start);
        reader->filled -= reader->start;
        reader->start = 0;
    }
    while (reader->filled < needed) {
        if (reader->filled == reader->capacity) {
            /* Room follows what has arrived, not what was claimed. */
            reader->capacity = reader->capacity ? 2 * reader->capacity : FIRST_BUFFER_BYTES;
            reader->buffer = grow_array(reader->buffer, reader->capacity, 1);
        }
        size_t got = input_read(reader->input, reader->buffer + reader->filled,
                                reader->capacity - reader->filled);
        if (!got)
            return false;
        reader->filled += got;
    }
    return true;
}

static bool is_text(const msgpack_object *object, const char *text, size_t length)
{
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == length
        && !memcmp(object->via.str.ptr, text, length);
}

/* Names are strings, and each stands once: what a member says is not a matter of who reads it. */
static void check_names(const struct stream_reader *reader, const msgpack_object_map *map)
{
    if (map->size > MAX_MEMBERS)
        stream_fail(reader, "a map of %u members; %d are possible", map->size, MAX_MEMBERS);
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR)
            stream_fail(reader, "a map's key is not a string");
        for (uint32_t j = 0; j < i; j++)
            if (is_text(&map->ptr[j].key, key->via.str.ptr, key->via.str.size))
                stream_fail(reader, "a map's key stands twice");
    }
}

/* Moves on to the next object and unpacks it. False at the end of the input. */
static bool next_object(struct stream_reader *reader, msgpack_object *object)
{
    reader->crc = (uint32_t)crc32_z(reader->crc, reader->buffer ? reader->buffer + reader->start : NULL,
                                    reader->object_bytes);
    reader->start += reader->object_bytes;
    reader->offset += reader->object_bytes;
    reader->object_bytes = 0;
    size_t size = 0, needed = 1;
    while (reader->filled - reader->start < needed
           || !(size = object_size(reader, reader->buffer + reader->start,
                                   reader->filled - reader->start, &needed)))
        if (!fill(reader, needed)) {
            if (reader->filled == 0)
                return false;
            stream_fail(reader, "the input ends within an object: the stage before failed, or the file was cut");
        }
    msgpack_zone_clear(&reader->zone);
    msgpack_unpack_return result = msgpack_unpack((const char *)reader->buffer + reader->start, size,
                                                  NULL, &reader->zone, object);
    if (result == MSGPACK_UNPACK_NOMEM_ERROR)
        die("out of memory");
    if (result != MSGPACK_UNPACK_SUCCESS || object->type != MSGPACK_OBJECT_MAP)
        stream_fail(reader, "not an ffkv stream: a map is expected here");
    check_names(reader, &object->via.map);
    reader->object_bytes = size;
    return true;
}

/* The map's member called name, or NULL. */
static const msgpack_object *member(const msgpack_object *map, const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (is_text(&map->via.map.ptr[i].key, name, length))
            return &map->via.map.ptr[i].val;
    return NULL;
}

/* ---- MessagePack as JSON ---- */

/* How many bytes an element has of the array called name, by what the header declares; *is_real: a float. */
static size_t element_size(const struct stream_reader *reader, const char *name, bool *is_real)
{
    static const struct {
        const char *type;
        size_t size;
    } types[] = {{"uint16", 2}, {"uint32", 4}, {"uint64", 8}, {"float32", 4}};
    const json_t *declared = json_object_get(json_object_get(reader->header, "arrays"), name);
    const char *type = !strcmp(name, "crc") ? "uint32" : json_string_value(json_object_get(declared, "type"));
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].type)) {
            *is_real = type[0] == 'f';
            return types[i].size;
        }
    return 0;
}

/* JSON has no infinity. */
static void print_real(FILE *text, json_t *real, double value)
{
    char number[64];
    if (isfinite(value)) {
        json_real_set(real, value);
        size_t length = json_dumpb(real, number, sizeof number, JSON_LINE);
        fwrite(number, 1, length, text);
    } else {
        fprintf(text, "\"%s\"", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    }
}

/* Not by way of jansson's integers, which end at 2^63. */
static void print_array(FILE *text, const struct stream_reader *reader, const char *name,
                        const msgpack_object_bin *bytes)
{
    bool is_real = false;
    size_t size = element_size(reader, name, &is_real);
    if (!size || bytes->size % size)
        stream_fail(reader, "array '%s' has no declared type, or not a whole number of elements", name);
    json_t *real = json_make("f", 0.0);
    fputc('[', text);
    for (uint32_t at = 0; at < bytes->size; at += (uint32_t)size) {
        uint64_t number = 0;
        float value = 0;
        if (at)
            fputc(',', text);
        if (is_real) {
            memcpy(&value, bytes->ptr + at, sizeof value);
            print_real(text, real, (double)value);
        } else {
            memcpy(&number, bytes->ptr + at, size);
            fprintf(text, "%" PRIu64, number);
        }
    }
    fputc(']', text);
    json_decref(real);
}

/* Text that is printed to memory: what was printed is *text when closed, which the caller frees. */
static FILE *text_begin(char **text, size_t *size)
{
    FILE *stream = open_memstream(text, size);
    if (!stream)
        die("out of memory");
    return stream;
}

static void text_end(FILE *stream)
{
    bool failed = ferror(stream);
    if (fclose(stream) != 0 || failed)
        die("out of memory");
}

/* NULL where a number is too large for jansson. */
static json_t *array_as_json(const struct stream_reader *reader, const char *name,
                             const msgpack_object_bin *bytes)
{
    char *text;
    size_t size;
    FILE *stream = text_begin(&text, &size);
    print_array(stream, reader, name, bytes);
    text_end(stream);
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static json_t *as_json(const struct stream_reader *reader, const char *name, const msgpack_object *object);

/* A key as a string, which must not be one of map. */
static json_t *new_key(const struct stream_reader *reader, const char *name, const json_t *map,
                       const msgpack_object *key)
{
    json_t *string = key->type == MSGPACK_OBJECT_STR ? as_json(reader, name, key) : NULL;
    const char *text = json_string_value(string);
    if (!text)
        stream_fail(reader, "a map's key is not a string");
    if (strlen(text) != key->via.str.size || json_object_get(map, text))
        stream_fail(reader, "a map's key stands twice or has a NUL byte");
    return string;
}

static json_t *as_json(const struct stream_reader *reader, const char *name, const msgpack_object *object)
{
    json_t *json = NULL;
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        json = json_null();
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        json = json_boolean(object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        if (object->via.u64 <= INT64_MAX)
            json = json_integer((json_int_t)object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        json = json_integer(object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        json = json_real(object->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        json = json_stringn(object->via.str.ptr, object->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        json = array_as_json(reader, name, &object->via.bin);
        break;
    case MSGPACK_OBJECT_ARRAY:
        json = json_array();
        for (uint32_t i = 0; i < object->via.array.size; i++)
            if (json_array_append_new(json, as_json(reader, name, &object->via.array.ptr[i])) != 0)
                die("out of memory");
        break;
    case MSGPACK_OBJECT_MAP:
        json = json_object();
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            const msgpack_object_kv *entry = &object->via.map.ptr[i];
            json_t *key = new_key(reader, name, json, &entry->key);
            const char *text = json_string_value(key);
            if (json_object_set_new(json, text, as_json(reader, text, &entry->val)) != 0)
                die("out of memory");
            json_decref(key);
        }
        break;
    case MSGPACK_OBJECT_EXT:
        break;
    }
    if (!json)
        stream_fail(reader, "'%s' holds what a stream cannot hold: text that is not UTF-8, or a number out of range",
                    name);
    return json;
}

static void print_object(FILE *text, const struct stream_reader *reader, const char *name,
                         const msgpack_object *object);

static void print_json(FILE *text, json_t *json)
{
    char *line = json_line(json);
    fputs(line, text);
    free(line);
    json_decref(json);
}

static void print_map(FILE *text, const struct stream_reader *reader, const char *name,
                      const msgpack_object_map *map)
{
    json_t *keys = json_object();
    for (uint32_t i = 0; i < map->size; i++) {
        json_t *key = new_key(reader, name, keys, &map->ptr[i].key);
        json_put(keys, json_string_value(key), json_null());
        fputc(i ? ',' : '{', text);
        print_json(text, json_incref(key));
        fputc(':', text);
        print_object(text, reader, json_string_value(key), &map->ptr[i].val);
        json_decref(key);
    }
    fputs(map->size ? "}" : "{}", text);
    json_decref(keys);
}

static void print_object(FILE *text, const struct stream_reader *reader, const char *name,
                         const msgpack_object *object)
{
    switch (object->type) {
    case MSGPACK_OBJECT_MAP:
        print_map(text, reader, name, &object->via.map);
        break;
    case MSGPACK_OBJECT_ARRAY:
        fputc('[', text);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            if (i)
                fputc(',', text);
            print_object(text, reader, name, &object->via.array.ptr[i]);
        }
        fputc(']', text);
        break;
    case MSGPACK_OBJECT_BIN:
        print_array(text, reader, name, &object->via.bin);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(text, "%" PRIu64, object->via.u64);
        break;
    default:
        print_json(text, as_json(reader, name, object));
    }
}

/* Packing goes to memory: all that can fail is its growth. */
static void packed(int result)
{
    if (result != 0)
        die("out of memory");
}

static msgpack_packer packer_to(msgpack_sbuffer *buffer)
{
    return (msgpack_packer){buffer, msgpack_sbuffer_write};
}

static void pack_text(msgpack_sbuffer *buffer, const char *text, size_t length)
{
    if (length > MAX_TEXT_BYTES)
        die("a text of %zu bytes does not fit in a stream, where one has at most %d: '%.40s...'", length,
            MAX_TEXT_BYTES, text);
    msgpack_packer packer = packer_to(buffer);
    packed(msgpack_pack_str(&packer, length));
    packed(msgpack_pack_str_body(&packer, text, length));
}

static void pack_json(msgpack_sbuffer *buffer, const json_t *json);

/* Members in the order in which they were set, so that equal headers are equal bytes. */
static void pack_members(msgpack_sbuffer *buffer, const json_t *json)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, name, value) {
        pack_text(buffer, name, strlen(name));
        pack_json(buffer, value);
    }
}

static void pack_json(msgpack_sbuffer *buffer, const json_t *json)
{
    msgpack_packer packer = packer_to(buffer);
    json_t *value;
    size_t index;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        pack_map(buffer, json_object_size(json));
        pack_members(buffer, json);
        break;
    case JSON_ARRAY:
        packed(msgpack_pack_array(&packer, json_array_size(json)));
        json_array_foreach(json, index, value)
            pack_json(buffer, value);
        break;
    case JSON_STRING:
        pack_text(buffer, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        packed(msgpack_pack_int64(&packer, json_integer_value(json)));
        break;
    case JSON_REAL:
        packed(msgpack_pack_double(&packer, json_real_value(json)));
        break;
    case JSON_TRUE:
        packed(msgpack_pack_true(&packer));
        break;
    case JSON_FALSE:
        packed(msgpack_pack_false(&packer));
        break;
    case JSON_NULL:
        packed(msgpack_pack_nil(&packer));
        break;
    }
}

/* ---- what the header says of the size of records ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Up to MAX_OBJECT_BYTES, which stands for all that is more. */
static size_t bounded_product(size_t a, size_t b)
{
    return b && a > MAX_OBJECT_BYTES / b ? MAX_OBJECT_BYTES : a * b;
}

/* What the header says under section and name, or, where it does not, otherwise. */
static size_t said(const json_t *header, const char *section, const char *name, size_t otherwise)
{
    const json_t *number = json_object_get(section ? json_object_get(header, section) : header, name);
    json_int_t value = json_integer_value(number);
    return !json_is_integer(number) || value < 0 || (uint64_t)value > MAX_OBJECT_BYTES ? otherwise : (size_t)value;
}

/* How many there can be in a record of what a dimension counts; ffkv-stream(5), Limits. */
static size_t most_counted(const json_t *header, const json_t *dimension)
{
    enum { MAX_BINS = 1 << 18, MAX_SENTENCE = 1 << 16 };
    const size_t tokens = larger(MAX_SENTENCE, said(header, "batch", "positions", 0));
    const size_t vocabulary = said(header, "model", "vocabulary", said(header, "tokenizer", "vocabulary", 0));
    const size_t triggers = said(header, NULL, "top", tokens); /* else prefixes of a batch's rows */
    const char *name = json_string_value(dimension);
    if (json_is_integer(dimension))
        return json_integer_value(dimension) < 0 ? 0 : (size_t)json_integer_value(dimension);
    if (name && (!strcmp(name, "sentences") || !strcmp(name, "tokens") || !strcmp(name, "rows") || !strcmp(name, "changes")))
        return tokens;
    if (name && !strcmp(name, "triggers"))
        return triggers;
    if (name && !strcmp(name, "prefix tokens"))
        return bounded_product(triggers, MAX_SENTENCE);
    return larger(MAX_BINS, larger(vocabulary, larger(tokens, said(header, "model", "d_ff", 0))));
}

/* The most bytes that a record can have, each of the arrays that the header declares being once in it. */
static size_t most_record_bytes(const json_t *header)
{
    enum { WIDEST = 8 };
    size_t most = MAX_HEADER_BYTES, index;
    const char *name;
    json_t *array, *dimension;
    json_object_foreach(json_object_get(header, "arrays"), name, array) {
        size_t bytes = WIDEST;
        json_array_foreach(json_object_get(array, "shape"), index, dimension)
            bytes = bounded_product(bytes, most_counted(header, dimension));
        bytes = bytes < MAX_ARRAY_BYTES ? bytes : MAX_ARRAY_BYTES;
        most = bytes > MAX_OBJECT_BYTES - most ? MAX_OBJECT_BYTES : most + bytes;
    }
    return most;
}

/* ---- reader ---- */

static void expect_stream(const struct input *input, const char *kind)
{
    char *what = format_string("a stream%s%s", kind ? " of kind " : "", kind ? kind : "");
    input_expect(input, what);
    free(what);
}

struct stream_reader *stream_open(const char *path, const char *kind)
{
    struct stream_reader *reader = new_array(1, sizeof *reader);
    msgpack_object object;
    reader->most_bytes = MAX_HEADER_BYTES;
    reader->input = input_open(path);
    expect_stream(reader->input, kind);
    if (!msgpack_zone_init(&reader->zone, MSGPACK_ZONE_CHUNK_SIZE))
        die("out of memory");
    if (!next_object(reader, &object))
        die("%s: empty: the stage before failed, or nothing was written", input_name(reader->input));
    const msgpack_object *format = member(&object, "format");
    if (!format || !is_text(format, FORMAT, strlen(FORMAT)))
        stream_fail(reader, "not an ffkv stream: its header says no format 'ffkv'");
    json_t *header = as_json(reader, "header", &object);
    const char *found = json_string_value(json_object_get(header, "kind"));
    json_int_t version = json_integer_value(json_object_get(header, "version"));
    if (version < 1 || version > VERSION)
        stream_fail(reader, "version %lld of the stream; this program reads version %d: use a newer one",
                    (long long)version, VERSION);
    if (!found || !json_is_array(json_object_get(header, "history"))
        || !json_is_object(json_object_get(header, "arrays")))
        stream_fail(reader, "the header lacks kind, history or arrays");
    if (kind && strcmp(found, kind))
        stream_fail(reader, "a stream of kind '%s', where '%s' is needed", found, kind);
    reader->header = header;
    reader->any_kind = !kind;
    reader->most_bytes = most_record_bytes(header);
    return reader;
}

void stream_need_sentences(struct stream_reader *reader)
{
    reader->needs_sentences = true;
}

const json_t *stream_header(const struct stream_reader *reader)
{
    return reader->header;
}

struct input *stream_input(const struct stream_reader *reader)
{
    return reader->input;
}

/* Streams that are not of a corpus have none. */
static void check_sentences(const struct stream_reader *reader)
{
    bool is_shard = json_integer_value(json_object_get(reader->trailer, "batches")) > 0;
    if (!reader->any_kind && json_object_get(reader->header, "corpus")
        && (reader->needs_sentences || !is_shard))
        counts_need_sentences(reader->trailer, input_name(reader->input));
}

static void check_trailer(struct stream_reader *reader, const msgpack_object *object)
{
    const unsigned char *bytes = reader->buffer + reader->start;
    const msgpack_object *sum = member(object, "crc");
    uint32_t found, crc = (uint32_t)crc32_z(reader->crc, bytes, reader->object_bytes - CRC_BYTES);
    if (!sum || sum->type != MSGPACK_OBJECT_BIN || sum->via.bin.size != CRC_BYTES
        || sum->via.bin.ptr != (const char *)bytes + reader->object_bytes - CRC_BYTES)
        stream_fail(reader, "the trailer does not end with a CRC-32");
    memcpy(&found, sum->via.bin.ptr, CRC_BYTES);
    if (found != crc)
        stream_fail(reader, "the checksum is not that of the stream: it was damaged on its way, or a stage of one's "
                            "own changed it and did not compute the checksum anew");
    reader->trailer = as_json(reader, "trailer", object);
    if (!json_is_true(json_object_get(reader->trailer, "end")))
        stream_fail(reader, "the trailer does not say that the stream is complete");
    const json_t *records = json_object_get(reader->trailer, "records");
    if (!json_is_integer(records) || json_integer_value(records) != (json_int_t)reader->records)
        stream_fail(reader, "the trailer counts another number of records than the stream has (%llu)",
                    (unsigned long long)reader->records);
    for (size_t i = 0; i < PASSED_COUNTS; i++) {
        const json_t *count = json_object_get(reader->trailer, passed_counts[i]);
        if (count && (!json_is_integer(count) || (uint64_t)json_integer_value(count) > MAX_COUNT))
            stream_fail(reader, "the trailer's %s is not a count from 0 to 2^48", passed_counts[i]);
    }
    if (next_object(reader, &(msgpack_object){0}))
        stream_fail(reader, "something follows the trailer");
    check_sentences(reader);
}

bool stream_next(struct stream_reader *reader, struct record *record)
{
    if (reader->trailer)
        return false;
    record->reader = reader;
    if (!next_object(reader, &record->object))
        stream_fail(reader, "the input ends without a trailer: the stage before failed, or the file was cut");
    if (member(&record->object, "end")) {
        check_trailer(reader, &record->object);
        return false;
    }
    reader->records++;
    return true;
}

const json_t *stream_trailer(const struct stream_reader *reader)
{
    return reader->trailer;
}

void stream_close(struct stream_reader *reader)
{
    input_close(reader->input);
    json_decref(reader->header);
    json_decref(reader->trailer);
    msgpack_zone_destroy(&reader->zone);
    free(reader->buffer);
    free(reader);
}

static const json_t *header_member(const struct stream_reader *reader, const char *section,
                                   const char *name)
{
    const json_t *from = section ? json_object_get(reader->header, section) : reader->header;
    return json_object_get(from, name);
}

uint64_t header_number(const struct stream_reader *reader, const char *section, const char *name,
                       uint64_t most)
{
    const json_t *number = header_member(reader, section, name);
    if (!json_is_integer(number) || json_integer_value(number) < 0
        || (uint64_t)json_integer_value(number) > most)
        stream_fail(reader, "the header's %s%s%s is not a number from 0 to %llu", section ? section : "",
                    section ? "." : "", name, (unsigned long long)most);
    return (uint64_t)json_integer_value(number);
}

const char *header_text(const struct stream_reader *reader, const char *section, const char *name)
{
    const char *text = json_string_value(header_member(reader, section, name));
    if (!text)
        stream_fail(reader, "the header's %s%s%s is not a text", section ? section : "",
                    section ? "." : "", name);
    return text;
}

int header_choice(const struct stream_reader *reader, const char *name, const char *const *words)
{
    const char *word = header_text(reader, NULL, name);
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], word))
            return i;
    stream_fail(reader, "the header's %s is '%s', which is not known", name, word);
}

size_t *header_list(const struct stream_reader *reader, const char *name, size_t bound, size_t *count)
{
    const json_t *list = json_object_get(reader->header, name);
    bool all = json_is_null(list);
    if (!all && !json_is_array(list))
        stream_fail(reader, "the header's %s is not a list", name);
    *count = all ? bound : json_array_size(list);
    size_t *numbers = new_array(*count, sizeof *numbers);
    for (size_t i = 0; i < *count; i++) {
        const json_t *number = json_array_get(list, i);
        json_int_t value = all ? (json_int_t)i : json_integer_value(number);
        if ((!all && !json_is_integer(number)) || value < 0 || (size_t)value >= bound
            || (i && (size_t)value <= numbers[i - 1]))
            stream_fail(reader, "the header's %s are not rising numbers below %zu", name, bound);
        numbers[i] = (size_t)value;
    }
    return numbers;
}

/* ---- records ---- */

static const msgpack_object *record_member(const struct record *record, const char *name)
{
    const msgpack_object *object = member(&record->object, name);
    if (!object)
        stream_fail(record->reader, "the record has no '%s'", name);
    return object;
}

bool record_has(const struct record *record, const char *name)
{
    return member(&record->object, name) != NULL;
}

static _Noreturn void not_a_number(const struct stream_reader *reader, const char *name, uint64_t most)
{
    stream_fail(reader, "'%s' is not a number from 0 to %llu", name, (unsigned long long)most);
}

void number_check(const struct stream_reader *reader, const char *name, uint64_t number, uint64_t most)
{
    if (number > most)
        not_a_number(reader, name, most);
}

uint64_t record_number(const struct record *record, const char *name, uint64_t most)
{
    const msgpack_object *object = record_member(record, name);
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        not_a_number(record->reader, name, most);
    number_check(record->reader, name, object->via.u64, most);
    return object->via.u64;
}

static const msgpack_object_bin *record_bytes(const struct record *record, const char *name, size_t size)
{
    const msgpack_object *object = record_member(record, name);
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size % size)
        stream_fail(record->reader, "'%s' is not an array of %zu-byte elements", name, size);
    return &object->via.bin;
}

size_t record_count(const struct record *record, const char *name, size_t size)
{
    return record_bytes(record, name, size)->size / size;
}

void record_copy(const struct record *record, const char *name, void *elements, size_t count, size_t size)
{
    const msgpack_object_bin *bytes = record_bytes(record, name, size);
    if (bytes->size / size != count)
        stream_fail(record->reader, "'%s' has %zu elements, %zu are expected", name, bytes->size / size, count);
    if (count)
        memcpy(elements, bytes->ptr, bytes->size);
}

void *record_array(const struct record *record, const char *name, size_t size, size_t *count)
{
    *count = record_count(record, name, size);
    void *elements = new_array(*count, size);
    record_copy(record, name, elements, *count, size);
    return elements;
}

void *record_array_of(const struct record *record, const char *name, size_t count, size_t size)
{
    size_t found;
    void *elements = record_array(record, name, size, &found);
    if (found != count)
        stream_fail(record->reader, "'%s' has %zu elements, %zu are expected", name, found, count);
    return elements;
}

char *record_text(const struct record *record)
{
    char *text;
    size_t size;
    FILE *stream = text_begin(&text, &size);
    print_object(stream, record->reader, "record", &record->object);
    text_end(stream);
    return text;
}

/* ---- writer ---- */

static void write_packed(struct stream_writer *writer, msgpack_sbuffer *buffer)
{
    if (buffer->size > 0) {
        output_write(writer->output, buffer->data, buffer->size);
        writer->crc = (uint32_t)crc32_z(writer->crc, (const unsigned char *)buffer->data, buffer->size);
    }
    msgpack_sbuffer_clear(buffer);
}

struct stream_writer *stream_create(const char *path, bool gzip, const json_t *header)
{
    struct stream_writer *writer = new_array(1, sizeof *writer);
    writer->output = output_open(path, gzip ? OUTPUT_GZIP : OUTPUT_BINARY);
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    pack_json(&buffer, header);
    write_packed(writer, &buffer);
    msgpack_sbuffer_destroy(&buffer);
    return writer;
}

void stream_append(struct stream_writer *writer, msgpack_sbuffer *buffer, uint64_t count)
{
    writer->records += count;
    write_packed(writer, buffer);
}

void stream_finish(struct stream_writer *writer, const json_t *counts)
{
    mappings_check(); /* before the next stage can have a trailer */
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    json_t *trailer = json_make("{s:b, s:I}", "end", 1, "records", (json_int_t)writer->records);
    counts_add(trailer, counts);
    for (size_t i = 0; i < PASSED_MEMBERS; i++) {
        json_t *member = json_object_get(counts, passed_members[i]);
        if (member)
            json_put(trailer, passed_members[i], json_incref(member));
    }
    pack_map(&buffer, json_object_size(trailer) + 1);
    pack_members(&buffer, trailer);
    json_decref(trailer);
    /* The last member, whose value is the stream's last bytes, covers all before them. */
    pack_array(&buffer, "crc", &(uint32_t){0}, 1, CRC_BYTES);
    buffer.size -= CRC_BYTES;
    write_packed(writer, &buffer);
    output_write(writer->output, &writer->crc, CRC_BYTES);
    msgpack_sbuffer_destroy(&buffer);
    output_finish(writer->output);
    free(writer);
}

void pack_map(msgpack_sbuffer *buffer, size_t members)
{
    msgpack_packer packer = packer_to(buffer);
    packed(msgpack_pack_map(&packer, members));
}

void pack_number(msgpack_sbuffer *buffer, const char *name, uint64_t number)
{
    msgpack_packer packer = packer_to(buffer);
    pack_text(buffer, name, strlen(name));
    packed(msgpack_pack_uint64(&packer, number));
}

void pack_array(msgpack_sbuffer *buffer, const char *name, const void *elements, size_t count, size_t size)
{
    msgpack_packer packer = packer_to(buffer);
    pack_text(buffer, name, strlen(name));
    if (count > MAX_ARRAY_BYTES / size)
        die("an array '%s' of %zu elements does not fit in a record: use smaller batches", name, count);
    packed(msgpack_pack_bin(&packer, count * size));
    if (count)
        packed(msgpack_pack_bin_body(&packer, elements, count * size));
}

/* ---- headers and trailers ---- */

json_t *header_new(const char *kind, const json_t *before)
{
    json_t *header = json_make("{s:s, s:i, s:s}", "format", FORMAT, "version", VERSION, "kind", kind);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)before, name, value)
        if (!json_object_get(header, name))
            json_put(header, name, json_deep_copy(value));
    if (!before) {
        json_put(header, "arrays", json_object());
        json_put(header, "history", json_array());
    }
    return header;
}

void header_declare(json_t *header, const char *array, const char *type, json_t *shape)
{
    json_put(json_object_get(header, "arrays"), array, json_make("{s:s, s:o}", "type", type, "shape", shape));
}

void header_add_stage(json_t *header, const char *tool, json_t *options)
{
    json_t *stage = json_make("{s:s, s:s, s:o}", "tool", tool, "version", FFKV_VERSION, "options", options);
    if (json_array_append_new(json_object_get(header, "history"), stage) != 0)
        die("out of memory");
}

void count_add(uint64_t *sum, uint64_t more)
{
    *sum += more; /* both are at most MAX_COUNT */
    if (*sum > MAX_COUNT)
        die("counts of the inputs add up to more than 2^48");
}

void counts_need_sentences(const json_t *counts, const char *name)
{
    const json_t *sentences = json_object_get(counts, "sentences");
    if (sentences && json_integer_value(sentences) == 0)
        die("%s: there is no sentence in it", name);
}

void counts_add(json_t *sums, const json_t *trailer)
{
    for (size_t i = 0; i < PASSED_COUNTS; i++) {
        uint64_t sum = (uint64_t)json_integer_value(json_object_get(sums, passed_counts[i]));
        count_add(&sum, (uint64_t)json_integer_value(json_object_get(trailer, passed_counts[i])));
        json_put(sums, passed_counts[i], json_integer((json_int_t)sum));
    }
}
