#include "base/json.h"

#include "base/input.h"
#include "base/limits.h"
#include "base/messages.h"

#include <stdarg.h>
#include <stdlib.h>

/* Each value but the first follows one of these signs; a few within strings do no harm. */
static size_t count_values(const char *bytes, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += bytes[i] == ',' || bytes[i] == '[' || bytes[i] == '{';
    return count;
}

json_t *json_read_object(const char *path, const char *whose, const char *what)
{
    json_error_t error;
    size_t length;
    char *bytes = input_read_all(path, whose, &length);
    if (count_values(bytes, length) > MAX_JSON_VALUES)
        die("%s: more than %d values; this is no %s file", path, MAX_JSON_VALUES, whose);
    json_t *json = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        die("%s: line %d: not a JSON object: %s", path, error.line, error.text);
    if (!json_is_object(json))
        die("%s: not a JSON object but a list; it must be %s", path, what);
    free(bytes);
    return json;
}

char *json_line(const json_t *json)
{
    char *line = json_dumps(json, JSON_LINE);
    if (!line)
        die("out of memory");
    return line;
}

json_t *json_make(const char *format, ...)
{
    json_error_t error;
    va_list arguments;
    va_start(arguments, format);
    json_t *json = json_vpack_ex(&error, 0, format, arguments);
    va_end(arguments);
    if (!json)
        die("cannot make JSON: %s", error.text);
    return json;
}

json_t *json_list(const size_t *numbers, size_t count)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, json_integer((json_int_t)numbers[i]));
    return list;
}

json_t *json_words(unsigned bits, const char *const *words)
{
    json_t *list = json_make("[]");
    for (unsigned i = 0; words[i]; i++)
        if (bits & 1u << i)
            json_add(list, json_string(words[i]));
    return list;
}

json_t *json_readable(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *readable = copy_string(text);
    for (char *byte = readable; *byte; byte++)
        *byte = (unsigned char)*byte < 0x80 ? *byte : '?';
    json = json_make("s", readable);
    free(readable);
    return json;
}

void json_add(json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) != 0)
        die("out of memory");
}

void json_put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) != 0)
        die("out of memory");
}
