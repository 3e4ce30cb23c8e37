#include "table_in.h"

#include "input.h"
#include "messages.h"

#include <csv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { MOST_BYTES = 1 << 26, MOST_COLUMNS = 1000 };

/* What libcsv's callbacks work on. */
struct parsing {
    struct table_in *table;
    const char *const *wanted;
    size_t columns;              /* of the first line; 0 before it was read */
    size_t place[MOST_COLUMNS];  /* of each column: which of wanted it is, or their number */
    char *field[MOST_COLUMNS];   /* of the row at hand */
    size_t fields;
    uint64_t line, row_line;     /* at hand; where the row began */
    bool is_inside;              /* a row, whose end is not there yet */
};

static _Noreturn void fail(const struct table_in *table, uint64_t line, const char *problem)
{
    die("%s: line %llu: %s", table->name, (unsigned long long)line, problem);
}

/* All of the file's bytes. The caller frees them. */
static char *read_bytes(const char *path, struct table_in *table, size_t *length)
{
    struct input *input = input_open(path);
    size_t got, capacity = 1 << 16;
    char *bytes = new_array(capacity, 1);
    table->name = copy_string(input_name(input));
    *length = 0;
    while ((got = input_read(input, bytes + *length, capacity - *length)) != 0) {
        *length += got;
        if (*length > MOST_BYTES)
            die("%s: more than 64 MiB; such a table is not read", table->name);
        if (*length == capacity)
            bytes = grow_array(bytes, capacity *= 2, 1);
    }
    input_close(input);
    return bytes;
}

static void check_bytes(const struct table_in *table, const char *text, size_t length)
{
    const uint8_t *bytes = (const uint8_t *)text;
    uint64_t line = 1;
    if (length >= 2 && (!memcmp(bytes, "\xff\xfe", 2) || !memcmp(bytes, "\xfe\xff", 2)))
        fail(table, 1, "UTF-16; save the file as \"CSV UTF-8\", or convert it with iconv");
    for (size_t at = 0; at < length;) {
        UChar32 character;
        U8_NEXT(bytes, at, length, character);
        if (character < 0)
            fail(table, line, "not UTF-8; save the file as \"CSV UTF-8\", or convert it with iconv");
        if (character == 0)
            fail(table, line, "a NUL byte; this is no CSV file");
        line += character == '\n';
    }
}

/* The columns by the first line's names. */
static void take_columns(struct parsing *parsing)
{
    const struct table_in *table = parsing->table;
    parsing->columns = parsing->fields;
    for (size_t i = 0; i < parsing->columns; i++)
        parsing->place[i] = table->columns;
    for (size_t w = 0; w < table->columns; w++) {
        size_t found = 0;
        for (size_t i = 0; i < parsing->columns; i++)
            if (!strcmp(parsing->field[i], parsing->wanted[w])) {
                parsing->place[i] = w;
                found++;
            }
        if (found > 1)
            die("%s: line %llu: the column %s is there %zu times", table->name, (unsigned long long)parsing->row_line,
                parsing->wanted[w], found);
        if (!found && parsing->columns == 1 && strpbrk(parsing->field[0], ";\t"))
            fail(table, parsing->row_line, "fields are separated by semicolons or tabs; save the file with commas");
        if (!found)
            die("%s: line %llu: there is no column %s; the first line must name the columns", table->name,
                (unsigned long long)parsing->row_line, parsing->wanted[w]);
    }
}

static void take_row(struct parsing *parsing)
{
    struct table_in *table = parsing->table;
    if (parsing->fields != parsing->columns)
        die("%s: line %llu: %zu fields, where the first line has %zu; a field with a comma needs quotation marks",
            table->name, (unsigned long long)parsing->row_line, parsing->fields, parsing->columns);
    if ((table->count & (table->count - 1)) == 0) /* the capacity is a power of 2 */
        table->row = grow_array(table->row, table->count ? 2 * table->count : 1, sizeof *table->row);
    struct table_row *row = &table->row[table->count++];
    row->line = parsing->row_line;
    row->field = new_array(table->columns, sizeof *row->field);
    for (size_t i = 0; i < parsing->columns; i++)
        if (parsing->place[i] < table->columns)
            row->field[parsing->place[i]] = copy_string(parsing->field[i]);
}

static void end_field(void *bytes, size_t length, void *data)
{
    (void)length; /* there is no NUL in it, and libcsv puts one behind it */
    struct parsing *parsing = data;
    if (parsing->fields == MOST_COLUMNS)
        fail(parsing->table, parsing->row_line, "more than 1000 fields");
    parsing->field[parsing->fields++] = copy_string(bytes);
}

static void end_row(int terminator, void *data)
{
    (void)terminator;
    struct parsing *parsing = data;
    if (parsing->columns)
        take_row(parsing);
    else
        take_columns(parsing);
    while (parsing->fields)
        free(parsing->field[--parsing->fields]);
    parsing->is_inside = false;
}

/* Length of the line that text begins with, its end included: \n, \r\n or \r. */
static size_t line_length(const char *text, size_t length)
{
    size_t end = 0;
    while (end < length && text[end] != '\n' && text[end] != '\r')
        end++;
    if (end + 1 < length && text[end] == '\r' && text[end + 1] == '\n')
        end++;
    return end < length ? end + 1 : length;
}

static bool is_blank(const char *text, size_t length)
{
    size_t blank = 0;
    while (blank < length && strchr(" \t\r\n", text[blank]))
        blank++;
    return blank == length;
}

/* libcsv is given a line at a time, so that the line of whatever happens is known. */
static void parse(struct parsing *parsing, const char *bytes, size_t size)
{
    static const char *const stray = "a quotation mark that opens no field, or is not closed";
    struct csv_parser parser;
    size_t length;
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        die("out of memory");
    for (size_t at = 0; at < size; at += length) {
        length = line_length(bytes + at, size - at);
        parsing->line++;
        if (!parsing->is_inside) {
            parsing->row_line = parsing->line;
            parsing->is_inside = !is_blank(bytes + at, length);
        }
        if (csv_parse(&parser, bytes + at, length, end_field, end_row, parsing) != length)
            fail(parsing->table, parsing->row_line, csv_error(&parser) == CSV_EPARSE ? stray : "out of memory");
    }
    if (csv_fini(&parser, end_field, end_row, parsing) != 0)
        fail(parsing->table, parsing->row_line, stray);
    csv_free(&parser);
}

struct table_in table_in_read(const char *path, const char *const *wanted)
{
    struct table_in table = {0};
    struct parsing *parsing = new_array(1, sizeof *parsing);
    size_t length;
    char *bytes = read_bytes(path, &table, &length);
    while (wanted[table.columns])
        table.columns++;
    parsing->table = &table;
    parsing->wanted = wanted;
    check_bytes(&table, bytes, length);
    size_t mark = length >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0; /* byte order mark */
    parse(parsing, bytes + mark, length - mark);
    if (!parsing->columns)
        fail(&table, 1, "the table is empty; the first line must name the columns");
    free(parsing);
    free(bytes);
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
}
