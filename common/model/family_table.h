/* The families as a table, for forward-dump --models and the manual, which has the same. */
#ifndef FFKV_FAMILY_TABLE_H
#define FFKV_FAMILY_TABLE_H

/*
 * Writes CSV to path (NULL: standard output), a row a family: its name, model_type of config.json; where its
 * directories come from; its architecture in GGUF files, or nothing; the library that tests compare it with.
 */
void family_table_write(const char *path);

#endif
