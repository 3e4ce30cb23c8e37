#include "model/checksums.h"

#include "base/json.h"
#include "base/messages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 8192 };

struct checksums {
    char *directory;
    json_t *sums; /* {name: sum} */
};

/* ---- the list ---- */

/*
 * Whether a line is a sum, two spaces, or a space and an asterisk, and a name,
 * as md5sum and its like have it.
 */
static bool is_valid(const char *line)
{
    return strspn(line, "0123456789abcdef") == HASH_CHARACTERS && line[HASH_CHARACTERS] == ' '
        && (line[HASH_CHARACTERS + 1] == ' ' || line[HASH_CHARACTERS + 1] == '*')
        && line[HASH_CHARACTERS + 2];
}

static void read_lines(struct checksums *checksums, FILE *file, const char *path)
{
    char line[MAX_LINE];
    for (unsigned long number = 1; fgets(line, sizeof line, file); number++) {
        size_t length = strcspn(line, "\r\n");
        bool cut = !line[length];
        line[length] = '\0';
        if (cut || !is_valid(line))
            die("%s: line %lu is not a sum and a file's name, as xxhsum -H2 writes them: the list was cut, or"
                " is damaged", path, number);
        line[HASH_CHARACTERS] = '\0';
        json_t *sum = json_string(line), *name = json_string(line + HASH_CHARACTERS + 2);
        if (!sum || !name || json_object_set_new(checksums->sums, json_string_value(name), sum) != 0)
            die("%s: line %lu: the name is not UTF-8", path, number);
        json_decref(name);
    }
    if (ferror(file))
        die("%s: %s", path, strerror(errno));
}

struct checksums *checksums_open(const char *directory)
{
    char *path = format_string("%s/" CHECKSUMS_NAME, directory);
    struct checksums *checksums = NULL;
    FILE *file = fopen(path, "r");
    if (!file && errno != ENOENT && errno != ENOTDIR)
        die("%s: %s", path, strerror(errno));
    if (file) {
        checksums = new_array(1, sizeof *checksums);
        checksums->directory = copy_string(directory);
        checksums->sums = json_make("{}");
        read_lines(checksums, file, path);
        fclose(file);
    }
    free(path);
    return checksums;
}

void checksums_close(struct checksums *checksums)
{
    if (!checksums)
        return;
    json_decref(checksums->sums);
    free(checksums->directory);
    free(checksums);
}

char *checksums_line(const char *name, const char sum[HASH_CHARACTERS + 1])
{
    return format_string("%s  %s\n", sum, name);
}

/* ---- checking ---- */

void checksums_check(const struct checksums *checksums, const char *name, const char sum[HASH_CHARACTERS + 1])
{
    if (!checksums)
        return;
    const char *listed = json_string_value(json_object_get(checksums->sums, name));
    if (!listed)
        die("%s/%s: not on the list of the directory's files, %s; if it belongs there, add it: xxhsum -H2 %s"
            " >> %s", checksums->directory, name, CHECKSUMS_NAME, name, CHECKSUMS_NAME);
    if (strcmp(listed, sum))
        die("%s/%s: not as it was written: its sum differs from that in %s; take an unchanged copy, or, if"
            " the change is meant, list the new sum (xxhsum -H2) or delete the list",
            checksums->directory, name, CHECKSUMS_NAME);
}

static void hash_path(const char *path, char sum[HASH_CHARACTERS + 1])
{
    char buffer[1 << 14];
    struct hash *hash = hash_new();
    FILE *file = fopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, file)) > 0;)
        hash_add(hash, buffer, got);
    if (ferror(file))
        die("%s: %s", path, strerror(errno));
    fclose(file);
    hash_finish(hash, sum);
}

void checksums_check_file(const char *directory, const char *name)
{
    struct checksums *checksums = checksums_open(directory);
    if (!checksums)
        return;
    char sum[HASH_CHARACTERS + 1], *path = format_string("%s/%s", directory, name);
    hash_path(path, sum);
    checksums_check(checksums, name, sum);
    checksums_close(checksums);
    free(path);
}
