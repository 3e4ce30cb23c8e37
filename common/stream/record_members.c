#include "stream/record_members.h"

#include "base/messages.h"
#include "stream/objects.h"

#include <string.h>

static const msgpack_object *record_member(const struct record *record, const char *name)
{
    const msgpack_object *object = object_member(&record->object, name);
    if (!object)
        stream_fail(record->reader, "the record has no '%s'", name);
    return object;
}

bool record_has(const struct record *record, const char *name)
{
    return object_member(&record->object, name) != NULL;
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

static const msgpack_object_bin *record_bytes_of(const struct record *record, const char *name, size_t count,
                                                 size_t size)
{
    const msgpack_object_bin *bytes = record_bytes(record, name, size);
    if (bytes->size / size != count)
        stream_fail(record->reader, "'%s' has %zu elements, %zu are expected", name, bytes->size / size,
                    count);
    return bytes;
}

void record_copy(const struct record *record, const char *name, void *elements, size_t count, size_t size)
{
    const msgpack_object_bin *bytes = record_bytes_of(record, name, count, size);
    if (count)
        memcpy(elements, bytes->ptr, bytes->size);
}

void *record_array(const struct record *record, const char *name, size_t size, size_t *count)
{
    *count = record_bytes(record, name, size)->size / size;
    return record_array_of(record, name, *count, size);
}

void *record_array_of(const struct record *record, const char *name, size_t count, size_t size)
{
    const msgpack_object_bin *bytes = record_bytes_of(record, name, count, size);
    void *elements = new_array(count, size);
    if (count)
        memcpy(elements, bytes->ptr, bytes->size);
    return elements;
}
