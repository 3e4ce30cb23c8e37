#include "text/json_members.h"

#include "base/messages.h"

#include <string.h>

bool is_nothing(const json_t *value)
{
    return !value || json_is_null(value);
}

struct span string_span(const json_t *string)
{
    return (struct span){json_string_value(string), json_string_length(string)};
}

bool member_flag(struct json_place place, const json_t *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(object, name);
    if (is_nothing(value))
        return otherwise;
    if (!json_is_boolean(value))
        die("%s: %s: '%s' must be true or false", place.path, place.part, name);
    return json_is_true(value);
}

const char *member_text(struct json_place place, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!is_nothing(value) && !json_is_string(value))
        die("%s: %s: '%s' must be text", place.path, place.part, name);
    return json_string_value(value);
}

const char *member_type(struct json_place place, const json_t *object)
{
    const char *type = json_is_object(object) ? member_text(place, object, "type") : NULL;
    if (!type)
        die("%s: %s: an object with a 'type' is expected", place.path, place.part);
    return type;
}

void check_members(struct json_place place, json_t *object, const char *const *names)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
        if (!is_listed(name, names))
            die("%s: %s: the setting '%s' is not known to this program", place.path, place.part, name);
}
