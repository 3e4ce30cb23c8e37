#include "input.h"

#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { BUFFER_BYTES = 1 << 18 };
static const double SECONDS_BETWEEN_REPORTS = 0.25;

struct input {
    gzFile file;
    char *name;
    off_t bytes;       /* of a regular file that progress is shown for, or 0 */
    uint64_t units;
    double started, reported;
    bool line_shown;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bool input_exists(const char *path)
{
    if (access(path, F_OK) == 0)
        return true;
    if (errno != ENOENT && errno != ENOTDIR)
        die("%s: %s", path, strerror(errno));
    return false;
}

struct input *input_open(const char *path)
{
    struct input *input = new_array(1, sizeof *input);
    input->name = copy_string(path ? path : "standard input");
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        die("%s: %s", input->name, strerror(errno));
    if (S_ISDIR(status.st_mode))
        die("%s: is a directory, a file is needed", input->name);
    if (S_ISREG(status.st_mode) && isatty(STDERR_FILENO))
        input->bytes = status.st_size;
    input->file = gzdopen(descriptor, "rb");
    if (!input->file || gzbuffer(input->file, BUFFER_BYTES) != 0)
        die("%s: out of memory", input->name);
    input->started = input->reported = now();
    return input;
}

size_t input_read(struct input *input, void *buffer, size_t size)
{
    enum { MOST_AT_ONCE = 1 << 30 };
    int got = gzread(input->file, buffer, size < MOST_AT_ONCE ? (unsigned)size : MOST_AT_ONCE);
    int problem = Z_OK;
    const char *text = gzerror(input->file, &problem);
    if (problem == Z_ERRNO)
        die("%s: %s", input->name, strerror(errno));
    /* A cut file is reported with the last bytes that it gave, not as an error of their read. */
    if (got < 0 || (problem != Z_OK && problem != Z_STREAM_END))
        die("%s: damaged or cut gzip data (%s)", input->name, text);
    return (size_t)got;
}

const char *input_name(const struct input *input)
{
    return input->name;
}

void input_count(struct input *input, uint64_t count, const char *unit)
{
    input->units += count;
    if (!input->bytes)
        return;
    double time = now();
    if (time - input->reported < SECONDS_BETWEEN_REPORTS)
        return;
    input->reported = time;
    double spent = time - input->started;
    double share = (double)gzoffset(input->file) / (double)input->bytes;
    if (share <= 0 || share > 1)
        return;
    unsigned left = (unsigned)(spent * (1 - share) / share + 0.5);
    fprintf(stderr, "\r%s: %3.0f %%  %.0f %s/s  %u:%02u left \033[K", program_name(), 100 * share,
            (double)input->units / spent, unit, left / 60, left % 60);
    input->line_shown = true;
}

void input_close(struct input *input)
{
    if (input->line_shown)
        fputs("\r\033[K", stderr);
    int problem = gzclose(input->file);
    if (problem != Z_OK && problem != Z_BUF_ERROR) /* a cut file was reported when it was read */
        die("%s: error on closing", input->name);
    free(input->name);
    free(input);
}
