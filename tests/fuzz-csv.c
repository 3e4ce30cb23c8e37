/* A fuzzer of what reads CSV: tables, what readers noted, the report's tables and measures. */
#include "analysis/annotation.h"
#include "fuzz.h"
#include "table/csv_read.h"
#include "table/table_in.h"

#include <string.h>

static void count_fields(const struct csv_row *row, void *total)
{
    for (size_t i = 0; i < row->count; i++)
        *(size_t *)total += strlen(row->field[i]);
}

static void read_rows(void *path)
{
    size_t total = 0;
    csv_read(path, count_fields, &total);
}

static void read_table(void *path)
{
    static const char *const wanted[] = {"layer", "cell", "no such column", NULL};
    struct table_in table = table_in_read(path, wanted, 1);
    table_in_free(&table);
}

static void read_annotations(void *path)
{
    const char *const paths[] = {path};
    struct annotations annotations = annotations_read(paths, 1);
    annotations_keep_hidden(&annotations);
    annotations_free(&annotations);
}

static void read_csv(const uint8_t *bytes, size_t size)
{
    char path[4096];
    strcpy(path, fuzz_file("table.csv", bytes, size));
    fuzz_try(read_rows, path);
    fuzz_try(read_table, path);
    fuzz_try(read_annotations, path);
}

const struct fuzzer fuzzer = {read_csv, NULL, 1 << 20, 200};
