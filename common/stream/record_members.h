/*
 * The members of a record by their names. A member that is missing, of another type or size, or
 * out of range ends the program. fields.h reads all members of a kind of record by a table.
 */
#ifndef FFKV_RECORD_MEMBERS_H
#define FFKV_RECORD_MEMBERS_H

#include "stream/stream_reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool record_has(const struct record *record, const char *name);

/* Ends the program where the record's member called name is above most. */
void number_check(const struct stream_reader *reader, const char *name, uint64_t number, uint64_t most);
uint64_t record_number(const struct record *record, const char *name, uint64_t most);

/* Copies the array, which must have exactly count elements of size bytes, to elements. */
void record_copy(const struct record *record, const char *name, void *elements, size_t count,
                 size_t size);

/* The array, of *count elements of size bytes, in memory of its own, which the caller frees. */
void *record_array(const struct record *record, const char *name, size_t size, size_t *count);

/* The same of an array that must have exactly count elements. */
void *record_array_of(const struct record *record, const char *name, size_t count, size_t size);

#endif
