#include "base/output.h"

#include "base/mapping.h"
#include "base/messages.h"
#include "base/same_file.h"

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
    struct member *member;         /* or NULL: it appears by itself */
};

/* The outputs that appear together. Global as the files below are; written by the main thread only. */
static struct {
    struct member {
        const char *path;      /* NULL: standard output */
        struct output *output; /* from output_open on */
    } *member;
    size_t count, finished;
} together;

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

/* Of a program that ends with success: if it has forgotten an output, then without. */
static void end_well(void)
{
    if (together.finished == together.count)
        return;
    remove_unfinished();
    message_warn("this program is wrong: %zu of its %zu outputs were not finished",
         together.count - together.finished, together.count);
    _exit(STATUS_FAILED);
}

static void clean_up_on_every_end(void)
{
    static bool arranged;
    if (arranged)
        return;
    arranged = true;
    const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGXCPU};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signal(signals[i], remove_and_die) == SIG_IGN)
            signal(signals[i], SIG_IGN); /* nohup stays in force */
    at_every_end(remove_unfinished);
    if (atexit(end_well) != 0)
        die("cannot arrange for outputs to be checked");
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

/* The mode of the file that is replaced, and as far as this user may, its owner; else those of a new file. */
static void take_over_mode(const struct output *output, const struct stat *old)
{
    if (old && fchown(output->descriptor, old->st_uid, old->st_gid) != 0)
        errno = 0; /* whoever may write it though it is another's: it is theirs then, as after mv */
    if (fchmod(output->descriptor, old ? old->st_mode & 0777 : permissions(0666)) != 0)
        die("%s: %s", output->temporary, strerror(errno));
}

/* Opens a temporary file beside path and registers it. old: of the file that it replaces, or NULL. */
static void open_temporary(struct output *output, const char *path, const struct stat *old)
{
    clean_up_on_every_end();
    free(output->name);
    output->name = follow_links(path); /* a link's target is replaced, or made, and not the link */
    output->temporary = format_string("%s.part-XXXXXX", output->name);
    output->unfinished = add_unfinished(output->temporary, false);
    output->descriptor = mkstemp(output->temporary);
    if (output->descriptor < 0)
        die("%s: cannot create a file beside it: %s", path, strerror(errno));
    take_over_mode(output, old);
}

static const char *standard_as_null(const char *path)
{
    return path && strcmp(path, "-") ? path : NULL;
}

static const char *name_of(const char *path)
{
    return path ? path : "standard output";
}

void outputs_declare(const char *const *outputs, size_t count, const char *const *inputs, size_t input_count)
{
    together.member = new_array(count, sizeof *together.member);
    for (size_t i = 0; i < count; i++) {
        const char *path = together.member[i].path = standard_as_null(outputs[i]);
        for (size_t j = 0; j < i; j++)
            if (is_same_output(path, together.member[j].path))
                die_usage("%s and %s are the same file: each output needs one of its own",
                          name_of(together.member[j].path), name_of(path));
        for (size_t j = 0; j < input_count; j++)
            if (is_input(path, standard_as_null(inputs[j])))
                die_usage("%s is read from as well: an output needs a file of its own", name_of(path));
    }
    together.count = count;
    if (count)
        clean_up_on_every_end();
}

static struct member *find_member(const char *path)
{
    for (size_t i = 0; i < together.count; i++) {
        struct member *member = &together.member[i];
        if (!member->output && (path ? member->path && !strcmp(path, member->path) : !member->path))
            return member;
    }
    return NULL;
}

