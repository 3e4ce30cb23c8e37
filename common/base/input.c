#define _GNU_SOURCE /* F_SETPIPE_SZ */
#include "base/input.h"

#include "base/limits.h"
#include "base/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum {
    BUFFER_BYTES = 1 << 18,
    PIPE_BYTES = 1 << 20, /* some layers' records of a small model, which come in bursts */
    SIGNATURE_BYTES = 10, /* of the longest signature of a format */
    GZIP_WINDOW = 15 + 16, /* for inflateInit2: any window, with gzip's header and trailer */
};
static const double SECONDS_BETWEEN_REPORTS = 0.25;

enum form { FORM_NOT_READ, FORM_PLAIN, FORM_GZIP, FORM_ENDED };

struct input {
    int descriptor;
    char *name;
    enum form form;
    unsigned char *buffer; /* BUFFER_BYTES */
    z_stream inflating;    /* next_in, avail_in: bytes of buffer that are not used yet, also of plain input */
    uint64_t members;      /* of gzip, whole ones so far */
    bool in_member;        /* the last one has begun and is not whole */
    unsigned char head[SIGNATURE_BYTES]; /* of what gzip gave: its first bytes, of which some may be taken */
    size_t head_length, head_taken;
    uint64_t bytes_read; /* from the descriptor */
    bool at_end;         /* a terminal says so once, and would then wait for more */
    off_t bytes;         /* of a regular file that progress is shown for, or 0 */
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

bool input_exists_in(const char *folder, const char *name)
{
    char *path = format_string("%s/%s", folder, name);
    bool exists = input_exists(path);
    free(path);
    return exists;
}

struct input *input_open(const char *path)
{
    struct input *input = new_array(1, sizeof *input);
    input->name = copy_string(path ? path : "standard input");
    input->descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    struct stat status;
    if (input->descriptor < 0 || fstat(input->descriptor, &status) != 0)
        die("%s: %s", input->name, strerror(errno));
    if (S_ISDIR(status.st_mode))
        die("%s: is a directory, a file is needed", input->name);
    if (S_ISREG(status.st_mode) && isatty(STDERR_FILENO))
        input->bytes = status.st_size;
    if (S_ISFIFO(status.st_mode)) /* refused by some systems; then the two sides wait for each other more */
        fcntl(input->descriptor, F_SETPIPE_SZ, PIPE_BYTES);
    input->buffer = new_array(BUFFER_BYTES, 1);
    input->started = input->reported = now();
    return input;
}

void input_expect(const struct input *input, const char *what)
{
    if (isatty(input->descriptor))
        message_warn(
            "%s is a terminal, and %s is to be read from it: end it with Ctrl-D, or stop with Ctrl-C and "
            "give a file or a pipe",
            input->name, what);
}

/* ---- bytes as they come ---- */

/* Reads up to size bytes, at least one unless it is the end. */
static size_t read_raw(struct input *input, void *bytes, size_t size)
{
    enum { MAX_AT_ONCE = 1 << 30 };
    ssize_t got;
    if (input->at_end)
        return 0;
    do
        got = read(input->descriptor, bytes, size < MAX_AT_ONCE ? size : MAX_AT_ONCE);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        die("%s: %s", input->name, strerror(errno));
    input->bytes_read += (uint64_t)got;
    input->at_end = got == 0 && size;
    return (size_t)got;
}

/* Reads until there are so many unused bytes in the buffer, or it is the end. */
static void fill(struct input *input, size_t least)
{
    z_stream *unused = &input->inflating;
    if (unused->avail_in)
        memmove(input->buffer, unused->next_in, unused->avail_in);
    unused->next_in = input->buffer;
    while (unused->avail_in < least) {
        size_t got = read_raw(input, input->buffer + unused->avail_in, BUFFER_BYTES - unused->avail_in);
        if (!got)
            return;
        unused->avail_in += (unsigned)got;
    }
}

/* ---- formats ---- */

static bool is_gzip(const unsigned char *bytes, size_t length)
{
    return length >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

/* The program that reads files which begin so, other than those of gzip; NULL: it is none that compresses. */
static const char *other_format(const unsigned char *bytes, size_t length)
{
    static const struct {
        const char *reader;
        size_t length;
        const char *bytes;
    } formats[] = {
        {"bzcat", 10, "BZh\0" "1AY&SY"}, /* the fourth is the size of its blocks, a digit */
        {"xzcat", 6, "\xfd" "7zXZ"},
        {"zstdcat", 4, "\x28\xb5\x2f\xfd"},
    };
    unsigned char start[SIGNATURE_BYTES] = {0};
    memcpy(start, bytes, length);
    if (start[0] == 'B')
        start[3] = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (length >= formats[i].length && !memcmp(start, formats[i].bytes, formats[i].length))
            return formats[i].reader;
    return NULL;
}

/* ---- gzip ---- */

static _Noreturn void gzip_failed(const struct input *input, const char *problem)
{
    die("%s: damaged or cut gzip data (%s), behind %llu whole members", input->name, problem,
        (unsigned long long)input->members);
}

/* Gives up to size bytes. What follows a member is another one, or an error. */
static size_t read_gzip(struct input *input, unsigned char *bytes, size_t size)
{
    z_stream *inflating = &input->inflating;
    unsigned wanted = size < UINT_MAX ? (unsigned)size : UINT_MAX;
    inflating->next_out = bytes;
    inflating->avail_out = wanted;
    while (inflating->avail_out) {
        if (!inflating->avail_in)
            fill(input, 1);
        if (!inflating->avail_in && input->in_member)
            gzip_failed(input, "unexpected end of file");
        if (!inflating->avail_in)
            break;
        input->in_member = true;
        int result = inflate(inflating, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            die("%s: out of memory", input->name);
        if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END)
            gzip_failed(input, inflating->msg ? inflating->msg : "unknown error");
        if (result == Z_STREAM_END) {
            input->members++;
            input->in_member = false;
            inflateReset(inflating);
        }
    }
    return wanted - inflating->avail_out;
}

/* ---- all of it ---- */

static void begin(struct input *input)
{
    z_stream *unused = &input->inflating;
    fill(input, SIGNATURE_BYTES);
    size_t length = unused->avail_in < SIGNATURE_BYTES ? unused->avail_in : SIGNATURE_BYTES;
    const char *reader = other_format(unused->next_in, length);
    if (reader)
        die("%s: compressed, and not by gzip: pipe it in from %s", input->name, reader);
    input->form = is_gzip(unused->next_in, length) ? FORM_GZIP : FORM_PLAIN;
    if (input->form == FORM_PLAIN)
        return;
    if (inflateInit2(unused, GZIP_WINDOW) != Z_OK)
        die("%s: out of memory", input->name);
    input->head_length = read_gzip(input, input->head, SIGNATURE_BYTES);
    reader = is_gzip(input->head, input->head_length) ? "gunzip"
                                                      : other_format(input->head, input->head_length);
    if (reader)
        die("%s: compressed twice: pipe it in from zcat and %s", input->name, reader);
}

/* At the end, so that nothing can fail once it was read. */
static void end(struct input *input)
{
    if (input->form == FORM_GZIP)
        inflateEnd(&input->inflating);
    input->form = FORM_ENDED;
    if (close(input->descriptor) != 0)
        die("%s: error on closing: %s", input->name, strerror(errno));
}

/* Gives some of the next size bytes, 0 only at the end. */
static size_t read_some(struct input *input, unsigned char *bytes, size_t size)
{
    size_t head = input->head_length - input->head_taken, buffered = input->inflating.avail_in;
    if (input->form == FORM_ENDED || !size)
        return 0;
    if (head) {
        size_t taken = head < size ? head : size;
        memcpy(bytes, input->head + input->head_taken, taken);
        input->head_taken += taken;
        return taken;
    }
    if (input->form == FORM_GZIP)
        return read_gzip(input, bytes, size);
    if (!buffered)
        return read_raw(input, bytes, size);
    size_t taken = buffered < size ? buffered : size;
    memcpy(bytes, input->inflating.next_in, taken);
    input->inflating.next_in += taken;
    input->inflating.avail_in -= (unsigned)taken;
    return taken;
}

size_t input_read(struct input *input, void *buffer, size_t size)
{
    unsigned char *bytes = buffer;
    size_t got = 0, more = 1;
    if (input->form == FORM_NOT_READ)
        begin(input);
    for (; got < size && more; got += more)
        more = read_some(input, bytes + got, size - got);
    if (!more && input->form != FORM_ENDED)
        end(input);
    return got;
}

char *input_read_all(const char *path, const char *whose, size_t *length)
{
    enum { READ_BYTES = 1 << 16 };
    struct input *input = input_open(path);
    char *bytes = NULL;
    size_t capacity = 0;
    *length = 0;
    for (size_t got = 1; got; *length += got) {
        if (*length > MAX_FILE_BYTES)
            die("%s: longer than %d MiB; this is no %s file", path, MAX_FILE_BYTES >> 20, whose);
        bytes = reserve_array(bytes, &capacity, *length + READ_BYTES, 1);
        got = input_read(input, bytes + *length, READ_BYTES);
    }
    input_close(input);
    return bytes;
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
    double share = (double)(input->bytes_read - input->inflating.avail_in) / (double)input->bytes;
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
    if (input->form != FORM_ENDED)
        end(input);
    free(input->buffer);
    free(input->name);
    free(input);
}
