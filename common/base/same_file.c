#define _XOPEN_SOURCE 700 /* realpath */
#include "base/same_file.h"

#include "base/messages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a name is relative to, and where a link's text is relative to: "a/b" of "a/b/c", "." of "c". */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return copy_string(".");
    return format_string("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *follow_links(const char *path)
{
    enum { MAX_LINKS = 40 };
    char *at = copy_string(path), link[PATH_MAX + 1];
    for (int links = 0;; links++) {
        ssize_t length = readlink(at, link, PATH_MAX);
        if (length < 0)
            return at;
        if (links == MAX_LINKS)
            die("%s: %s", path, strerror(ELOOP));
        link[length] = '\0';
        char *folder = folder_of(at);
        char *next = *link == '/' ? copy_string(link) : format_string("%s/%s", folder, link);
        free(folder);
        free(at);
        at = next;
    }
}

static bool file_status(const char *path, int standard, struct stat *status)
{
    return (path ? stat(path, status) : fstat(standard, status)) == 0;
}

static bool is_one(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Of two files that are not there: whether they would have one name in one folder. */
static bool would_be_one(const char *a, const char *b)
{
    char *left = follow_links(a), *right = follow_links(b), *left_folder = folder_of(left),
         *right_folder = folder_of(right);
    struct stat here, there;
    bool is_same = stat(left_folder, &here) == 0 && stat(right_folder, &there) == 0 && is_one(&here, &there)
                && !strcmp(last_name(left), last_name(right));
    free(left);
    free(right);
    free(left_folder);
    free(right_folder);
    return is_same;
}

bool is_same_output(const char *a, const char *b)
{
    struct stat left, right;
    if (!a && !b)
        return true;
    bool is_there = file_status(a, STDOUT_FILENO, &left), other_is = file_status(b, STDOUT_FILENO, &right);
    if (is_there && other_is)
        return is_one(&left, &right) && !S_ISCHR(left.st_mode);
    return a && b && !is_there && !other_is && would_be_one(a, b);
}

/* Whether the file lies in the directory, by whatever names. */
static bool is_in_directory(const struct stat *file, const char *path)
{
    DIR *directory = opendir(path);
    bool found = false;
    struct stat status;
    if (!directory)
        return false; /* whoever reads it says so */
    for (const struct dirent *entry; !found && (entry = readdir(directory)) != NULL;)
        found = fstatat(dirfd(directory), entry->d_name, &status, 0) == 0 && is_one(file, &status);
    closedir(directory);
    return found;
}

bool is_input(const char *output, const char *input)
{
    struct stat written, read;
    if (!file_status(output, STDOUT_FILENO, &written) || !S_ISREG(written.st_mode)
        || !file_status(input, STDIN_FILENO, &read))
        return false;
    return S_ISDIR(read.st_mode) ? input && is_in_directory(&written, input) : is_one(&written, &read);
}
