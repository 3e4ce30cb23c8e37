#include "table/csv_read.h"

#include "base/input.h"
#include "base/limits.h"
#include "base/messages.h"
#include "table/csv_cell.h"

#include <csv.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { MESSAGE_BYTES = 500 };

/* What libcsv's callbacks work on. */
struct reading {
    struct csv_parser parser;
    struct csv_row row;
    size_t columns;          /* of row 0 */
    char *field[MAX_FIELDS];
    void (*take)(const struct csv_row *row, void *data);
    void *data;
    uint64_t line;           /* the current one */
    bool is_inside;          /* a row, whose end is not there yet */
    bool line_ended, after_return; /* how the bytes so far end; \r\n is one end */
};

void csv_fail(const struct csv_row *row, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    die("%s: line %llu: %s", row->file, (unsigned long long)row->line, message);
}

static void check_text(const struct csv_row *row, const uint8_t *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        UChar32 character;
        U8_NEXT(text, at, length, character);
        if (character < 0)
            csv_fail(row, "not UTF-8; save the file as \"CSV UTF-8\", or convert it with iconv");
        if (character == 0)
            csv_fail(row, "a NUL byte; this is no CSV file");
    }
}

static void end_field(void *bytes, size_t length, void *data)
{
    struct reading *reading = data;
    check_text(&reading->row, bytes, length);
    if (reading->row.count == MAX_FIELDS)
        csv_fail(&reading->row, "more than %d fields", MAX_FIELDS);
    reading->field[reading->row.count++] = copy_string(csv_cell_text(length ? bytes : ""));
}

static void end_row(int terminator, void *data)
{
    (void)terminator;
    struct reading *reading = data;
    struct csv_row *row = &reading->row;
    if (row->number == 0)
        reading->columns = row->count;
    if (row->count != reading->columns)
        csv_fail(row, "%zu fields, where the first line has %zu; a field with a comma needs quotation marks",
                 row->count, reading->columns);
    reading->take(row, reading->data);
    while (row->count)
        free(reading->field[--row->count]);
    row->number++;
    reading->is_inside = false;
}

/* Length of the line that bytes begin with, its end \n or \r included, or all of them. */
static size_t line_length(const char *bytes, size_t size)
{
    size_t end = 0;
    while (end < size && bytes[end] != '\n' && bytes[end] != '\r')
        end++;
    return end < size ? end + 1 : size;
}

static bool is_blank(const char *bytes, size_t size)
{
    size_t blank = 0;
    while (blank < size && strchr(" \t\r\n", bytes[blank]))
        blank++;
    return blank == size;
}

static const char stray[] = "a quotation mark that opens no field, or is not closed";

/* libcsv is given a line, or a part of one, at a time, so that the line of whatever happens is known. */
static void parse(struct reading *reading, const char *bytes, size_t size)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        length = line_length(bytes + at, size - at);
        reading->line += reading->line_ended && !(reading->after_return && bytes[at] == '\n');
        if (!reading->is_inside && !is_blank(bytes + at, length)) {
            reading->row.line = reading->line;
            reading->is_inside = true;
        }
        reading->after_return = bytes[at + length - 1] == '\r';
        reading->line_ended = reading->after_return || bytes[at + length - 1] == '\n';
        if (csv_parse(&reading->parser, bytes + at, length, end_field, end_row, reading) != length)
            csv_fail(&reading->row, "%s",
                     csv_error(&reading->parser) == CSV_EPARSE ? stray : "out of memory");
    }
}

/* What is passed over at the file's beginning: a byte order mark, if it is that of UTF-8. */
static size_t mark_length(const struct csv_row *row, const char *bytes, size_t size)
{
    if (size >= 2 && (!memcmp(bytes, "\xff\xfe", 2) || !memcmp(bytes, "\xfe\xff", 2)))
        csv_fail(row, "UTF-16; save the file as \"CSV UTF-8\", or convert it with iconv");
    return size >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
}

static struct reading *reading_open(const char *name, void (*take)(const struct csv_row *row, void *data),
                                    void *data)
{
    struct reading *reading = new_array(1, sizeof *reading);
    *reading = (struct reading){.take = take, .data = data, .line = 1};
    reading->row = (struct csv_row){name, 1, 0, 0, reading->field};
    if (csv_init(&reading->parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        die("out of memory");
    return reading;
}

static void reading_close(struct reading *reading)
{
    if (csv_fini(&reading->parser, end_field, end_row, reading) != 0)
        csv_fail(&reading->row, "%s", stray);
    if (reading->row.number == 0)
        csv_fail(&reading->row, "the table is empty; the first line must name the columns");
    csv_free(&reading->parser);
    free(reading);
}

void csv_read(const char *path, void (*take)(const struct csv_row *row, void *data), void *data)
{
    struct input *input = input_open(path);
    input_expect(input, "a table (CSV)");
    struct reading *reading = reading_open(input_name(input), take, data);
    char bytes[1 << 16];
    size_t got;
    for (bool first = true; (got = input_read(input, bytes, sizeof bytes)) != 0; first = false) {
        size_t mark = first ? mark_length(&reading->row, bytes, got) : 0;
        parse(reading, bytes + mark, got - mark);
    }
    reading_close(reading);
    input_close(input);
}

void csv_read_bytes(const char *name, const char *bytes, size_t size,
                    void (*take)(const struct csv_row *row, void *data), void *data)
{
    struct reading *reading = reading_open(name, take, data);
    size_t mark = mark_length(&reading->row, bytes, size);
    parse(reading, bytes + mark, size - mark);
    reading_close(reading);
}
