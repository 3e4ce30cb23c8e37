#include "table/table.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "base/output.h"
#include "table/csv_cell.h"

#include <csv.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    struct output *output;
    size_t columns, column;
    bool is_tsv;
};

/* A field's bytes as they are in the file, and what separates it from the next. */
static void put(struct table *table, const char *bytes, size_t length)
{
    table->column = (table->column + 1) % table->columns;
    output_write(table->output, bytes, length);
    output_write(table->output, !table->column ? "\n" : table->is_tsv ? "\t" : ",", 1);
}

static struct table *open_table(const char *path, bool is_tsv, const char *const *columns)
{
    struct table *table = new_array(1, sizeof *table);
    table->is_tsv = is_tsv;
    table->output = output_open(path, OUTPUT_TEXT);
    while (columns[table->columns])
        table->columns++;
    for (size_t i = 0; i < table->columns; i++)
        put(table, columns[i], strlen(columns[i]));
    return table;
}

struct table *table_open(const char *path, const char *const *columns)
{
    return open_table(path, false, columns);
}

struct table *table_open_tsv(const char *path, const char *const *columns)
{
    return open_table(path, true, columns);
}

void table_number(struct table *table, uint64_t number)
{
    char text[32];
    put(table, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)number));
}

void table_layer(struct table *table, size_t layer)
{
    table_number(table, layer_shown(layer));
}

void table_real(struct table *table, double real)
{
    char text[32];
    put(table, text, isnan(real) ? 0 : (size_t)snprintf(text, sizeof text, "%.9g", real));
}

void table_interval(struct table *table, struct interval interval)
{
    table_real(table, interval.low);
    table_real(table, interval.high);
}

void table_quartiles(struct table *table, const double *sorted, size_t count)
{
    for (int quarter = 1; quarter <= 3; quarter++)
        table_real(table, statistics_quantile(sorted, count, quarter / 4.0));
}

/* The text as TSV has it, into escaped, which has room for twice as much; its length. */
static size_t write_escaped(char *escaped, const char *text)
{
    static const char characters[] = "\t\n\r\\", letters[] = "tnr\\";
    size_t length = 0;
    for (; *text; text++) {
        const char *found = strchr(characters, *text);
        if (found)
            escaped[length++] = '\\';
        escaped[length++] = found ? letters[found - characters] : *text;
    }
    return length;
}

void table_text(struct table *table, const char *text)
{
    char *cell = csv_cell(text);
    size_t length = strlen(cell);
    size_t most = 2 * length + 3; /* every byte a quotation mark, and the two around */
    char *field = new_array(most, 1);
    put(table, field, table->is_tsv ? write_escaped(field, cell) : csv_write(field, most, cell, length));
    free(field);
    free(cell);
}

void table_own_text(struct table *table, char *text)
{
    table_text(table, text);
    free(text);
}

void table_finish(struct table *table)
{
    output_finish(table->output);
    free(table);
}
