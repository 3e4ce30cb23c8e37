#include "report/report_tables.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "base/order.h"
#include "table/csv_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The fields as JSON; csv_read has checked that they are UTF-8. */
static json_t *fields_json(const struct csv_row *row)
{
    json_t *fields = json_make("[]");
    for (size_t i = 0; i < row->count; i++)
        json_add(fields, json_make("s", row->field[i]));
    return fields;
}

/* ---- whole tables ---- */

struct whole {
    json_t *columns, *rows;
    size_t count, most;
};

static void take_row(const struct csv_row *row, void *data)
{
    struct whole *whole = data;
    if (row->number == 0)
        whole->columns = fields_json(row);
    else if (whole->count++ < whole->most)
        json_add(whole->rows, fields_json(row));
}

json_t *table_json(const char *path, size_t most)
{
    struct whole whole = {.rows = json_make("[]"), .most = most};
    csv_read(path, take_row, &whole);
    return json_make("{s:o, s:o, s:I}", "columns", whole.columns, "rows", whole.rows, "count",
                     (json_int_t)whole.count);
}

/* ---- columns by their names ---- */

enum { NO_COLUMN = -1 };

static int find_column(const struct csv_row *row, const char *name)
{
    for (size_t i = 0; i < row->count; i++)
        if (!strcmp(row->field[i], name))
            return (int)i;
    return NO_COLUMN;
}

/* ---- the list of experiments ---- */

enum { LIST_RESULT, LIST_FIGURE, LIST_TITLE, LIST_CAPTION, LIST_COLUMNS };

struct list_reading {
    json_t *results;
    int column[LIST_COLUMNS];
};

static void take_list_columns(struct list_reading *list, const struct csv_row *row)
{
    static const char *const names[LIST_COLUMNS] = {"result", "figure", "title", "caption"};
    for (int i = 0; i < LIST_COLUMNS; i++) {
        list->column[i] = find_column(row, names[i]);
        if (list->column[i] == NO_COLUMN)
            csv_fail(row, "there is no column %s", names[i]);
    }
}

static void take_listed(const struct csv_row *row, void *data)
{
    struct list_reading *list = data;
    if (row->number == 0) {
        take_list_columns(list, row);
        return;
    }
    const char *field[LIST_COLUMNS];
    for (int i = 0; i < LIST_COLUMNS; i++)
        field[i] = row->field[list->column[i]];
    if (!*field[LIST_TITLE] && !*field[LIST_CAPTION])
        return;
    const char *end = strrchr(field[LIST_RESULT], '.');
    if (!end || strcmp(end, ".csv"))
        csv_fail(row, "'%s' has a title or a caption, but is no CSV table", field[LIST_RESULT]);
    json_add(list->results, json_make("{s:s%, s:s, s:s, s:s}",
                                      "table", field[LIST_RESULT], (size_t)(end - field[LIST_RESULT]),
                                      "figure", field[LIST_FIGURE], "title", field[LIST_TITLE],
                                      "caption", field[LIST_CAPTION]));
}

json_t *listed_results(const char *name, const char *bytes, size_t size)
{
    struct list_reading list = {.results = json_make("[]")};
    csv_read_bytes(name, bytes, size, take_listed, &list);
    return list.results;
}

/* ---- rows of keys ---- */

struct keyed_reading {
    struct keyed_rows *rows;
    const char *model;
    int layer, cell, its_model; /* their columns in the current file */
};

static void take_columns(struct keyed_reading *reading, const struct csv_row *row)
{
    json_t *columns = fields_json(row);
    if (reading->rows->columns && !json_equal(reading->rows->columns, columns))
        csv_fail(row, "other columns than the file before");
    json_decref(reading->rows->columns);
    reading->rows->columns = columns;
    reading->layer = find_column(row, "layer");
    reading->cell = find_column(row, "cell");
    reading->its_model = find_column(row, "model");
    if (reading->layer == NO_COLUMN || reading->cell == NO_COLUMN)
        csv_fail(row, "there must be columns layer and cell");
}

static size_t number_in(const struct csv_row *row, int column, unsigned long long least)
{
    const char *text = row->field[column];
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!(*text >= '0' && *text <= '9') || *end || errno || number < least || number > SIZE_MAX)
        csv_fail(row, "layer and cell must be whole numbers, from 1 and from 0, not '%s'", text);
    return (size_t)number;
}

static void take_keyed_row(const struct csv_row *row, void *data)
{
    struct keyed_reading *reading = data;
    struct keyed_rows *rows = reading->rows;
    if (row->number == 0) {
        take_columns(reading, row);
        return;
    }
    if (reading->its_model != NO_COLUMN && strcmp(row->field[reading->its_model], reading->model))
        csv_fail(row, "about model '%s', but the triggers are those of %s", row->field[reading->its_model],
                 reading->model);
    rows->row = reserve_array(rows->row, &rows->capacity, rows->count + 1, sizeof *rows->row);
    rows->row[rows->count] =
        (struct keyed_row){layer_of_shown(number_in(row, reading->layer, 1)),
                           number_in(row, reading->cell, 0), rows->count, fields_json(row)};
    rows->count++;
}

static int by_key(const void *a, const void *b)
{
    const struct keyed_row *left = a, *right = b;
    int order = compare_numbers(left->layer, right->layer);
    order = order ? order : compare_numbers(left->cell, right->cell);
    return order ? order : compare_numbers(left->number, right->number);
}

struct keyed_rows keyed_rows_read(const char *const *paths, size_t count, const char *model)
{
    struct keyed_rows rows = {0};
    struct keyed_reading reading = {.rows = &rows, .model = model};
    for (size_t i = 0; i < count; i++)
        csv_read(paths[i], take_keyed_row, &reading);
    if (rows.count)
        qsort(rows.row, rows.count, sizeof *rows.row, by_key);
    return rows;
}

void keyed_rows_free(struct keyed_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        json_decref(rows->row[i].fields);
    free(rows->row);
    json_decref(rows->columns);
    *rows = (struct keyed_rows){0};
}

json_t *keyed_rows_take(struct keyed_rows *rows, size_t layer, size_t cell)
{
    json_t *taken = json_make("[]");
    const struct keyed_row wanted = {layer, cell, 0, NULL};
    while (rows->next < rows->count && by_key(&rows->row[rows->next], &wanted) < 0)
        rows->next++;
    for (; rows->next < rows->count; rows->next++) {
        const struct keyed_row *row = &rows->row[rows->next];
        if (row->layer != layer || row->cell != cell)
            break;
        json_add(taken, json_incref(row->fields));
    }
    return taken;
}
