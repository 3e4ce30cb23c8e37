/*
 * Data for a page that works from the file system, where a browser lets a script ask
 * for scripts only: files DATA/NAME.js that call ffkv_data("NAME", ...) with JSON.
 */
#ifndef FFKV_PAGE_DATA_H
#define FFKV_PAGE_DATA_H

#include "json.h"

/* Writes such a file into a folder; name is plain ASCII without quotes. Takes data over. */
void page_data_write(const char *folder, const char *name, json_t *data);

#endif
