/*
 * Data for a page that works from the file system, where a browser lets a script ask
 * for scripts only: files DATA/NAME.js that call ffkv_data("NAME", ...) with JSON.
 */
#ifndef FFKV_PAGE_DATA_H
#define FFKV_PAGE_DATA_H

#include "base/json.h"

#include <stddef.h>
#include <stdint.h>

/* Writes such a file into a folder; name is plain ASCII without quotes. Takes data over. */
void page_data_write(const char *folder, const char *name, json_t *data);

/*
 * A long list of numbers as a text with spaces between: a JSON value for each of some
 * ten million numbers would take most of the time. It begins as {0}.
 */
struct numbers {
    char *text;
    size_t length, capacity;
};

void numbers_add_integer(struct numbers *numbers, uint64_t integer);
void numbers_add_real(struct numbers *numbers, float real, int digits);

/* The text as JSON; numbers is {0} again. */
json_t *numbers_take(struct numbers *numbers);

#endif
