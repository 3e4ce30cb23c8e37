/*
 * CSV tables in, a row at a time: as RFC 4180 has them, in UTF-8 (a byte order mark may
 * come first, and any line ends), the first line naming the columns, whatever these are.
 * An apostrophe that keeps a text from being a formula is taken away (csv_cell.h).
 * Whatever is not such a table ends the program with file and line, and with what to do
 * where a spreadsheet is the likely reason.
 */
#ifndef FFKV_CSV_READ_H
#define FFKV_CSV_READ_H

#include <stddef.h>
#include <stdint.h>

struct csv_row {
    const char *file;
    uint64_t line;      /* where it begins, from 1 */
    uint64_t number;    /* of the row: 0 names the columns */
    size_t count;       /* as many as columns */
    char *const *field; /* count */
};

/* "FILE: line N: message", exit 1. */
_Noreturn void csv_fail(const struct csv_row *row, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Calls take with each row of path (NULL: standard input), and with data; the row holds
 * until take returns.
 */
void csv_read(const char *path, void (*take)(const struct csv_row *row, void *data), void *data);

/* The same of a table in memory, which messages call name. */
void csv_read_bytes(const char *name, const char *bytes, size_t size,
                    void (*take)(const struct csv_row *row, void *data), void *data);

#endif
