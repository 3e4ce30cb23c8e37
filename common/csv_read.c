#include "csv_read.h"

#include "input.h"
#include "messages.h"

#include <csv.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { MOST_COLUMNS = 1000, MESSAGE_BYTES = 500 };

/* What libcsv's callbacks work on. */
struct reading {
    struct csv_row row;
    size_t columns;             /* of row 0 */
    char *field[MOST_COLUMNS];
    void (*take)(const struct csv_row *row, void *data);
    void *data;
};

void csv_fail(const struct csv_row *row, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    die("%s: row %llu: %s", row->file, (unsigned long long)row->number, message);
}

static void end_field(void *bytes, size_t length, void *data)
{
    struct reading *reading = data;
    const uint8_t *text = bytes;
    for (size_t at = 0; at < length;) {
        UChar32 character;
        U8_NEXT(text, at, length, character);
        if (character <= 0)
            csv_fail(&reading->row, "not UTF-8, or a NUL byte");
    }
    if (reading->row.count == MOST_COLUMNS)
        csv_fail(&reading->row, "more than %d fields", MOST_COLUMNS);
    reading->field[reading->row.count++] = copy_string(length ? bytes : "");
}

static void end_row(int terminator, void *data)
{
    (void)terminator;
    struct reading *reading = data;
    struct csv_row *row = &reading->row;
    if (row->number == 0)
        reading->columns = row->count;
    if (row->count != reading->columns)
        csv_fail(row, "%zu fields, where there are %zu columns", row->count, reading->columns);
    reading->take(row, reading->data);
    while (row->count)
        free(reading->field[--row->count]);
    row->number++;
}

void csv_read(const char *path, void (*take)(const struct csv_row *row, void *data), void *data)
{
    struct input *input = input_open(path);
    struct reading *reading = new_array(1, sizeof *reading);
    reading->row = (struct csv_row){input_name(input), 0, 0, reading->field};
    reading->take = take;
    reading->data = data;
    struct csv_parser parser;
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        die("out of memory");
    static const char stray[] = "a quotation mark that opens no field, or is not closed";
    char bytes[1 << 16];
    size_t got;
    for (bool first = true; (got = input_read(input, bytes, sizeof bytes)) != 0; first = false) {
        size_t mark = first && got >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0; /* byte order mark */
        if (csv_parse(&parser, bytes + mark, got - mark, end_field, end_row, reading) != got - mark)
            csv_fail(&reading->row, "%s", csv_error(&parser) == CSV_EPARSE ? stray : "out of memory");
    }
    if (csv_fini(&parser, end_field, end_row, reading) != 0)
        csv_fail(&reading->row, "%s", stray);
    if (reading->row.number == 0)
        die("%s: empty; the first line must name the columns", reading->row.file);
    csv_free(&parser);
    free(reading);
    input_close(input);
}
