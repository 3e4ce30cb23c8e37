#include "stream/objects.h"

#include "base/messages.h"
#include "stream/header.h"
#include "stream/stream_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { FIRST_BUFFER_BYTES = 1 << 16 };

struct objects {
    struct input *input;
    const json_t *header;      /* of the stream; NULL until it was read */
    unsigned char *buffer;     /* bytes start .. filled-1 were read, not yet used */
    size_t capacity, start, filled;
    uint64_t offset;           /* of buffer[start] in the stream */
    size_t most_bytes;         /* of an object */
    uint64_t records;
    uint32_t crc;              /* of all objects before the current one */
    size_t map_bytes;          /* of the current one */
    msgpack_zone zone;         /* what the current one is stored in */
};

struct objects *objects_open(const char *path)
{
    struct objects *objects = new_array(1, sizeof *objects);
    objects->most_bytes = MAX_HEADER_BYTES;
    objects->input = input_open(path);
    if (!msgpack_zone_init(&objects->zone, MSGPACK_ZONE_CHUNK_SIZE))
        die("out of memory");
    return objects;
}

void objects_close(struct objects *objects)
{
    input_close(objects->input);
    msgpack_zone_destroy(&objects->zone);
    free(objects->buffer);
    free(objects);
}

struct input *objects_input(const struct objects *objects)
{
    return objects->input;
}

void objects_set_header(struct objects *objects, const json_t *header)
{
    objects->header = header;
    objects->most_bytes = header_record_bytes(header);
}

const json_t *objects_header(const struct objects *objects)
{
    return objects->header;
}

void objects_count_record(struct objects *objects)
{
    objects->records++;
}

uint64_t objects_records(const struct objects *objects)
{
    return objects->records;
}

void objects_fail_with(const struct objects *objects, const char *format, va_list arguments)
{
    char text[1024], where[32] = "header";
    vsnprintf(text, sizeof text, format, arguments);
    if (objects->records)
        snprintf(where, sizeof where, "record %llu", (unsigned long long)objects->records);
    die("%s: %s, byte %llu: %s", input_name(objects->input), where, (unsigned long long)objects->offset,
        text);
}

void objects_fail(const struct objects *objects, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    objects_fail_with(objects, format, arguments);
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
    *item = (struct item){.head = 1};
    item->is_text = (first >= 0xa0 && first <= 0xbf) || (first >= 0xd9 && first <= 0xdb);
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
static size_t object_size(const struct objects *objects, const unsigned char *bytes,
                          size_t available, size_t *needed)
{
    size_t left[MAX_NESTING + 1] = {1}; /* items still to come at each depth */
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
            objects_fail(objects, "not an ffkv stream: byte 0x%02x at %llu", bytes[position],
                         (unsigned long long)(objects->offset + position));
        *needed = position + item.head + item.payload;
        elements += item.nested;
        if (item.is_text && item.payload > MAX_STRING_BYTES)
            objects_fail(objects, "a string claims more than %d bytes", MAX_STRING_BYTES);
        if (elements > MAX_ITEMS || *needed > objects->most_bytes)
            objects_fail(objects, "an object claims more than %d elements or %zu bytes%s", MAX_ITEMS,
                         objects->most_bytes,
                         objects->header ? ", which is what the header's arrays can have" : "");
        if (!complete || *needed > available)
            return 0;
        position = *needed;
        if (item.nested) {
            if (++depth > MAX_NESTING)
                objects_fail(objects, "more than %d levels of maps and arrays", MAX_NESTING);
            left[depth] = item.nested;
        }
    }
}

/* Reads on until at least needed bytes are in the buffer or the input ends. */
static bool fill(struct objects *objects, size_t needed)
{
    if (objects->start) {
        memmove(objects->buffer, objects->buffer + objects->start, objects->filled - objects->start);
        objects->filled -= objects->start;
        objects->start = 0;
    }
    while (objects->filled < needed) {
        if (objects->filled == objects->capacity) {
            /* Room follows what has arrived, not what was claimed. */
            objects->capacity = objects->capacity ? 2 * objects->capacity : FIRST_BUFFER_BYTES;
            objects->buffer = grow_array(objects->buffer, objects->capacity, 1);
        }
        size_t got = input_read(objects->input, objects->buffer + objects->filled,
                                objects->capacity - objects->filled);
        if (!got)
            return false;
        objects->filled += got;
    }
    return true;
}

static bool is_string(const msgpack_object *object, const char *text, size_t length)
{
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == length
        && !memcmp(object->via.str.ptr, text, length);
}

/* Names are strings, and each occurs once: what a member says is not a matter of who reads it. */
static void check_names(const struct objects *objects, const msgpack_object_map *map)
{
    if (map->size > MAX_MEMBERS)
        objects_fail(objects, "a map of %u members; %d are possible", map->size, MAX_MEMBERS);
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR)
            objects_fail(objects, "a map's key is not a string");
        for (uint32_t j = 0; j < i; j++)
            if (is_string(&map->ptr[j].key, key->via.str.ptr, key->via.str.size))
                objects_fail(objects, "a map has a key twice");
    }
}

bool objects_next(struct objects *objects, msgpack_object *map)
{
    objects->crc = (uint32_t)crc32_z(objects->crc, objects->buffer ? objects->buffer + objects->start : NULL,
                                     objects->map_bytes);
    objects->start += objects->map_bytes;
    objects->offset += objects->map_bytes;
    objects->map_bytes = 0;
    size_t size = 0, needed = 1;
    while (objects->filled - objects->start < needed
           || !(size = object_size(objects, objects->buffer + objects->start,
                                   objects->filled - objects->start, &needed)))
        if (!fill(objects, needed)) {
            if (objects->filled == 0)
                return false;
            objects_fail(objects, "the input ends within an object: the stage before failed, or the file was "
                                  "cut");
        }
    msgpack_zone_clear(&objects->zone);
    msgpack_unpack_return result = msgpack_unpack((const char *)objects->buffer + objects->start, size,
                                                  NULL, &objects->zone, map);
    if (result == MSGPACK_UNPACK_NOMEM_ERROR)
        die("out of memory");
    if (result != MSGPACK_UNPACK_SUCCESS || map->type != MSGPACK_OBJECT_MAP)
        objects_fail(objects, "not an ffkv stream: a map is expected here");
    check_names(objects, &map->via.map);
    objects->map_bytes = size;
    return true;
}

void objects_check_crc(const struct objects *objects, const msgpack_object *crc)
{
    const unsigned char *bytes = objects->buffer + objects->start;
    const size_t before = objects->map_bytes - CRC_BYTES;
    uint32_t found, right = (uint32_t)crc32_z(objects->crc, bytes, before);
    if (!crc || crc->type != MSGPACK_OBJECT_BIN || crc->via.bin.size != CRC_BYTES
        || crc->via.bin.ptr != (const char *)bytes + before)
        objects_fail(objects, "the trailer does not end with a CRC-32");
    memcpy(&found, crc->via.bin.ptr, CRC_BYTES);
    if (found != right)
        objects_fail(objects,
                     "the checksum is not that of the stream: it was damaged on its way, or a stage of one's "
                     "own changed it and did not compute the checksum anew");
}

char *object_member_name(const msgpack_object_kv *member)
{
    return format_string("%.*s", (int)member->key.via.str.size, member->key.via.str.ptr);
}

const msgpack_object *object_member(const msgpack_object *map, const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (is_string(&map->via.map.ptr[i].key, name, length))
            return &map->via.map.ptr[i].val;
    return NULL;
}

bool object_is_text(const msgpack_object *object, const char *text)
{
    return is_string(object, text, strlen(text));
}
