#define _XOPEN_SOURCE 700 /* realpath */
#include "output.h"

#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

struct output {
    gzFile file;
    int descriptor;
    char *name;      /* final path, or "standard output" */
    char *temporary; /* NULL when bytes go straight to where they belong */
    struct unfinished *unfinished; /* temporary's */
};

/*
 * The temporary files that exist now, the temporary directory, and the folders and
 * finished files in it, the newest first, so that a directory comes behind what it
 * holds. Global because a signal handler and atexit must find them; written by the
 * main thread only.
 */
struct unfinished {
    char *volatile path; /* NULL: nothing to remove any more */
    bool is_directory;
    struct unfinished *before;
};
static struct unfinished *volatile newest_unfinished;
static char *volatile unfinished_directory;

static void remove_unfinished(void)
{
    for (const struct unfinished *each = newest_unfinished; each; each = each->before)
        if (each->path)
            (each->is_directory ? rmdir : unlink)(each->path);
}

static void remove_and_die(int number)
{
    remove_unfinished();
    signal(number, SIG_DFL);
    raise(number);
}

static void clean_up_on_every_end(void)
{
    static bool arranged;
    if (arranged)
        return;
    arranged = true;
    const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGXCPU, SIGXFSZ};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signal(signals[i], remove_and_die) == SIG_IGN)
            signal(signals[i], SIG_IGN); /* nohup stays in force */
    at_every_end(remove_unfinished);
}

/* Registers what is about to exist: no moment without an owner. */
static struct unfinished *add_unfinished(char *path, bool is_directory)
{
    struct unfinished *added = new_array(1, sizeof *added);
    *added = (struct unfinished){path, is_directory, newest_unfinished};
    atomic_signal_fence(memory_order_release); /* whole before a handler can see it */
    newest_unfinished = added;
    return added;
}

static mode_t permissions(mode_t all)
{
    mode_t mask = umask(0);
    umask(mask);
    return all & ~mask;
}

/* Opens a temporary file beside path and registers it. */
static void open_temporary(struct output *output, const char *path)
{
    clean_up_on_every_end();
    char *target = realpath(path, NULL); /* a link's target is replaced, not the link */
    free(output->name);
    output->name = copy_string(target ? target : path);
    free(target);
    output->temporary = format_string("%s.part-XXXXXX", output->name);
    output->unfinished = add_unfinished(output->temporary, false);
    output->descriptor = mkstemp(output->temporary);
    if (output->descriptor < 0)
        die("%s: cannot create a file beside it: %s", path, strerror(errno));
    if (fchmod(output->descriptor, permissions(0666)) != 0)
        die("%s: %s", output->temporary, strerror(errno));
}

struct output *output_open(const char *path, enum output_form form)
{
    struct output *output = new_array(1, sizeof *output);
    struct stat status;
    if (path && !strcmp(path, "-"))
        path = NULL;
    if (path && !*path)
        die_usage("the name of an output file is empty");
    output->name = copy_string(path ? path : "standard output");
    if (!path) {
        output->descriptor = STDOUT_FILENO;
    } else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        /* A device or a named pipe cannot be replaced by a complete file. */
        output->descriptor = open(path, O_WRONLY | O_CLOEXEC);
        if (output->descriptor < 0)
            die("%s: %s", path, strerror(errno));
    } else {
        open_temporary(output, path);
    }
    if (form != OUTPUT_TEXT && isatty(output->descriptor))
        die_usage("binary output does not go to a terminal: use -o FILE, a pipe, or stream-cat to look at it");
    output->file = gzdopen(output->descriptor, form == OUTPUT_GZIP ? "wb6" : "wbT");
    if (!output->file || gzbuffer(output->file, 1 << 18) != 0)
        die("%s: out of memory", output->name);
    return output;
}

static _Noreturn void output_failed(const struct output *output, int reason)
{
    if (reason == EPIPE)
        die_quietly();
    die("%s: cannot write: %s", output->name, reason ? strerror(reason) : "unknown error");
}

void output_write(struct output *output, const void *bytes, size_t size)
{
    enum { MOST_AT_ONCE = 1 << 30 };
    const unsigned char *next = bytes;
    while (size) {
        unsigned part = size < MOST_AT_ONCE ? (unsigned)size : MOST_AT_ONCE;
        errno = 0;
        if (gzwrite(output->file, next, part) != (int)part)
            output_failed(output, errno);
        next += part;
        size -= part;
    }
}

/* Whether the file lies in the directory that is not complete yet. */
static bool is_in_unfinished_directory(const char *path)
{
    size_t length = unfinished_directory ? strlen(unfinished_directory) : 0;
    return length && !strncmp(path, unfinished_directory, length) && path[length] == '/';
}

static void give_name(struct output *output)
{
    if (is_in_unfinished_directory(output->name))
        add_unfinished(copy_string(output->name), false);
    if (rename(output->temporary, output->name) != 0)
        die("%s: cannot give the finished file its name: %s", output->name, strerror(errno));
    output->unfinished->path = NULL;
}

void output_finish(struct output *output)
{
    errno = 0;
    if (gzflush(output->file, Z_FINISH) != Z_OK)
        output_failed(output, errno);
    if (output->temporary && fsync(output->descriptor) != 0)
        output_failed(output, errno);
    errno = 0;
    if (gzclose(output->file) != Z_OK)
        output_failed(output, errno);
    if (output->temporary)
        give_name(output);
    free(output->temporary);
    free(output->name);
    free(output);
}

/* ---- directories ---- */

struct output_directory {
    char *name;
    char *temporary;
};

struct output_directory *output_directory_open(const char *path)
{
    struct output_directory *directory = new_array(1, sizeof *directory);
    struct stat status;
    directory->name = copy_string(path);
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
        directory->name[end - 1] = '\0';
    if (lstat(directory->name, &status) == 0)
        die("%s: exists, and is not overwritten", path);
    if (unfinished_directory)
        die("%s: another directory is not complete yet", path);
    clean_up_on_every_end();
    directory->temporary = format_string("%s.part-XXXXXX", directory->name);
    unfinished_directory = directory->temporary;
    add_unfinished(directory->temporary, true);
    if (!mkdtemp(directory->temporary))
        die("%s: cannot create a directory beside it: %s", path, strerror(errno));
    return directory;
}

const char *output_directory_place(const struct output_directory *directory)
{
    return directory->temporary;
}

char *output_directory_folder(const struct output_directory *directory, const char *name)
{
    char *path = format_string("%s/%s", directory->temporary, name);
    add_unfinished(copy_string(path), true);
    if (mkdir(path, 0777) != 0)
        die("%s: cannot create it: %s", path, strerror(errno));
    return path;
}

void output_directory_finish(struct output_directory *directory)
{
    if (chmod(directory->temporary, permissions(0777)) != 0)
        die("%s: %s", directory->temporary, strerror(errno));
    if (rename(directory->temporary, directory->name) != 0)
        die("%s: cannot give the finished directory its name: %s", directory->name, strerror(errno));
    unfinished_directory = NULL;
    for (struct unfinished *each = newest_unfinished; each; each = each->before) {
        char *path = each->path;
        if (path && !strncmp(path, directory->temporary, strlen(directory->temporary))) {
            each->path = NULL;
            if (path != directory->temporary)
                free(path);
        }
    }
    free(directory->temporary);
    free(directory->name);
    free(directory);
}
