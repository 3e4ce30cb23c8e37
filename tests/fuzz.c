#define _GNU_SOURCE /* memmem */
#include "fuzz.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include "base/messages.h"

#include <dirent.h>
#include <fcntl.h>
#include <pcre2.h>
#include <sanitizer/allocator_interface.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_BLOCKS = 1 << 21, MAX_OPEN_FILES = 16, MAX_DESCRIPTORS = 32 };

/* A stream of fopen, or of open_memstream: its text and length, and where the caller wants them. */
struct open_file {
    FILE *file;
    char *text, **to_text; /* NULL: of fopen */
    size_t length, *to_length;
};

/* Global because malloc and die() have no argument for them. */
static _Thread_local bool watching; /* libFuzzer has threads of its own */
static void *blocks[MAX_BLOCKS];   /* allocated while watching, and perhaps free again */
static size_t block_count, most_bytes;
static struct open_file open_files[MAX_OPEN_FILES];
static jmp_buf *refusal;
static char folder[] = "/dev/shm/ffkv-fuzz-XXXXXX", path[4096]; /* in memory: a disk is waited for */

int LLVMFuzzerInitialize(int *argument_count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The linker puts these in the place of the functions (--wrap). */
_Noreturn void __wrap_die(const char *format, ...);
_Noreturn void __wrap_die_usage(const char *format, ...);
void __wrap_message_warn(const char *format, ...);
void *__wrap_mmap(void *place, size_t size, int protection, int flags, int descriptor, off_t offset);
void *__real_mmap(void *place, size_t size, int protection, int flags, int descriptor, off_t offset);
int __wrap_munmap(void *memory, size_t size);
int __real_munmap(void *memory, size_t size);
FILE *__wrap_open_memstream(char **text, size_t *length);
FILE *__real_open_memstream(char **text, size_t *length);
FILE *__wrap_fopen(const char *name, const char *mode);
FILE *__real_fopen(const char *name, const char *mode);
int __wrap_fclose(FILE *file);
int __real_fclose(FILE *file);
int __wrap_pcre2_jit_compile_8(pcre2_code *code, uint32_t options);
pcre2_jit_stack *__wrap_pcre2_jit_stack_create_8(size_t least, size_t most, pcre2_general_context *context);

/* ---- memory ---- */

static void on_malloc(const volatile void *block, size_t size)
{
    if (!watching || !block)
        return;
    if (size > most_bytes || block_count == MAX_BLOCKS) {
        watching = false;
        fprintf(stderr, "an allocation of %zu bytes, after %zu; %zu are in proportion\n", size, block_count,
                most_bytes);
        abort();
    }
    blocks[block_count++] = (void *)(uintptr_t)block;
}

static void on_free(const volatile void *block)
{
    (void)block;
}

/* Frees what is left of the blocks behind the first ones; how many there were. */
static size_t free_behind(size_t first)
{
    size_t left = 0;
    while (block_count > first)
        if (__sanitizer_get_ownership(blocks[--block_count])) {
            free(blocks[block_count]);
            left++;
        }
    return left;
}

/* A copy, so that reading one byte too many is found. */
void *__wrap_mmap(void *place, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    if (!watching)
        return __real_mmap(place, size, protection, flags, descriptor, offset);
    void *copy = new_array(size, 1);
    if (pread(descriptor, copy, size, offset) != (ssize_t)size)
        abort();
    return copy;
}

int __wrap_munmap(void *memory, size_t size)
{
    if (!watching)
        return __real_munmap(memory, size);
    free(memory);
    return 0;
}

/* ---- open streams: a refusal closes them, when the variables of those in memory may be gone ---- */

static struct open_file *new_open_file(void)
{
    struct open_file *open = open_files;
    while (open->file)
        if (++open == open_files + MAX_OPEN_FILES)
            abort();
    return open;
}

FILE *__wrap_open_memstream(char **text, size_t *length)
{
    struct open_file *open = new_open_file();
    *open = (struct open_file){.to_text = text, .to_length = length};
    return open->file = __real_open_memstream(&open->text, &open->length);
}

FILE *__wrap_fopen(const char *name, const char *mode)
{
    FILE *file = __real_fopen(name, mode);
    if (watching && file)
        *new_open_file() = (struct open_file){.file = file};
    return file;
}

int __wrap_fclose(FILE *file)
{
    int status = __real_fclose(file);
    for (struct open_file *open = open_files; open < open_files + MAX_OPEN_FILES; open++)
        if (open->file == file) {
            if (open->to_text) {
                *open->to_text = open->text;
                *open->to_length = open->length;
            }
            open->file = NULL;
        }
    return status;
}

static void close_open_files(void)
{
    for (struct open_file *open = open_files; open < open_files + MAX_OPEN_FILES; open++)
        if (open->file) {
            __real_fclose(open->file);
            open->file = NULL;
        }
}

/* ---- compiled patterns, whose memory is not malloc's: PCRE2 interprets them instead ---- */

int __wrap_pcre2_jit_compile_8(pcre2_code *code, uint32_t options)
{
    (void)code, (void)options;
    return PCRE2_ERROR_JIT_BADOPTION;
}

pcre2_jit_stack *__wrap_pcre2_jit_stack_create_8(size_t least, size_t most, pcre2_general_context *context)
{
    (void)least, (void)most, (void)context;
    return NULL;
}

/* ---- refusals ---- */

/* Formats a message, so that what it prints is read. */
static void format_message(const char *format, va_list arguments)
{
    char line[4096];
    if (vsnprintf(line, sizeof line, format, arguments) < 0)
        abort();
}

void __wrap_message_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    format_message(format, arguments);
    va_end(arguments);
}

