/*
 * Tables out, with texts that a spreadsheet does not take for formulas (csv_cell.h): CSV, as
 * RFC 4180 has it but for line ends, one \n; or TSV, fields between tabs, in which \t, \n, \r
 * and \\ stand for a tab, the ends of a line, and a backslash, so that a line is a row.
 */
#ifndef FFKV_TABLE_H
#define FFKV_TABLE_H

#include "table/statistics.h"

#include <stddef.h>
#include <stdint.h>

struct table;

/* Opens path (NULL: standard output) and writes the columns' names, NULL-terminated. */
struct table *table_open(const char *path, const char *const *columns);
struct table *table_open_tsv(const char *path, const char *const *columns);

/* Names of the columns of a share's interval, which are a row's last ones, and of a mean's quartiles. */
#define INTERVAL_COLUMNS(share) share "_low", share "_high"
#define QUARTILE_COLUMNS(mean) mean "_p25", mean "_p50", mean "_p75"

/* The next field of a row; after the last column the next row begins. */
void table_number(struct table *table, uint64_t number);
void table_layer(struct table *table, size_t layer); /* as layer_shown */
void table_real(struct table *table, double real); /* NaN, "not defined", is an empty field */
void table_interval(struct table *table, struct interval interval); /* two fields: low, high */
/* Three fields: p25, p50, p75 of sorted numbers, as statistics_quantile. */
void table_quartiles(struct table *table, const double *sorted, size_t count);
void table_text(struct table *table, const char *text);
void table_own_text(struct table *table, char *text); /* which it frees */

/* Completes the file. Frees table. */
void table_finish(struct table *table);

#endif
