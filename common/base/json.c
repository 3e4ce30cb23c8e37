#include "base/json.h"

#include "base/messages.h"

#include <stdarg.h>

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
