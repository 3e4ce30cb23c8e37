#define _GNU_SOURCE /* O_TMPFILE */
#include "stream/waiting_records.h"

#include "base/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { PIECE = 1 << 20 }; /* that is read at once */

/* Bytes of the file. */
struct waiting_part {
    uint64_t begin;
    size_t size;
    uint64_t records;
};

struct waiting_file {
    const char *folder;
    int descriptor;
    _Atomic uint64_t end;  /* of the bytes that wait */
    atomic_size_t waiting; /* parts */
    unsigned char *piece;  /* PIECE */
};

/* Where the file system has no unnamed files. No signal comes between the two calls. */
static int open_named(const char *folder)
{
    char *path = format_string("%s/ffkv-XXXXXX", folder);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int descriptor = mkstemp(path);
    if (descriptor >= 0)
        unlink(path);
    int reason = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(path);
    errno = reason;
    return descriptor;
}

struct waiting_file *waiting_open(void)
{
    struct waiting_file *file = new_array(1, sizeof *file);
    const char *folder = getenv("TMPDIR");
    file->folder = folder && *folder ? folder : "/tmp";
    file->descriptor = open(file->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file->descriptor < 0)
        file->descriptor = open_named(file->folder);
    if (file->descriptor < 0)
        die("%s: cannot make a temporary file in it: %s; have TMPDIR name another folder", file->folder,
            strerror(errno));
    file->piece = new_array(PIECE, 1);
    return file;
}

void waiting_close(struct waiting_file *file)
{
    close(file->descriptor); /* nothing that anybody needs can be lost */
    free(file->piece);
    free(file);
}

static _Noreturn void failed(const struct waiting_file *file, const char *what, const char *reason)
{
    die("a temporary file in %s: cannot %s: %s; records of a layer wait in it for the layers after it: have"
        " TMPDIR name a folder with more room",
        file->folder, what, reason);
}

void waiting_add(struct waiting_file *file, struct waiting_records *records, msgpack_sbuffer *buffer,
                 uint64_t count)
{
    struct waiting_part part = {atomic_fetch_add(&file->end, buffer->size), buffer->size, count};
    for (size_t done = 0; done < part.size;) {
        ssize_t written =
            pwrite(file->descriptor, buffer->data + done, part.size - done, (off_t)(part.begin + done));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            failed(file, "write", written ? strerror(errno) : "nothing was written");
        done += (size_t)written;
    }
    records->part =
        reserve_array(records->part, &records->capacity, records->count + 1, sizeof *records->part);
    records->part[records->count++] = part;
    atomic_fetch_add(&file->waiting, 1);
    msgpack_sbuffer_clear(buffer);
}

static void write_part(struct waiting_file *file, const struct waiting_part *part,
                       struct stream_writer *writer)
{
    for (size_t done = 0; done < part->size;) {
        size_t wanted = part->size - done < PIECE ? part->size - done : PIECE;
        ssize_t got = pread(file->descriptor, file->piece, wanted, (off_t)(part->begin + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            failed(file, "read", got ? strerror(errno) : "it was cut");
        stream_append_bytes(writer, file->piece, (size_t)got);
        done += (size_t)got;
    }
    stream_count(writer, part->records);
}

void waiting_write(struct waiting_file *file, struct waiting_records *records, struct stream_writer *writer)
{
    for (size_t i = 0; i < records->count; i++)
        write_part(file, &records->part[i], writer);
    if (atomic_fetch_sub(&file->waiting, records->count) == records->count)
        atomic_store(&file->end, 0); /* the file grows no larger than what waits at once */
    records->count = 0;
}

void waiting_free(struct waiting_records *records)
{
    free(records->part);
    *records = (struct waiting_records){0};
}
