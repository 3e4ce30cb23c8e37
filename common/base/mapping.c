#define _DEFAULT_SOURCE /* madvise */
#include "base/mapping.h"

#include "base/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The mappings that exist now. Global because a signal handler must find them. Beyond this many
 * at once, more than a model has files, the first ones are forgotten.
 */
enum { MAX_WATCHED = 1024 };
static struct watched {
    const unsigned char *volatile bytes; /* NULL: unused */
    volatile size_t size;
    char *volatile path;
    struct stat status; /* when it was mapped */
} all_watched[MAX_WATCHED];

/* A file's bytes are gone. Any other bus error ends the program as it always does. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    const uintptr_t place = (uintptr_t)info->si_addr;
    for (size_t i = 0; info->si_code > 0 && i < MAX_WATCHED; i++) {
        const struct watched *watched = &all_watched[i];
        /* The last page lies in the mapping as a whole; its bytes behind the file's are 0. */
        if (watched->bytes && place - (uintptr_t)watched->bytes < watched->size)
            die_in_handler(watched->path, "was cut short, or cannot be read any more, while it was in use: "
                           "start again when it is whole");
    }
    signal(number, SIG_DFL);
    raise(number); /* which waits until this handler is left */
}

/* For a mapping at bytes; whatever was said to be there is there no longer. */
static struct watched *unused_watched(const unsigned char *bytes)
{
    static size_t oldest;
    for (size_t i = 0; i < MAX_WATCHED; i++)
        if (all_watched[i].bytes == bytes)
            return &all_watched[i];
    for (size_t i = 0; i < MAX_WATCHED; i++)
        if (!all_watched[i].bytes)
            return &all_watched[i];
    return &all_watched[oldest++ % MAX_WATCHED];
}

static void watch(const struct mapping *mapping, int descriptor, const char *path)
{
    static bool is_watching;
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    if (!is_watching && sigaction(SIGBUS, &action, NULL) != 0)
        die("cannot watch files: %s", strerror(errno));
    is_watching = true;
    struct watched *watched = unused_watched(mapping->bytes);
    watched->bytes = NULL;
    if (fstat(descriptor, &watched->status) != 0)
        die("%s: %s", path, strerror(errno));
    watched->path = copy_string(path);
    watched->size = mapping->size;
    watched->bytes = mapping->bytes; /* last: a handler that sees it sees all */
}

struct mapping mapping_make(int descriptor, const char *path, size_t size)
{
    struct mapping mapping = {NULL, size};
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED)
        die("%s: cannot map: %s", path, strerror(errno));
    mapping.bytes = bytes;
    watch(&mapping, descriptor, path);
    return mapping;
}

struct mapping mapping_open(const char *path, size_t least, const char *format)
{
    struct stat status;
    /* O_NONBLOCK: not to wait for a named pipe's other end. It does nothing to files. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        die("%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode) || (uintmax_t)status.st_size < least
        || (uintmax_t)status.st_size > SIZE_MAX)
        die("%s: not a %s file", path, format);
    struct mapping mapping = mapping_make(descriptor, path, (size_t)status.st_size);
    close(descriptor);
    return mapping;
}

/* Whether the file has been written to. Another one under its name leaves the mapping as it was. */
static bool has_changed(const struct watched *watched)
{
    const struct stat *then = &watched->status;
    struct stat now;
    if (stat(watched->path, &now) != 0)
        return errno != ENOENT;
    return now.st_dev == then->st_dev && now.st_ino == then->st_ino
        && (now.st_size != then->st_size || now.st_mtim.tv_sec != then->st_mtim.tv_sec
            || now.st_mtim.tv_nsec != then->st_mtim.tv_nsec);
}

void mappings_check(void)
{
    for (size_t i = 0; i < MAX_WATCHED; i++)
        if (all_watched[i].bytes && has_changed(&all_watched[i]))
            die("%s: was written to while it was in use: start again when it is whole", all_watched[i].path);
}

void mapping_drop_pages(const void *bytes, size_t size)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)bytes + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)bytes + size) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED); /* where it fails, they are not dropped */
}

void mapping_hash(const void *bytes, size_t size, struct hash *hash, struct hash *own)
{
    enum { CHUNK = 1 << 18, /* stays in the cache */ MAX_PAGES = 1 << 25 };
    const unsigned char *begin = bytes;
    for (size_t done = 0; done < size; done += CHUNK) {
        size_t count = size - done < CHUNK ? size - done : CHUNK;
        hash_add(hash, begin + done, count);
        if (own)
            hash_add(own, begin + done, count);
        if (done % MAX_PAGES == MAX_PAGES - CHUNK)
            mapping_drop_pages(begin + done + CHUNK - MAX_PAGES, MAX_PAGES);
    }
    mapping_drop_pages(bytes, size);
}

void mapping_close(struct mapping *mapping)
{
    for (size_t i = 0; i < MAX_WATCHED; i++)
        if (all_watched[i].bytes == mapping->bytes) {
            all_watched[i].bytes = NULL;
            free(all_watched[i].path);
        }
    munmap((void *)(uintptr_t)mapping->bytes, mapping->size);
    *mapping = (struct mapping){0};
}
