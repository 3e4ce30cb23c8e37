/* CSV tables in, as csv_read.h has them, whole ones with the columns that are wanted. */
#ifndef FFKV_TABLE_IN_H
#define FFKV_TABLE_IN_H

#include <stddef.h>
#include <stdint.h>

struct table_row {
    uint64_t line; /* where it begins, from 1 */
    char **field;  /* as many as there are columns wanted, in their order */
};

struct table_in {
    char *name;    /* of the file, for messages */
    struct table_row *row;
    size_t count, columns; /* rows; columns wanted */
    size_t capacity;       /* of row */
};

/*
 * Reads path (NULL: standard input), at most 64 MiB. The first line names the
 * columns: those wanted (NULL-terminated), in any order; others are passed over. The
 * first needed of those wanted must be there; of others that are not the fields are NULL.
 * Free with table_in_free.
 */
struct table_in table_in_read(const char *path, const char *const *wanted, size_t needed);
void table_in_free(struct table_in *table);

#endif
