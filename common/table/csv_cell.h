/*
 * Texts in CSV that a spreadsheet must not take for formulas (ffkv(7), FILES): one that is
 * any number of apostrophes and then =, +, -, @, a tab or the end of a line has one more
 * apostrophe in the file. Both functions are each other's inverse, on every text.
 */
#ifndef FFKV_CSV_CELL_H
#define FFKV_CSV_CELL_H

/* The text as it is in a file, before quotation marks. The caller frees it. */
char *csv_cell(const char *text);

/* The text that a field stands for: part of the field. */
const char *csv_cell_text(const char *field);

#endif
