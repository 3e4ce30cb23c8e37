#include "base/json_text.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMNS = 24 };

static void print_text(FILE *out, const char *text)
{
    for (; *text; text++)
        putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}

/* A name without its underscores, nor its unit. */
static int print_name(FILE *out, const char *name)
{
    size_t length = strlen(name);
    if (ends_with(name, "_bytes"))
        length -= strlen("_bytes");
    else if (ends_with(name, "_seconds"))
        length -= strlen("_seconds");
    for (size_t i = 0; i < length; i++)
        putc(name[i] == '_' ? ' ' : name[i], out);
    return (int)length;
}

static void print_bytes(FILE *out, double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1000;
        unit++;
    }
    fprintf(out, bytes < 100 && unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void print_seconds(FILE *out, double seconds)
{
    if (seconds < 120)
        fprintf(out, "%.2g s", seconds);
    else if (seconds < 7200)
        fprintf(out, "%.0f min", seconds / 60);
    else
        fprintf(out, "%.3g h", seconds / 3600);
}

/* Whether element index is a whole number, the one behind that of the element before. */
static bool goes_on(const json_t *list, size_t index)
{
    const json_t *element = json_array_get(list, index), *before = json_array_get(list, index - 1);
    return json_is_integer(element) && json_is_integer(before)
        && json_integer_value(element) == json_integer_value(before) + 1;
}

static void print_value(FILE *out, const char *name, const json_t *value);

static void print_list(FILE *out, const char *name, const json_t *list)
{
    size_t count = json_array_size(list);
    if (!count)
        fputs("none", out);
    for (size_t i = 0, last; i < count; i = last + 1) {
        fputs(i ? "," : "", out);
        for (last = i; last + 1 < count && goes_on(list, last + 1);)
            last++;
        print_value(out, name, json_array_get(list, i));
        if (last > i) {
            putc('-', out);
            print_value(out, name, json_array_get(list, last));
        }
    }
}

static void print_value(FILE *out, const char *name, const json_t *value)
{
    const char *key, *comma = "";
    json_t *member;
    if (json_is_string(value))
        print_text(out, json_string_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", out);
    else if (json_is_number(value) && ends_with(name, "_bytes"))
        print_bytes(out, json_number_value(value));
    else if (json_is_number(value) && ends_with(name, "_seconds"))
        print_seconds(out, json_number_value(value));
    else if (json_is_integer(value))
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        fprintf(out, "%.6g", json_real_value(value));
    else if (json_is_array(value))
        print_list(out, name, value);
    else if (json_is_object(value))
        json_object_foreach((json_t *)value, key, member) {
            fprintf(out, "%s%s: ", comma, key);
            print_value(out, name, member);
            comma = "; ";
        }
    else
        fputs("none", out);
}

static void print_line(FILE *out, const char *indent, const char *name, const json_t *value)
{
    fputs(indent, out);
    int written = (int)strlen(indent) + print_name(out, name);
    fprintf(out, "%*s", written < NAME_COLUMNS ? NAME_COLUMNS - written : 1, "");
    print_value(out, name, value);
    putc('\n', out);
}

void json_print_lines(FILE *out, const json_t *object)
{
    const char *name, *key;
    json_t *value, *member;
    json_object_foreach((json_t *)object, name, value) {
        if (!json_is_object(value)) {
            print_line(out, "", name, value);
            continue;
        }
        putc('\n', out);
        print_name(out, name);
        putc('\n', out);
        json_object_foreach(value, key, member)
            print_line(out, "  ", key, member);
    }
}
