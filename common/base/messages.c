#include "base/messages.h"

#include <signal.h>
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

enum { MAX_LINE = 4096 };

/* What a file says goes into messages: it must not make lines or steer the terminal. */
static void end_line(char line[MAX_LINE])
{
    for (char *character = line; *character; character++)
        if ((unsigned char)*character < ' ' || *character == 0x7f)
            *character = '?';
    strcat(line, "\n");
}

static void say(const char *format, va_list arguments)
{
    /* One write, so that the messages of a pipeline's stages do not mix. */
    char line[MAX_LINE];
    int used = snprintf(line, sizeof line, "%s: ", the_program_name);
    vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    end_line(line);
    fputs(line, stderr);
}

void message_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

/*
 * The first thread that ends the program speaks; any other waits for the end.
 * Destructors do not run: they would take the libraries from under the threads
 * that still work. A thread that is ending already may be interrupted by a signal
 * whose handler ends the program.
 */
static void be_the_last(void)
{
    static atomic_flag ending = ATOMIC_FLAG_INIT;
    static _Thread_local volatile sig_atomic_t is_the_last;
    if (!is_the_last && atomic_flag_test_and_set(&ending))
        for (;;)
            pause();
    is_the_last = 1;
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

/* Written by the main thread before any other starts, read by handlers of signals. */
static void (*volatile clean_up)(void);

void at_every_end(void (*function)(void))
{
    clean_up = function;
    if (atexit(function) != 0 || at_quick_exit(function) != 0)
        die("cannot arrange for temporary files to be removed");
}

/* Appends as much of text as there is room for, and leaves room for a line's end. */
static void append(char line[MAX_LINE], const char *text)
{
    strncat(line, text, MAX_LINE - 2 - strlen(line));
}

void die_in_handler(const char *subject, const char *message)
{
    char line[MAX_LINE] = "";
    be_the_last();
    if (clean_up)
        clean_up();
    append(line, the_program_name);
    append(line, ": ");
    append(line, subject);
    append(line, ": ");
    append(line, message);
    end_line(line);
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written; /* there is nobody left to tell */
    _exit(STATUS_FAILED);
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

size_t larger_capacity(size_t capacity, size_t count)
{
    enum { SMALLEST = 16 };
    size_t larger = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity < SMALLEST / 2 ? SMALLEST : 2 * capacity;
    return larger < count ? count : larger;
}

void *reserve_array(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity)
        return array;
    *capacity = larger_capacity(*capacity, count);
    return grow_array(array, *capacity, size);
}

void *reserve_at_most(void *array, size_t *capacity, size_t count, size_t most, size_t size)
{
    enum { FEW = 4 };
    if (count <= *capacity)
        return array;
    size_t larger = *capacity > most / 2 ? most : *capacity ? 2 * *capacity : FEW;
    larger = larger > most ? most : larger;
    *capacity = larger < count ? count : larger;
    return grow_array(array, *capacity, size);
}

size_t matrix_count(size_t rows, size_t columns)
{
    if (columns && rows > SIZE_MAX / columns)
        die("out of memory (%zu rows of %zu items)", rows, columns);
    return rows * columns;
}

void *new_struct(size_t head, size_t count, size_t size)
{
    size_t behind = matrix_count(count, size);
    if (behind > SIZE_MAX - head)
        die("out of memory (%zu items of %zu bytes)", count, size);
    return new_array(head + behind, 1);
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

bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), end_length = strlen(ending);
    return length >= end_length && !strcmp(text + length - end_length, ending);
}

bool is_listed(const char *text, const char *const *list)
{
    while (*list && strcmp(*list, text))
        list++;
    return *list;
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
