#include "table/table_in.h"

#include "base/limits.h"
#include "base/messages.h"
#include "table/csv_read.h"

#include <stdlib.h>
#include <string.h>

#define NO_COLUMN SIZE_MAX

struct reading {
    struct table_in *table;
    const char *const *wanted;
    size_t needed; /* of these */
    size_t *place; /* of each wanted column in the file, or NO_COLUMN */
    size_t bytes;  /* of fields, so far */
};

static void take_columns(struct reading *reading, const struct csv_row *row)
{
    struct table_in *table = reading->table;
    table->name = copy_string(row->file);
    for (size_t w = 0; w < table->columns; w++) {
        size_t found = 0;
        reading->place[w] = NO_COLUMN;
        for (size_t i = 0; i < row->count; i++)
            if (!strcmp(row->field[i], reading->wanted[w])) {
                reading->place[w] = i;
                found++;
            }
        if (found > 1)
            csv_fail(row, "the column %s is there %zu times", reading->wanted[w], found);
        if (found || w >= reading->needed)
            continue;
        if (row->count == 1 && strpbrk(row->field[0], ";\t"))
            csv_fail(row, "fields are separated by semicolons or tabs; save the file with commas");
        csv_fail(row, "there is no column %s; the first line must name the columns", reading->wanted[w]);
    }
}

static void take_row(const struct csv_row *from, void *data)
{
    struct reading *reading = data;
    struct table_in *table = reading->table;
    if (from->number == 0) {
        take_columns(reading, from);
        return;
    }
    table->row = reserve_array(table->row, &table->capacity, table->count + 1, sizeof *table->row);
    struct table_row *row = &table->row[table->count++];
    row->line = from->line;
    row->field = new_array(table->columns, sizeof *row->field);
    for (size_t w = 0; w < table->columns; w++) {
        if (reading->place[w] == NO_COLUMN)
            continue;
        row->field[w] = copy_string(from->field[reading->place[w]]);
        reading->bytes += strlen(row->field[w]) + 1;
    }
    if (reading->bytes > MAX_FILE_BYTES)
        csv_fail(from, "more than 64 MiB; such a table is not read");
}

struct table_in table_in_read(const char *path, const char *const *wanted, size_t needed)
{
    struct table_in table = {0};
    while (wanted[table.columns])
        table.columns++;
    struct reading reading = {&table, wanted, needed, new_array(table.columns, sizeof *reading.place), 0};
    csv_read(path, take_row, &reading);
    free(reading.place);
    return table;
}

void table_in_free(struct table_in *table)
{
    for (size_t i = 0; i < table->count; i++) {
        for (size_t j = 0; j < table->columns; j++)
            free(table->row[i].field[j]);
        free(table->row[i].field);
    }
    free(table->row);
    free(table->name);
    *table = (struct table_in){0};
}
