#include "text/bpe_json.h"

#include "base/input.h"
#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

/* Bounds that no tokenizer reaches; they keep a damaged file from using up the memory. */
enum {
    MAX_FILE_BYTES = 64 << 20,
    MAX_VALUES = 1 << 22, /* of a JSON file */
    READ_BYTES = 1 << 16,
};

struct span read_whole_file(const char *path)
{
    struct input *input = input_open(path);
    char *bytes = NULL;
    size_t length = 0, capacity = 0;
    for (size_t got = 1; got; length += got) {
        if (length > MAX_FILE_BYTES)
            die("%s: longer than %d MiB; this is no tokenizer's file", path, MAX_FILE_BYTES >> 20);
        if (capacity - length < READ_BYTES) {
            capacity = 2 * capacity + READ_BYTES;
            bytes = grow_array(bytes, capacity, 1);
        }
        got = input_read(input, bytes + length, READ_BYTES);
    }
    input_close(input);
    return (struct span){bytes, length};
}

/* Each value but the first follows one of these signs; a few within strings do no harm. */
static void check_count(const char *path, struct span text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += text.bytes[i] == ',' || text.bytes[i] == '[' || text.bytes[i] == '{';
    if (count > MAX_VALUES)
        die("%s: more than %d values; this is no tokenizer's file", path, MAX_VALUES);
}

json_t *read_json_object(const char *path, const char *what)
{
    json_error_t error;
    struct span text = read_whole_file(path);
    check_count(path, text);
    json_t *json = json_loadb(text.bytes, text.length, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        die("%s: line %d: not a JSON object: %s", path, error.line, error.text);
    if (!json_is_object(json))
        die("%s: not a JSON object but a list; it must be %s", path, what);
    free((void *)(uintptr_t)text.bytes);
    return json;
}

bool is_nothing(const json_t *value)
{
    return !value || json_is_null(value);
}

struct span string_span(const json_t *string)
{
    return (struct span){json_string_value(string), json_string_length(string)};
}

bool member_flag(struct place place, const json_t *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(object, name);
    if (is_nothing(value))
        return otherwise;
    if (!json_is_boolean(value))
        die("%s: %s: '%s' must be true or false", place.path, place.part, name);
    return json_is_true(value);
}

const char *member_text(struct place place, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!is_nothing(value) && !json_is_string(value))
        die("%s: %s: '%s' must be text", place.path, place.part, name);
    return json_string_value(value);
}

const char *member_type(struct place place, const json_t *object)
{
    const char *type = json_is_object(object) ? member_text(place, object, "type") : NULL;
    if (!type)
        die("%s: %s: an object with a 'type' is expected", place.path, place.part);
    return type;
}

bool is_known(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name))
        names++;
    return *names;
}

void check_members(struct place place, json_t *object, const char *const *names)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
        if (!is_known(name, names))
            die("%s: %s: the setting '%s' is not known to this program", place.path, place.part, name);
}
