/*
 * A fuzzer (LLVM's libFuzzer) of what reads checkpoints: pickles, torch's two
 * forms, fairseq's settings and tensors. A refusal jumps back out of die(); what
 * was allocated until then is freed here. Seeds: the .pt files of fairseq-tiny.
 */
#define _GNU_SOURCE /* memfd_create */
#include "fairseq.h"
#include "messages.h"
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Before each piece of memory: a ring of all that are in use. */
struct piece {
    struct piece *before, *after;
};

/* Global because die() has no argument for them. */
static jmp_buf refused;
static struct piece ring = {&ring, &ring};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The sources under test are compiled with these names for malloc, free, mmap and munmap. */
void *fuzz_malloc(size_t size);
void fuzz_free(void *memory);
void *fuzz_mmap(void *place, size_t size, int protection, int flags, int descriptor, off_t offset);
int fuzz_munmap(void *memory, size_t size);

static void *link_piece(struct piece *piece)
{
    if (!piece)
        abort();
    *piece = (struct piece){ring.before, &ring};
    piece->before->after = piece->after->before = piece;
    return piece + 1;
}

static struct piece *unlink_piece(void *memory)
{
    struct piece *piece = (struct piece *)memory - 1;
    piece->before->after = piece->after;
    piece->after->before = piece->before;
    return piece;
}

void *fuzz_malloc(size_t size)
{
    return link_piece(malloc(sizeof(struct piece) + size));
}

void fuzz_free(void *memory)
{
    if (memory)
        free(unlink_piece(memory));
}

/* A copy, so that reading one byte too many is found. */
void *fuzz_mmap(void *place, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    (void)place, (void)protection, (void)flags;
    void *copy = fuzz_malloc(size);
    if (pread(descriptor, copy, size, offset) != (ssize_t)size)
        abort();
    return copy;
}

int fuzz_munmap(void *memory, size_t size)
{
    (void)size;
    fuzz_free(memory);
    return 0;
}

static _Noreturn void refuse(const char *format, va_list arguments)
{
    char line[4096];
    if (vsnprintf(line, sizeof line, format, arguments) < 0) /* so that what it prints is read */
        abort();
    longjmp(refused, 1);
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    refuse(format, arguments);
}

void *new_array(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        abort();
    return memset(fuzz_malloc(count * size), 0, count * size);
}

void *grow_array(void *array, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        abort();
    struct piece *piece = array ? unlink_piece(array) : NULL;
    return link_piece(realloc(piece, sizeof *piece + count * size));
}

char *format_string(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        abort();
    char *string = fuzz_malloc((size_t)length + 1);
    va_start(arguments, format);
    vsnprintf(string, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return string;
}

char *copy_string(const char *string)
{
    return format_string("%s", string);
}

static void import(const char *path)
{
    struct torch_file *file = torch_open(path);
    struct fairseq_model *model = fairseq_read(path, file);
    for (size_t i = 0; i < model->count; i++)
        fuzz_free(torch_tensor_read(file, &model->tensors[i].tensor));
    fairseq_free(model);
    torch_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int descriptor = memfd_create("checkpoint", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    if (descriptor < 0 || write(descriptor, bytes, size) != (ssize_t)size)
        abort();
    if (setjmp(refused) == 0)
        import(path);
    while (ring.after != &ring)
        fuzz_free(ring.after + 1);
    close(descriptor);
    /* torch_open's, which a refusal leaves open. */
    for (int other = descriptor + 1; other < descriptor + 4; other++)
        close(other);
    return 0;
}
