#include "report/page.h"

#include "base/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In JSON these three stand in strings only, where they may be written as escapes. */
static void write_escaped(struct output *output, const char *json)
{
    for (size_t plain; *json; json += plain) {
        plain = strcspn(json, "<>&");
        output_write(output, json, plain);
        if (json[plain]) {
            char escape[16];
            int length = snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)json[plain++]);
            output_write(output, escape, (size_t)length);
        }
    }
}

void page_write(struct output *output, struct span template, const json_t *data, unsigned digits)
{
    static const char mark[] = "{{data}}";
    size_t before = 0;
    while (before + strlen(mark) < template.length && memcmp(template.bytes + before, mark, strlen(mark)))
        before++;
    size_t after = before + strlen(mark);
    char *json = json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(digits));
    if (!json)
        die("out of memory");
    output_write(output, template.bytes, before);
    write_escaped(output, json);
    output_write(output, template.bytes + after, template.length - after);
    output_finish(output);
    free(json);
}
