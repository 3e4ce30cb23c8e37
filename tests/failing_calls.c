/*
 * A library to preload: makes a chosen call of a process fail, as a full disk, a bad one or
 * a system without memory does. tests/faults.py builds and uses it.
 *
 * NAME is read (also pread, readdir, fread and its like), write (pwrite, ftruncate, fallocate,
 * copy_file_range, fwrite and its like), close (fclose), rename (link), open (files and folders, new ones
 * too), stat, malloc and its like, or the call itself. Messages, on standard error, do not fail.
 *
 * FAILING_CALL    "NAME COUNT ERRNO MODE": the COUNT-th call (from 1) of NAME since main began
 *                 fails with ERRNO; MODE once, forever (this one and all later ones), or
 *                 short (of read and write: one byte only, without an error)
 * FAILING_PROCESS "PROGRAM START HOW": only in the START-th process (from 1) of PROGRAM, HOW only, or also in
 *                 those that start after it, HOW later; without it in every one
 * FAILING_STARTS  the folder where processes count themselves, a file of each PROGRAM, a byte a process
 * FAILING_SAID    a file that is made when the call has failed
 * FAILING_COUNT   a file that gets the number of calls of each NAME at the end; where there are
 *                 FAILING_STARTS, behind the program and which of its processes this is
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
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef fread_unlocked /* glibc's macros, where it optimizes */
#undef fwrite_unlocked

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

/* Which process of this program it is, from 1; 0 where nobody counts them. */
static long count_start(void)
{
    const char *folder = getenv("FAILING_STARTS");
    char path[4096];
    if (!folder
        || (size_t)snprintf(path, sizeof path, "%s/%s", folder, program_invocation_short_name) >= sizeof path)
        return 0;
    long descriptor = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (descriptor < 0)
        return 0;
    syscall(SYS_write, descriptor, "x", 1);
    long start = syscall(SYS_lseek, descriptor, 0L, SEEK_CUR); /* behind its own byte */
    syscall(SYS_close, descriptor);
    return start;
}

static long start;

static void say_counts(void)
{
    char text[512] = "";
    if (start)
        snprintf(text, sizeof text, "process %s %ld\n", program_invocation_short_name, start);
    for (int i = 0; i < CALLS; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s %ld\n", names[i], atomic_load(&counts[i]));
    }
    note("FAILING_COUNT", text);
}

static int (*real_main)(int, char **, char **);

/* Whether the call is to fail in this process. */
static bool is_chosen(void)
{
    const char *text = getenv("FAILING_PROCESS");
    char program[64] = "", how[32] = "";
    long wanted = 0;
    if (!text)
        return true;
    return sscanf(text, "%63s %ld %31s", program, &wanted, how) == 3
           && !strcmp(program, program_invocation_short_name)
           && (start == wanted || (start > wanted && !strcmp(how, "later")));
}

static int armed_main(int argc, char **argv, char **environment)
{
    char name[32] = "", mode[32] = "";
    const char *text = getenv("FAILING_CALL");
    start = count_start();
    if (text && is_chosen()
        && sscanf(text, "%31s %ld %d %31s", name, &fault.from, &fault.reason, mode) == 4) {
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
    return descriptor != STDERR_FILENO && transfer_fails(WRITE, &size) ? -1
                                                                       : REAL(write)(descriptor, bytes, size);
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

/* What is in its buffer is lost, as by a write that fails. */
int fclose(FILE *stream)
{
    if (stream == stderr || !fails(CLOSE))
        return REAL(fclose)(stream);
    int reason = errno;
    __fpurge(stream);
    REAL(fclose)(stream);
    errno = reason;
    return EOF;
}

/* Of streams: one that has failed says so when it is asked. */
static bool stream_fails(enum call call, FILE *stream)
{
    if (stream == stderr || fault.is_short || !fails(call))
        return false;
    stream->_flags |= 0x20; /* glibc's, which ferror looks at */
    return true;
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream)
{
    return stream_fails(WRITE, stream) ? 0 : REAL(fwrite)(bytes, size, count, stream);
}

size_t fwrite_unlocked(const void *bytes, size_t size, size_t count, FILE *stream)
{
    return stream_fails(WRITE, stream) ? 0 : REAL(fwrite_unlocked)(bytes, size, count, stream);
}

int fputs(const char *text, FILE *stream)
{
    return stream_fails(WRITE, stream) ? EOF : REAL(fputs)(text, stream);
}

int fputs_unlocked(const char *text, FILE *stream)
{
    return stream_fails(WRITE, stream) ? EOF : REAL(fputs_unlocked)(text, stream);
}

size_t fread(void *bytes, size_t size, size_t count, FILE *stream)
{
    return stream_fails(READ, stream) ? 0 : REAL(fread)(bytes, size, count, stream);
}

size_t fread_unlocked(void *bytes, size_t size, size_t count, FILE *stream)
{
    return stream_fails(READ, stream) ? 0 : REAL(fread_unlocked)(bytes, size, count, stream);
}

ssize_t getdelim(char **line, size_t *size, int delimiter, FILE *stream)
{
    return stream_fails(READ, stream) ? -1 : REAL(getdelim)(line, size, delimiter, stream);
}

ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags)
{
    return transfer_fails(WRITE, &size)
               ? -1
               : REAL(copy_file_range)(from, from_offset, to, to_offset, size, flags);
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

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return fails(RENAME) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return fails(RENAME) ? -1 : REAL(renameat2)(from_folder, from, to_folder, to, flags);
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

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

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
