/*
 * Coverage-guided fuzzing of common/gguf.c and common/quantized.c: opens what it
 * is given, then asks every key for every type and every tensor for its numbers.
 * make fuzz builds and runs it, with the seeds of gguf_seeds.py.
 *
 * In place of common/mapping.c and common/messages.c: the "file" is memory of just
 * its size, so that a sanitizer sees every read behind it; die() returns here; and
 * allocation beyond a small multiple of the file is a finding. State is global, as
 * the fuzzer calls one function again and again.
 */
#include "gguf.h"
#include "mapping.h"
#include "messages.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BLOCKS = 1 << 16, TYPES = 8, OVERHEAD = 4096, MULTIPLE = 32, MOST_ELEMENTS = 1 << 16 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
void __real_free(void *block);
void __wrap_free(void *block);

static jmp_buf refusal;
static struct mapping input;
static void *blocks[MOST_BLOCKS]; /* allocated and not yet free */
static size_t block_count, allocated;

static void *keep(void *block)
{
    if (!block || block_count == MOST_BLOCKS)
        abort();
    return blocks[block_count++] = block;
}

void __wrap_free(void *block)
{
    for (size_t i = block_count; i-- > 0;)
        if (blocks[i] == block) {
            blocks[i] = blocks[--block_count];
            break;
        }
    __real_free(block);
}

void *new_array(size_t count, size_t size)
{
    if (size && count > (OVERHEAD + MULTIPLE * input.size) / size)
        abort(); /* more than in proportion to the file */
    allocated += count * size;
    return keep(calloc(count ? count : 1, size ? size : 1));
}

float *new_floats(size_t count)
{
    return new_array(count, sizeof(float));
}

char *copy_string(const char *string)
{
    return strcpy(new_array(strlen(string) + 1, 1), string);
}

_Noreturn void die(const char *format, ...)
{
    (void)format;
    longjmp(refusal, 1);
}

struct mapping mapping_open(const char *path, size_t least, const char *format)
{
    if (input.size < least)
        die("%s: not a %s file", path, format);
    return input;
}

void mapping_close(struct mapping *mapping)
{
    (void)mapping;
}

static void get(const struct gguf *file, const char *key, int type)
{
    size_t count;
    switch (type) {
    case 0: gguf_text(file, key); break;
    case 1: free(gguf_word(file, key)); break;
    case 2: gguf_uint(file, key, 0, UINT64_MAX); break;
    case 3: gguf_real(file, key); break;
    case 4: gguf_bool(file, key); break;
    case 5: free(gguf_texts(file, key, &count)); break;
    case 6: free(gguf_ints(file, key, &count)); break;
    default: free(gguf_floats(file, key, &count)); break;
    }
}

/* Frees what was allocated behind the first blocks. */
static void free_behind(size_t first)
{
    while (block_count > first)
        __wrap_free(blocks[block_count - 1]); /* of free() the compiler assumes that it leaves blocks alone */
}

static void get_all(const struct gguf *file)
{
    const size_t kept = block_count;
    for (volatile size_t i = 0; i < gguf_keys(file); i++)
        for (volatile int type = 0; type < TYPES; type++)
            if (!setjmp(refusal))
                get(file, gguf_key(file, i), type);
            else
                free_behind(kept); /* die() leaves its memory to the system */
}

static void read_all(const struct gguf *file)
{
    static float values[MOST_ELEMENTS];
    for (volatile size_t i = 0; i < gguf_tensors(file); i++) {
        size_t length[GGUF_DIMENSIONS];
        gguf_format(file, gguf_tensor(file, i), length);
        if (length[0] && length[1] <= MOST_ELEMENTS / length[0] && !setjmp(refusal)) {
            gguf_map(file, gguf_tensor(file, i), length[1], length[0]);
            gguf_read(file, gguf_tensor(file, i), length[1], length[0], values);
        }
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    input = (struct mapping){copy, size};
    allocated = 0;
    if (!setjmp(refusal)) {
        struct gguf *file = gguf_open("input");
        if (allocated > OVERHEAD + MULTIPLE * size)
            abort();
        get_all(file);
        read_all(file);
        if (!setjmp(refusal))
            gguf_close(file);
        if (block_count)
            abort(); /* a leak */
    }
    free_behind(0);
    __real_free(copy);
    return 0;
}
