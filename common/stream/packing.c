#include "stream/packing.h"

#include "base/messages.h"
#include "stream/stream_format.h"

#include <string.h>

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
    if (length > MAX_STRING_BYTES)
        die("a text of %zu bytes does not fit in a stream, where one has at most %d: '%.40s...'", length,
            MAX_STRING_BYTES, text);
    msgpack_packer packer = packer_to(buffer);
    packed(msgpack_pack_str(&packer, length));
    packed(msgpack_pack_str_body(&packer, text, length));
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

void pack_json_members(msgpack_sbuffer *buffer, const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        pack_text(buffer, name, strlen(name));
        pack_json(buffer, value);
    }
}

void pack_json(msgpack_sbuffer *buffer, const json_t *json)
{
    msgpack_packer packer = packer_to(buffer);
    json_t *value;
    size_t index;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        pack_map(buffer, json_object_size(json));
        pack_json_members(buffer, json);
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
