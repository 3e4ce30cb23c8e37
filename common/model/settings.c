#include "model/settings.h"

#include "base/json.h"
#include "base/messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FLOAT 1e9

struct settings settings_open(const char *name, const char *part, json_t *json)
{
    return (struct settings){name, part, json, json_make("{}")};
}

void settings_close(struct settings *settings)
{
    json_decref(settings->read);
    settings->read = NULL;
}

/* Notes that somebody knows the key. */
static json_t *look_up(const struct settings *settings, const char *key)
{
    json_put(settings->read, key, json_true());
    return json_object_get(settings->json, key);
}

bool setting_stated(const struct settings *settings, const char *key)
{
    return look_up(settings, key);
}

json_t *setting(const struct settings *settings, const char *key)
{
    json_t *value = look_up(settings, key);
    return json_is_null(value) ? NULL : value;
}

/* ---- values ---- */

size_t setting_size(const struct settings *settings, const char *key, size_t least, size_t most)
{
    const json_t *number = setting(settings, key);
    if (!json_is_integer(number) || json_integer_value(number) < (json_int_t)least
        || json_integer_value(number) > (json_int_t)most)
        die("%s: '%s%s' must be a whole number from %zu to %zu", settings->name, settings->part, key, least,
            most);
    return (size_t)json_integer_value(number);
}

double setting_real(const struct settings *settings, const char *key)
{
    double number = json_number_value(setting(settings, key));
    if (!(number > 0 && isfinite(number)))
        die("%s: '%s%s' must be a positive number", settings->name, settings->part, key);
    return number;
}

float setting_float(const struct settings *settings, const char *key)
{
    double number = setting_real(settings, key);
    if (number >= MAX_FLOAT)
        die("%s: '%s%s' must be a positive number below %.0f", settings->name, settings->part, key,
            MAX_FLOAT);
    return (float)number;
}

bool setting_flag(const struct settings *settings, const char *key)
{
    const json_t *value = setting(settings, key);
    if (!json_is_boolean(value))
        die("%s: '%s%s' must be true or false", settings->name, settings->part, key);
    return json_is_true(value);
}

size_t setting_size_or(const struct settings *settings, const char *key, size_t least, size_t most,
                       size_t otherwise)
{
    return setting(settings, key) ? setting_size(settings, key, least, most) : otherwise;
}

double setting_real_or(const struct settings *settings, const char *key, double otherwise)
{
    return setting(settings, key) ? setting_real(settings, key) : otherwise;
}

void setting_refuse(const struct settings *settings, const char *key, const char *known)
{
    const json_t *value = look_up(settings, key);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    die("%s: '%s%s' is %s; this program knows only %s", settings->name, settings->part, key,
        text ? text : "missing", known);
}

/* ---- all settings ---- */

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!value)
        die("out of memory");
    return value;
}

void settings_default(const struct settings *settings, const struct known_setting *defaults)
{
    for (; defaults && defaults->key; defaults++)
        if (!json_object_get(settings->json, defaults->key))
            json_put(settings->json, defaults->key, parse(defaults->value));
}

/* Whether two values are the same; 8 and 8.0 are. */
static bool is_same(const json_t *a, const json_t *b)
{
    double left = json_number_value(a), right = json_number_value(b);
    if (json_is_number(a) && json_is_number(b))
        return !(left < right) && !(left > right);
    return json_equal(a, b);
}

void settings_must_be(const struct settings *settings, const struct known_setting *known, bool required)
{
    for (; known && known->key; known++) {
        const json_t *value = setting(settings, known->key);
        json_t *right = parse(known->value);
        if (value ? !is_same(value, right) : required)
            setting_refuse(settings, known->key, known->value);
        json_decref(right);
    }
}

/* Whether the value asks for nothing, whatever its key means. */
static bool is_neutral(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    case JSON_INTEGER:
        return json_integer_value(value) == 0;
    case JSON_REAL:
        return !(json_real_value(value) < 0) && !(json_real_value(value) > 0);
    case JSON_TRUE:
        return false;
    case JSON_FALSE:
    case JSON_NULL:
        return true;
    }
    return false;
}

void settings_refuse_unread(const struct settings *settings, const char *const *const *ignored)
{
    const char *key;
    json_t *value;
    json_object_foreach(settings->json, key, value) {
        bool known = json_object_get(settings->read, key) || is_neutral(value);
        for (size_t i = 0; !known && ignored[i]; i++)
            known = is_listed(key, ignored[i]);
        if (!known)
            die("%s: '%s%s' is not known, and may change what the model computes; if it does not, take it out"
                " of the file", settings->name, settings->part, key);
    }
}
