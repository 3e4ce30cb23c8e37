#include "stream/object_json.h"

#include "base/json.h"
#include "base/memory_text.h"
#include "base/messages.h"
#include "stream/elements.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The type that the header declares for the array called name. */
static enum element element_of(const struct objects *objects, const char *name)
{
    const json_t *declared = json_object_get(json_object_get(objects_header(objects), "arrays"), name);
    const char *type = json_string_value(json_object_get(declared, "type"));
    return !strcmp(name, "crc") ? ELEMENT_UINT32 : element_called(type);
}

/* JSON has no infinity. */
static void print_real(FILE *text, json_t *real, double value, size_t flags)
{
    char number[64];
    if (isfinite(value)) {
        json_real_set(real, value);
        size_t length = json_dumpb(real, number, sizeof number, flags);
        if (!length)
            die("out of memory");
        fwrite(number, 1, length, text);
    } else {
        fprintf(text, "\"%s\"", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    }
}

/* The type of the elements of a binary value, of which it must have a whole number. */
static enum element check_array(const struct objects *objects, const char *name,
                                const msgpack_object_bin *bytes)
{
    enum element element = element_of(objects, name);
    if (element == ELEMENTS || bytes->size % element_size(element))
        objects_fail(objects, "array '%s' has no declared type, or not a whole number of elements", name);
    return element;
}

/* Not by way of jansson's integers, which end at 2^63. */
static void print_array(FILE *text, const struct objects *objects, const char *name,
                        const msgpack_object_bin *bytes)
{
    enum element element = check_array(objects, name, bytes);
    size_t size = element_size(element), flags = element == ELEMENT_FLOAT64 ? JSON_LINE_DOUBLE : JSON_LINE;
    json_t *real = json_make("f", 0.0);
    fputc('[', text);
    for (uint32_t at = 0; at < bytes->size; at += (uint32_t)size) {
        uint64_t number = 0;
        if (at)
            fputc(',', text);
        if (element_is_real(element)) {
            print_real(text, real, element_real(element, bytes->ptr + at), flags);
        } else {
            memcpy(&number, bytes->ptr + at, size);
            fprintf(text, "%" PRIu64, number);
        }
    }
    fputc(']', text);
    json_decref(real);
}

/* NULL where a number is too large for jansson. */
static json_t *array_as_json(const struct objects *objects, const char *name,
                             const msgpack_object_bin *bytes)
{
    char *text;
    size_t size;
    FILE *stream = memory_text_open(&text, &size);
    print_array(stream, objects, name, bytes);
    memory_text_close(stream);
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

/* A key as a string, which must not be one of map. */
static json_t *new_key(const struct objects *objects, const char *name, const json_t *map,
                       const msgpack_object *key)
{
    json_t *string = key->type == MSGPACK_OBJECT_STR ? object_json(objects, name, key) : NULL;
    const char *text = json_string_value(string);
    if (!text)
        objects_fail(objects, "a map's key is not a string");
    if (strlen(text) != key->via.str.size || json_object_get(map, text))
        objects_fail(objects, "a map has a key twice or has a NUL byte");
    return string;
}

json_t *object_json(const struct objects *objects, const char *name, const msgpack_object *object)
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
        json = array_as_json(objects, name, &object->via.bin);
        break;
    case MSGPACK_OBJECT_ARRAY:
        json = json_array();
        for (uint32_t i = 0; i < object->via.array.size; i++)
            if (json_array_append_new(json, object_json(objects, name, &object->via.array.ptr[i])) != 0)
                die("out of memory");
        break;
    case MSGPACK_OBJECT_MAP:
        json = json_object();
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            const msgpack_object_kv *entry = &object->via.map.ptr[i];
            json_t *key = new_key(objects, name, json, &entry->key);
            const char *text = json_string_value(key);
            if (json_object_set_new(json, text, object_json(objects, text, &entry->val)) != 0)
                die("out of memory");
            json_decref(key);
        }
        break;
    case MSGPACK_OBJECT_EXT:
        break;
    }
    if (!json)
        objects_fail(objects, "'%s' holds what a stream cannot hold: text that is not UTF-8, or a number "
                              "out of range", name);
    return json;
}

static void print_object(FILE *text, const struct objects *objects, const char *name,
                         const msgpack_object *object);

static void print_json(FILE *text, json_t *json)
{
    char *line = json_line(json);
    fputs(line, text);
    free(line);
    json_decref(json);
}

static void print_map(FILE *text, const struct objects *objects, const char *name,
                      const msgpack_object_map *map)
{
    json_t *keys = json_object();
    for (uint32_t i = 0; i < map->size; i++) {
        json_t *key = new_key(objects, name, keys, &map->ptr[i].key);
        json_put(keys, json_string_value(key), json_null());
        fputc(i ? ',' : '{', text);
        print_json(text, json_incref(key));
        fputc(':', text);
        print_object(text, objects, json_string_value(key), &map->ptr[i].val);
        json_decref(key);
    }
    fputs(map->size ? "}" : "{}", text);
    json_decref(keys);
}

static void print_object(FILE *text, const struct objects *objects, const char *name,
                         const msgpack_object *object)
{
    switch (object->type) {
    case MSGPACK_OBJECT_MAP:
        print_map(text, objects, name, &object->via.map);
        break;
    case MSGPACK_OBJECT_ARRAY:
        fputc('[', text);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            if (i)
                fputc(',', text);
            print_object(text, objects, name, &object->via.array.ptr[i]);
        }
        fputc(']', text);
        break;
    case MSGPACK_OBJECT_BIN:
        print_array(text, objects, name, &object->via.bin);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(text, "%" PRIu64, object->via.u64);
        break;
    default:
        print_json(text, object_json(objects, name, object));
    }
}

char *object_text(const struct objects *objects, const char *name, const msgpack_object *object)
{
    char *text;
    size_t size;
    FILE *stream = memory_text_open(&text, &size);
    print_object(stream, objects, name, object);
    memory_text_close(stream);
    return text;
}

void object_check(const struct objects *objects, const char *name, const msgpack_object *object)
{
    switch (object->type) {
    case MSGPACK_OBJECT_MAP: {
        json_t *keys = json_object();
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            const msgpack_object_kv *member = &object->via.map.ptr[i];
            json_t *key = new_key(objects, name, keys, &member->key);
            object_check(objects, json_string_value(key), &member->val);
            json_put(keys, json_string_value(key), json_null());
            json_decref(key);
        }
        json_decref(keys);
        break;
    }
    case MSGPACK_OBJECT_ARRAY:
        for (uint32_t i = 0; i < object->via.array.size; i++)
            object_check(objects, name, &object->via.array.ptr[i]);
        break;
    case MSGPACK_OBJECT_BIN:
        check_array(objects, name, &object->via.bin);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        break;
    default:
        json_decref(object_json(objects, name, object));
    }
}
