#define _XOPEN_SOURCE 700 /* realpath */
#include "output.h"

#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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
    size_t slot;     /* of temporary in unfinished */
};

/*
 * The temporary files that exist now. Global because a signal handler and
 * atexit must find them; written by the main thread only.
 */
enum { MOST_UNFINISHED = 16 };
static char *volatile unfinished[MOST_UNFINISHED];

static void remove_unfinished(void)
{
    for (size_t i = 0; i < MOST_UNFINISHED; i++)
        if (unfinished[i])
            unlink(unfinished[i]);
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
    if (atexit(remove_unfinished) != 0 || at_quick_exit(remove_unfinished) != 0)
        die("cannot arrange for temporary files to be removed");
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
    size_t slot = 0;
    while (slot < MOST_UNFINISHED && unfinished[slot])
        slot++;
    if (slot == MOST_UNFINISHED)
        die("%s: too many unfinished output files", path);
    output->slot = slot;
    unfinished[slot] = output->temporary; /* before it exists: no moment without an owner */
    output->descriptor = mkstemp(output->temporary);
    if (output->descriptor < 0)
        die("%s: cannot create a file beside it: %s", path, strerror(errno));
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(output->descriptor, 0666 & ~mask) != 0)
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
    if (output->temporary) {
        if (rename(output->temporary, output->name) != 0)
            die("%s: cannot give the finished file its name: %s", output->name, strerror(errno));
        unfinished[output->slot] = NULL;
    }
    free(output->temporary);
    free(output->name);
    free(output);
}
