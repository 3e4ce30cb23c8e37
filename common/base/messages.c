#include "base/messages.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Written once before any thread starts, read by every message. */
static const char *the_program_name = "ffkv";

void set_program_name(const char *name)
{
    the_program_name = name;
}

const char *program_name(void)
{
    return the_program_name;
}

static void say(const char *format, va_list arguments)
{
    /* One write, so that the messages of a pipeline's stages do not mix. */
    char line[4096];
    int used = snprintf(line, sizeof line, "%s: ", the_program_name);
    vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    /* What a file says goes into messages: it must not make lines or steer the terminal. */
    for (char *character = line; *character; character++)
        if ((unsigned char)*character < ' ' || *character == 0x7f)
            *character = '?';
    strcat(line, "\n");
    fputs(line, stderr);
}

void warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

/*
 * The first thread that ends the program speaks; any other waits for the end.
 * Destructors do not run: they would take the libraries from under the threads
 * that still work.
 */
static void be_the_last(void)
{
    static atomic_flag ending = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&ending))
        for (;;)
            pause();
}

void die(const char *format, ...)
{
    va_list arguments;
    be_the_last();
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    quick_exit(STATUS_FAILED);
}

void die_usage(const char *format, ...)
{
    va_list arguments;
    be_the_last();
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    quick_exit(STATUS_USAGE);
}

void die_quietly(void)
{
    be_the_last();
    quick_exit(STATUS_FAILED);
}

void *new_array(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size ? size : 1);
    if (!array)
        die("out of memory (%zu items of %zu bytes)", count, size);
    return array;
}

void *grow_array(void *array, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        die("out of memory (%zu items of %zu bytes)", count, size);
    void *grown = realloc(array, count && size ? count * size : 1);
    if (!grown)
        die("out of memory (%zu items of %zu bytes)", count, size);
    return grown;
}

char *copy_string(const char *string)
{
    return format_string("%s", string);
}

char *format_string(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        die("cannot format a string");
    char *string = new_array((size_t)length + 1, 1);
    va_start(arguments, format);
    vsnprintf(string, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return string;
}

void *new_aligned(size_t count, size_t size)
{
    enum { ALIGNMENT = 64 };
    if (size && count > (SIZE_MAX - ALIGNMENT) / size)
        die("out of memory (%zu items of %zu bytes)", count, size);
    size_t bytes = (count * size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *array = aligned_alloc(ALIGNMENT, bytes);
    if (!array)
        die("out of memory (%zu items of %zu bytes)", count, size);
    return memset(array, 0, bytes);
}

float *new_floats(size_t count)
{
    return new_aligned(count, sizeof(float));
}
