/*
 * A library to preload: makes a chosen call of a process fail, as a full disk, a bad one or
 * a system without memory does. tests/faults.py builds and uses it.
 *
 * NAME is read (also pread, readdir), write (pwrite, ftruncate, fallocate), rename (link), open (files and
 * folders, new ones too), stat, malloc and its like, or the call itself.
 *
 * FAILING_CALL  "NAME COUNT ERRNO MODE": the COUNT-th call (from 1) of NAME since main began
 *               fails with ERRNO; MODE once, forever (this one and all later ones), or
 *               short (of read and write: one byte only, without an error)
 * FAILING_SAID  a file that is made when the call has failed
 * FAILING_COUNT a file that gets the number of calls of each NAME at the end
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { READ, WRITE, CLOSE, FSYNC, RENAME, MALLOC, MMAP, OPEN, STAT, THREAD, FORK, PIPE, CALLS };
static const char *const names[CALLS] = {"read",   "write", "close", "fsync", "rename",
                                         "malloc", "mmap",  "open",  "stat",  "pthread_create",
                                         "fork",   "pipe"};

/* glibc's own, which need not be looked up: looking up allocates. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static struct {
    bool armed; /* main has begun: what happens before is the loader's */
    enum call call;
    long from;
    int reason;
    bool forever, is_short;
} fault = {.call = CALLS};
static atomic_long counts[CALLS];

/* What the call would have done. */
#define REAL(name) (__extension__(__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* To a file, by system calls, which nothing here stands in front of. */
static void note(const char *variable, const char *text)
{
    const char *path = getenv(variable);
    if (!path)
        return;
    long descriptor = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (descriptor >= 0) {
        syscall(SYS_write, descriptor, text, strlen(text));
        syscall(SYS_close, descriptor);
    }
}

/* Whether this call is the one; then errno is set, unless it is to be short. */
static bool fails(enum call call)
{
    if (!fault.armed)
        return false;
    long count = atomic_fetch_add(&counts[call], 1) + 1;
    if (call != fault.call || (fault.forever ? count < fault.from : count != fault.from))
        return false;
    if (count == fault.from)
        note("FAILING_SAID", "");
    if (!fault.is_short)
        errno = fault.reason;
    return true;
}

static void say_counts(void)
{
    char text[512] = "";
    for (int i = 0; i < CALLS; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s %ld\n", names[i], atomic_load(&counts[i]));
    }
    note("FAILING_COUNT", text);
}

static int (*real_main)(int, char **, char **);

static int armed_main(int argc, char **argv, char **environment)
{
    char name[32] = "", mode[32] = "";
    const char *text = getenv("FAILING_CALL");
    if (text && sscanf(text, "%31s %ld %d %31s", name, &fault.from, &fault.reason, mode) == 4) {
        for (int i = 0; i < CALLS; i++)
            if (!strcmp(names[i], name))
                fault.call = (enum call)i;
        fault.forever = !strcmp(mode, "forever");
        fault.is_short = !strcmp(mode, "short");
    }
    atexit(say_counts);
    fault.armed = true;
    return real_main(argc, argv, environment);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*begin)(void),
                      void (*end)(void), void (*loader_end)(void), void *stack)
{
    int (*real)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                void *);
    *(void **)&real = dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = main;
    return real(armed_main, argc, argv, begin, end, loader_end, stack);
}

/* ---- the calls ---- */

/* Whether a call that moves size bytes fails; of one that is to be short size is 1 then. */
static bool transfer_fails(enum call call, size_t *size)
{
    if (!fails(call))
        return false;
    if (fault.is_short && *size)
        *size = 1;
    return !fault.is_short;
}

ssize_t read(int descriptor, void *bytes, size_t size)
{
    return transfer_fails(READ, &size) ? -1 : REAL(read)(descriptor, bytes, size);
}

ssize_t write(int descriptor, const void *bytes, size_t size)
{
    return transfer_fails(WRITE, &size) ? -1 : REAL(write)(descriptor, bytes, size);
}

