/*
 * What every program says and how it ends: diagnostics, exit statuses,
 * allocation that cannot fail silently.
 */
#ifndef FFKV_MESSAGES_H
#define FFKV_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>

enum exit_status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
};

/* Name put before every message; set once, by cli_parse. */
void set_program_name(const char *name);
const char *program_name(void);

/* "TOOL: message" on standard error. */
void message_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The message, then exit 1. Unfinished output files are removed. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The message, then exit 2. */
_Noreturn void die_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* No message, exit 1: somebody downstream has gone. */
_Noreturn void die_quietly(void);

/*
 * "TOOL: SUBJECT: MESSAGE", then exit 1, as die does, for handlers of signals: it does
 * nothing that is not safe there.
 */
_Noreturn void die_in_handler(const char *subject, const char *message);

/*
 * Has function called when the program ends in one of these ways; one function, from the
 * main thread, before others start. It must be safe in handlers of signals.
 */
void at_every_end(void (*function)(void));

/*
 * Allocation. Each ends the program when there is no memory or when
 * count * size overflows, so a product has no place in count. new_array zeroes; grow_array does not.
 */
void *new_array(size_t count, size_t size);
void *grow_array(void *array, size_t count, size_t size);

/*
 * The array with room for at least count items; *capacity, for how many there is room, 0 for
 * NULL, doubles, so that adding one after the other takes linear time.
 */
void *reserve_array(void *array, size_t *capacity, size_t count, size_t size);

/*
 * The same for one of many small arrays, with at most most items, of which count is no more:
 * room grows from a few on, and not beyond that.
 */
void *reserve_at_most(void *array, size_t *capacity, size_t count, size_t most, size_t size);

/* The doubling of reserve_array: at least count, which is more than capacity. */
size_t larger_capacity(size_t capacity, size_t count);

/* The count of a matrix: rows * columns. Ends the program when that overflows. */
size_t matrix_count(size_t rows, size_t columns);

/* Zeroed: a struct of head bytes and count elements of size bytes behind it. */
void *new_struct(size_t head, size_t count, size_t size);
char *copy_string(const char *string);
char *format_string(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether text ends with ending. */
bool ends_with(const char *text, const char *ending);

/* Whether text is one of list, which NULL ends. */
bool is_listed(const char *text, const char *const *list);

/* Zeroed, 64-byte aligned: for the vector loops, and for tables of cache lines; free with free(). */
void *new_aligned(size_t count, size_t size);
float *new_floats(size_t count);

#endif