struct output *output_open(const char *path, enum output_form form)
{
    struct output *output = new_array(1, sizeof *output);
    struct stat status;
    path = standard_as_null(path);
    if (path && !*path)
        die_usage("the name of an output file is empty");
    output->name = copy_string(name_of(path));
    output->member = find_member(path);
    if (output->member)
        output->member->output = output;
    if (!path) {
        output->descriptor = STDOUT_FILENO;
    } else if (stat(path, &status) != 0) {
        if (errno != ENOENT) /* what is there cannot be told */
            die("%s: %s", path, strerror(errno));
        open_temporary(output, path, NULL);
    } else if (S_ISREG(status.st_mode)) {
        open_temporary(output, path, &status);
    } else {
        /* A device or a named pipe cannot be replaced by a complete file. */
        output->descriptor = open(path, O_WRONLY | O_CLOEXEC);
        if (output->descriptor < 0)
            die("%s: %s", path, strerror(errno));
    }
    if (form != OUTPUT_TEXT && isatty(output->descriptor))
        die_usage(
            "binary output does not go to a terminal: use -o FILE, a pipe, or stream-cat to look at it");
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
    enum { MAX_AT_ONCE = 1 << 30 };
    const unsigned char *next = bytes;
    while (size) {
        unsigned part = size < MAX_AT_ONCE ? (unsigned)size : MAX_AT_ONCE;
        errno = 0;
        if (gzwrite(output->file, next, part) != (int)part)
            output_failed(output, errno);
        next += part;
        size -= part;
    }
}

void output_flush(struct output *output)
{
    errno = 0;
    if (gzflush(output->file, Z_SYNC_FLUSH) != Z_OK)
        output_failed(output, errno);
}

/* Whether the file lies in the directory that is not complete yet. */
static bool is_in_unfinished_directory(const char *path)
{
    size_t length = unfinished_directory ? strlen(unfinished_directory) : 0;
    return length && !strncmp(path, unfinished_directory, length) && path[length] == '/';
}

static void append_name(char **list, const char *name)
{
    char *longer = format_string("%s%s%s", *list, **list ? ", " : "", name);
    free(*list);
    *list = longer;
}

/* The failed one's name could not be given: tells which of the outputs are new then, and which are not. */
static _Noreturn void give_names_failed(struct output *const *outputs, size_t count, size_t failed)
{
    int reason = errno;
    char *given = copy_string(""), *missing = copy_string("");
    for (size_t i = 0; i < count; i++)
        if (outputs[i]->temporary)
            append_name(i < failed ? &given : &missing, outputs[i]->name);
    const char *name = outputs[failed]->name, *why = strerror(reason);
    if (!*given)
        die("%s: cannot give the finished file its name: %s", name, why);
    die("%s: cannot give the finished file its name: %s. These are new: %s; these are not: %s", name, why,
        given, missing);
}

/* Renames all; signals wait, so that none comes between two of them. */
static void give_names(struct output *const *outputs, size_t count)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (size_t i = 0; i < count; i++) {
        struct output *output = outputs[i];
        if (!output->temporary)
            continue;
        if (is_in_unfinished_directory(output->name))
            add_unfinished(copy_string(output->name), false);
        if (rename(output->temporary, output->name) != 0)
            give_names_failed(outputs, count, i);
        output->unfinished->path = NULL;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void output_free(struct output *output)
{
    free(output->temporary);
    free(output->name);
    free(output);
}

/* The last member is finished: all of them appear. */
static void members_appear(void)
{
    struct output **outputs = new_array(together.count, sizeof *outputs);
    for (size_t i = 0; i < together.count; i++)
        outputs[i] = together.member[i].output;
    give_names(outputs, together.count);
    for (size_t i = 0; i < together.count; i++)
        output_free(outputs[i]);
    free(outputs);
    free(together.member);
    together.member = NULL;
    together.count = together.finished = 0;
}

/*
 * What a pipe has taken is not lost when closing it fails. Its reader may have a stream's
 * trailer already: to fail now would contradict what the pipeline goes on with.
 */
static bool is_pipe(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

void output_finish(struct output *output)
{
    mappings_check(); /* before a pipe's reader can have all */
    errno = 0;
    if (gzflush(output->file, Z_FINISH) != Z_OK)
        output_failed(output, errno);
    if (output->temporary && fsync(output->descriptor) != 0)
        output_failed(output, errno);
    bool pipe = is_pipe(output->descriptor);
    errno = 0;
    if (gzclose(output->file) != Z_OK && !pipe)
        output_failed(output, errno);
    if (!output->member) {
        give_names(&output, 1);
        output_free(output);
    } else if (++together.finished == together.count) {
        members_appear();
    }
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
