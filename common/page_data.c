#include "page_data.h"

#include "messages.h"
#include "output.h"

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