/* Formats the message, and jumps back. */
static _Noreturn void refuse(const char *format, va_list arguments)
{
    format_message(format, arguments);
    longjmp(*refusal, 1);
}

void __wrap_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    refuse(format, arguments);
}

void __wrap_die_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    refuse(format, arguments);
}

bool fuzz_try(void (*work)(void *context), void *context)
{
    jmp_buf here, *outer = refusal;
    const size_t first = block_count;
    refusal = &here;
    bool refused = setjmp(here) != 0;
    if (refused) {
        close_open_files();
        free_behind(first);
    } else {
        work(context);
    }
    refusal = outer;
    return !refused;
}

/* ---- files ---- */

const char *fuzz_folder(void)
{
    return folder;
}

const char *fuzz_file(const char *name, const uint8_t *bytes, size_t size)
{
    bool was_watching = watching;
    watching = false;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
    watching = was_watching;
    return path;
}

static void remove_folder(void)
{
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        remove(path);
    }
    closedir(directory);
    rmdir(folder);
}

/* The next line "%% NAME", or the end. */
static const uint8_t *next_file(const uint8_t *at, const uint8_t *end)
{
    static const char mark[] = "\n%% ";
    const uint8_t *found = memmem(at, (size_t)(end - at), mark, sizeof mark - 1);
    return found ? found + 1 : end;
}

void fuzz_files(const uint8_t *bytes, size_t size, const char *const *names)
{
    enum { MARK = 3 }; /* "%% " */
    for (const char *const *name = names; *name; name++) {
        snprintf(path, sizeof path, "%s/%s", folder, *name);
        remove(path);
    }
    for (const uint8_t *at = bytes, *end = bytes + size, *next; at < end; at = next) {
        next = next_file(at, end);
        const uint8_t *line_end = memchr(at, '\n', (size_t)(next - at));
        const uint8_t *content_end =
            next < end && next - 1 > line_end ? next - 1 : next; /* the line feed is the mark's */
        for (const char *const *name = names; line_end && *name; name++)
            if ((size_t)(line_end - at) == MARK + strlen(*name) && !memcmp(at + MARK, *name, strlen(*name)))
                fuzz_file(*name, line_end + 1, (size_t)(content_end - line_end - 1));
    }
}

/* ---- the fuzzer ---- */

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    (void)argument_count, (void)arguments;
    if (!mkdtemp(folder) || atexit(remove_folder) != 0) {
        perror(folder);
        return -1;
    }
    if (fuzzer.prepare)
        fuzzer.prepare();
    return __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0 ? 0 : -1;
}

struct input {
    const uint8_t *bytes;
    size_t size;
};

static void read_input(void *context)
{
    const struct input *input = context;
    fuzzer.read(input->bytes, input->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input input = {bytes, size};
    bool was_open[MAX_DESCRIPTORS];
    for (int i = 0; i < MAX_DESCRIPTORS; i++)
        was_open[i] = fcntl(i, F_GETFD) != -1;
    most_bytes = fuzzer.overhead + fuzzer.multiple * size;
    block_count = 0;
    watching = true;
    fuzz_try(read_input, &input);
    watching = false;
    if (free_behind(0)) {
        fprintf(stderr, "memory is left when all was read and closed\n");
        abort();
    }
    /* Those that a refusal leaves open. */
    for (int i = 0; i < MAX_DESCRIPTORS; i++)
        if (!was_open[i])
            close(i);
    return 0;
}
