#include "report/page_data.h"

#include "base/messages.h"
#include "base/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Escapes leave ASCII without </ in the file: no browser can take any of it for
 * anything but the JSON that it is.
 */
enum { FORM = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ESCAPE_SLASH | JSON_REAL_PRECISION(5) };

void page_data_write(const char *folder, const char *name, json_t *data)
{
    char *json = json_dumps(data, FORM);
    if (!json)
        die("out of memory");
    char *path = format_string("%s/%s.js", folder, name);
    char *begin = format_string("ffkv_data(\"%s\",", name);
    struct output *output = output_open(path, OUTPUT_TEXT);
    output_write(output, begin, strlen(begin));
    output_write(output, json, strlen(json));
    output_write(output, ");\n", 3);
    output_finish(output);
    free(begin);
    free(path);
    free(json);
    json_decref(data);
}

/* ---- numbers ---- */

static void numbers_add(struct numbers *numbers, const char *number, size_t length)
{
    numbers->text = reserve_array(numbers->text, &numbers->capacity, numbers->length + length + 1, 1);
    if (numbers->length)
        numbers->text[numbers->length++] = ' ';
    memcpy(numbers->text + numbers->length, number, length);
    numbers->length += length;
}

void numbers_add_integer(struct numbers *numbers, uint64_t integer)
{
    char digits[24], *first = digits + sizeof digits;
    do
        *--first = (char)('0' + integer % 10);
    while (integer /= 10);
    numbers_add(numbers, first, (size_t)(digits + sizeof digits - first));
}

void numbers_add_real(struct numbers *numbers, float real, int digits)
{
    char text[32];
    numbers_add(numbers, text, (size_t)snprintf(text, sizeof text, "%.*g", digits, (double)real));
}

json_t *numbers_take(struct numbers *numbers)
{
    json_t *json = json_make("s%", numbers->length ? numbers->text : "", numbers->length);
    free(numbers->text);
    *numbers = (struct numbers){0};
    return json;
}