ssize_t pread(int descriptor, void *bytes, size_t size, off_t offset)
{
    return transfer_fails(READ, &size) ? -1 : REAL(pread)(descriptor, bytes, size, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    return transfer_fails(WRITE, &size) ? -1 : REAL(pwrite)(descriptor, bytes, size, offset);
}

int ftruncate(int descriptor, off_t size)
{
    return fails(WRITE) ? -1 : REAL(ftruncate)(descriptor, size);
}

int posix_fallocate(int descriptor, off_t offset, off_t size)
{
    return fails(WRITE) ? fault.reason : REAL(posix_fallocate)(descriptor, offset, size);
}

/* What was written and not kept, as the failure says: the last byte of a file that this process writes. */
static void lose(int descriptor)
{
    int reason = errno;
    struct stat status;
    if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY && REAL(fstat)(descriptor, &status) == 0
        && S_ISREG(status.st_mode) && status.st_size > 0
        && REAL(ftruncate)(descriptor, status.st_size - 1) != 0)
        abort();
    errno = reason;
}

/* The descriptor is gone all the same, as on Linux. */
int close(int descriptor)
{
    if (!fails(CLOSE))
        return REAL(close)(descriptor);
    lose(descriptor);
    int reason = errno;
    REAL(close)(descriptor);
    errno = reason;
    return -1;
}

static int synchronize(int descriptor, int (*real)(int))
{
    if (!fails(FSYNC))
        return real(descriptor);
    lose(descriptor);
    return -1;
}

int fsync(int descriptor)
{
    return synchronize(descriptor, REAL(fsync));
}

int fdatasync(int descriptor)
{
    return synchronize(descriptor, REAL(fdatasync));
}

int rename(const char *from, const char *to)
{
    return fails(RENAME) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to)
{
    return fails(RENAME) ? -1 : REAL(link)(from, to);
}

void *malloc(size_t size)
{
    return fails(MALLOC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(MALLOC) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(MALLOC) ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    return fails(MALLOC) ? ENOMEM : REAL(posix_memalign)(memory, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(MALLOC) ? NULL : REAL(aligned_alloc)(alignment, size);
}

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    return fails(MMAP) ? MAP_FAILED : REAL(mmap)(address, size, protection, flags, descriptor, offset);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return fails(OPEN) ? -1 : REAL(open)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return fails(OPEN) ? -1 : REAL(openat)(folder, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    return fails(OPEN) ? NULL : REAL(fopen)(path, mode);
}

int mkstemp(char *template)
{
    return fails(OPEN) ? -1 : REAL(mkstemp)(template);
}

char *mkdtemp(char *template)
{
    return fails(OPEN) ? NULL : REAL(mkdtemp)(template);
}

int mkdir(const char *path, mode_t mode)
{
    return fails(OPEN) ? -1 : REAL(mkdir)(path, mode);
}

DIR *opendir(const char *path)
{
    return fails(OPEN) ? NULL : REAL(opendir)(path);
}

struct dirent *readdir(DIR *folder)
{
    return fails(READ) ? NULL : REAL(readdir)(folder);
}

int stat(const char *path, struct stat *status)
{
    return fails(STAT) ? -1 : REAL(stat)(path, status);
}

int lstat(const char *path, struct stat *status)
{
    return fails(STAT) ? -1 : REAL(lstat)(path, status);
}

int fstat(int descriptor, struct stat *status)
{
    return fails(STAT) ? -1 : REAL(fstat)(descriptor, status);
}

int fstatat(int folder, const char *path, struct stat *status, int flags)
{
    return fails(STAT) ? -1 : REAL(fstatat)(folder, path, status, flags);
}

ssize_t readlink(const char *path, char *target, size_t size)
{
    return fails(STAT) ? -1 : REAL(readlink)(path, target, size);
}

int access(const char *path, int mode)
{
    return fails(STAT) ? -1 : REAL(access)(path, mode);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    return fails(THREAD) ? fault.reason : REAL(pthread_create)(thread, attributes, start, argument);
}

pid_t fork(void)
{
    return fails(FORK) ? -1 : REAL(fork)();
}

int pipe(int ends[2])
{
    return fails(PIPE) ? -1 : REAL(pipe)(ends);
}
