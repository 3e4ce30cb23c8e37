/*
 * The CSV tables that a report shows: whole ones, and rows that belong to a key; and the
 * list of experiments, which says what these tables and their figures are.
 */
#ifndef FFKV_REPORT_TABLES_H
#define FFKV_REPORT_TABLES_H

#include "base/json.h"

#include <stddef.h>

/*
 * {"columns": [text], "rows": [[text]], "count": rows in all}: of the rows the first
 * most. The caller decrefs it.
 */
json_t *table_json(const char *path, size_t most);

/*
 * Of the list of experiments (pipelines/paper.mk tells its columns), which messages call name,
 * the rows that have something to show: [{"table": its name without .csv, "figure": name,
 * "title": of the table, "caption": of the figure}], texts that may be empty, though not both
 * of the last two. The caller decrefs it.
 */
json_t *listed_results(const char *name, const char *bytes, size_t size);

/* Rows that belong to keys, by layer, cell, then file and row. */
struct keyed_rows {
    json_t *columns; /* those of the first file, which all must have */
    struct keyed_row {
        size_t layer, cell; /* both from 0 */
        size_t number;      /* in the order of reading */
        json_t *fields;     /* as many texts as there are columns */
    } *row;
    size_t count, next;     /* next: the first that was not taken */
    size_t capacity;        /* of row */
};

/*
 * Reads files with the columns layer, from 1, and cell, from 0, and others; the column
 * model, where there is one, must say model.
 */
struct keyed_rows keyed_rows_read(const char *const *paths, size_t count, const char *model);
void keyed_rows_free(struct keyed_rows *rows);

/* The fields of this key's rows, an array of arrays; keys must be asked for in their order. */
json_t *keyed_rows_take(struct keyed_rows *rows, size_t layer, size_t cell);

#endif
