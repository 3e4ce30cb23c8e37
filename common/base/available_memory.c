#include "base/available_memory.h"

#include "base/messages.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 4096 };

/* The number behind name in a file of lines; name "": the first line's. UINT64_MAX: there is none. */
static uint64_t number_in(const char *path, const char *name)
{
    char line[MAX_LINE];
    uint64_t number = UINT64_MAX;
    FILE *file = fopen(path, "r");
    while (file && number == UINT64_MAX && fgets(line, sizeof line, file)) {
        const char *text = line + strlen(name);
        if (strncmp(line, name, strlen(name)) != 0)
            continue;
        text += strspn(text, " \t");
        if (isdigit((unsigned char)*text))
            number = strtoull(text, NULL, 10);
    }
    if (file)
        fclose(file);
    return number;
}

/* What is left of a limit in a folder of a control group. */
static uint64_t left_in(const char *folder, const char *limit_name, const char *used_name)
{
    char *limit_path = format_string("%s/%s", folder, limit_name),
         *stat = format_string("%s/memory.stat", folder);
    uint64_t limit = number_in(limit_path, ""), used = number_in(stat, used_name);
    free(limit_path);
    free(stat);
    if (limit == UINT64_MAX)
        return limit;
    return used == UINT64_MAX ? limit : used < limit ? limit - used : 0;
}

/* The same of a control group and of all that it is in. path is shortened. */
static uint64_t left_in_groups(const char *root, char *path, const char *limit_name, const char *used_name)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char *folder = format_string("%s%s", root, path);
        uint64_t left = left_in(folder, limit_name, used_name);
        least = left < least ? left : least;
        free(folder);
        char *slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH, without controllers in version 2. */
static uint64_t left_of_line(char *line)
{
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return UINT64_MAX;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (!controllers[1])
        return left_in_groups("/sys/fs/cgroup", path, "memory.max", "anon ");
    if (!strcmp(controllers + 1, "memory"))
        return left_in_groups("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "total_rss ");
    return UINT64_MAX;
}

uint64_t available_memory(void)
{
    char line[MAX_LINE];
    uint64_t kilobytes = number_in("/proc/meminfo", "MemAvailable:");
    uint64_t least = kilobytes > UINT64_MAX / 1024 ? UINT64_MAX : 1024 * kilobytes;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && fgets(line, sizeof line, file)) {
        uint64_t left = left_of_line(line);
        least = left < least ? left : least;
    }
    if (file)
        fclose(file);
    return least;
}
