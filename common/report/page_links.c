#define _XOPEN_SOURCE 700 /* realpath */
#include "report/page_links.h"

#include "base/input.h"
#include "base/messages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The JSON that a file has between two texts, the first of their kind; NULL: there is none. */
static json_t *json_between(const char *path, const char *whose, const char *begin, const char *end)
{
    size_t length;
    char *bytes = input_read_all(path, whose, &length);
    char *text = new_array(length + 1, 1);
    memcpy(text, bytes, length);
    char *from = strstr(text, begin), *to = from ? strstr(from, end) : NULL;
    json_t *json = NULL;
    if (to) {
        from += strlen(begin);
        json = json_loadb(from, to > from ? (size_t)(to - from) : 0, JSON_REJECT_DUPLICATES, NULL);
    }
    free(text);
    free(bytes);
    return json;
}

static bool is_text(const json_t *json, const char *text)
{
    return json_is_string(json) && !strcmp(json_string_value(json), text);
}

json_t *trace_page_data(const char *path, const char *model_id)
{
    static const char begin[] = "<script type=\"application/json\" id=\"data\">";
    json_t *data = json_between(path, "page's", begin, "</script>");
    if (!json_is_array(json_object_get(data, "prompts")) || !json_is_object(json_object_get(data, "tokens"))
        || !json_is_object(json_object_get(data, "values")))
        die("%s: this is no page of trace-prompts", path);
    if (!is_text(json_object_get(data, "model"), model_id))
        die("%s: a page of another model than the report's: trace the prompts with this one", path);
    return data;
}

static void check_report(const char *report, const char *model_id)
{
    char *path = format_string("%s/data/overview.js", report);
    if (!input_exists(path))
        die("%s: this is no report: report-pages makes one", report);
    json_t *overview = json_between(path, "report's", "ffkv_data(\"overview\",", ");\n");
    if (!is_text(json_object_get(json_object_get(overview, "model"), "id"), model_id))
        die("%s: a report of another model than the one that is traced", report);
    json_decref(overview);
    free(path);
}

/* With links followed; the caller frees it. */
static char *whole_path(const char *path)
{
    char *whole = realpath(path, NULL);
    if (!whole)
        die("%s: %s", path, strerror(errno));
    return whole;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? format_string("%.*s", (int)(slash - path) + 1, path) : copy_string(".");
    char *whole = whole_path(folder);
    free(folder);
    return whole;
}

/* What no address has as it is, by its number; to has three bytes for each of them. */
static void add_escaped(char *to, const char *path)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *path; path++)
        to += sprintf(to, strchr(plain, *path) ? "%c" : "%%%02X", (unsigned char)*path);
}

/* From a folder to another, both whole paths. */
static char *relative_address(const char *from, const char *to)
{
    size_t common = 0, up = 0;
    for (size_t i = 0; from[i] == to[i] || ((!from[i] || !to[i]) && (from[i] == '/' || to[i] == '/')); i++) {
        if (!from[i] || !to[i] || from[i] == '/')
            common = i;
        if (!from[i] || !to[i])
            break;
    }
    for (const char *rest = from + common; *rest; rest++)
        up += *rest == '/' && rest[1];
    const char *down = to + common + (to[common] == '/');
    char *address = new_array(3 * up + 3 * strlen(down) + 4, 1);
    for (size_t i = 0; i < up; i++)
        strcat(address, "../");
    if (!up)
        strcat(address, "./");
    add_escaped(address + strlen(address), down);
    if (*down)
        strcat(address, "/");
    return address;
}

char *report_address(const char *page, const char *report, const char *model_id)
{
    check_report(report, model_id);
    char *from = folder_of(page), *to = whole_path(report);
    char *address = relative_address(from, to);
    free(from);
    free(to);
    return address;
}
