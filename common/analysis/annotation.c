#include "analysis/annotation.h"

#include "base/layer_number.h"
#include "base/limits.h"
#include "base/messages.h"
#include "base/order.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum column { READER, MODEL, LAYER, CELL, TRIGGERS, PATTERN, KIND, DESCRIPTION, SHOWS, VALUE_SHOWN,
              READER_KIND };
enum { NEEDED_COLUMNS = SHOWS + 1 }; /* older files have no others */
static const char *const columns[] = {"reader", "model",       "layer", "cell",        "triggers", "pattern",
                                      "kind",   "description", "shows", "value_shown", "reader_kind", NULL};
enum { MAX_PATTERNS = 1000000 };

const char *const reader_kind_words[] = {"", "person", "program", NULL};

/* A row of a file. */
struct pattern {
    struct csv_place place;
    const char *reader, *model, *description, *shows;
    enum reader_kind reader_kind;
    size_t layer, cell, triggers;  /* layer from 0 */
    size_t number;                 /* from 1; 0: the reader found no pattern */
    enum trigger_class kind;       /* CLASS_SHALLOW or CLASS_SEMANTIC; CLASS_NONE of pattern 0 */
    bool value_shown;
};

void place_fail(struct csv_place place, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    die("%s: line %llu: %s", place.file, (unsigned long long)place.line, message);
}

/* The whole number that text begins with, which must end with one of ends or with the text. */
static bool read_number(const char **text, const char *ends, size_t least, size_t most, size_t *number)
{
    size_t digits = strspn(*text, "0123456789");
    if (!digits || digits > 9 || !strchr(ends, (*text)[digits]))
        return false;
    *number = strtoul(*text, NULL, 10);
    *text += digits;
    return *number >= least && *number <= most;
}

static size_t number_field(struct csv_place place, const struct table_row *row, enum column column,
                           size_t least, size_t most)
{
    const char *text = row->field[column];
    size_t number;
    if (!read_number(&text, "", least, most, &number))
        place_fail(place, "%s is '%s', not a whole number from %zu to %zu", columns[column],
                   row->field[column], least, most);
    return number;
}

static enum trigger_class read_kind(struct csv_place place, const char *text)
{
    if (!strcmp(text, "shallow"))
        return CLASS_SHALLOW;
    if (!strcmp(text, "semantic"))
        return CLASS_SEMANTIC;
    place_fail(place, "kind is '%s'; it must be shallow or semantic", text);
}

static enum reader_kind read_reader_kind(struct csv_place place, const char *text)
{
    for (int kind = 0; text && reader_kind_words[kind]; kind++)
        if (!strcmp(text, reader_kind_words[kind]))
            return (enum reader_kind)kind;
    if (text)
        place_fail(place, "reader_kind is '%s'; it must be person or program", text);
    return READER_UNKNOWN;
}

static struct pattern read_pattern(const struct table_in *table, const struct table_row *row)
{
    struct csv_place place = {table->name, row->line};
    struct pattern pattern = {
        .place = place,
        .reader = row->field[READER],
        .model = row->field[MODEL],
        .reader_kind = read_reader_kind(place, row->field[READER_KIND]),
        .layer = layer_of_shown(number_field(place, row, LAYER, 1, MAX_STREAM_SIZE)),
        .cell = number_field(place, row, CELL, 0, MAX_STREAM_SIZE - 1),
        .triggers = number_field(place, row, TRIGGERS, 1, MAX_SHOWN_TRIGGERS),
        .number = number_field(place, row, PATTERN, 0, MAX_PATTERNS),
        .description = row->field[DESCRIPTION],
        .shows = row->field[SHOWS],
        .value_shown = !row->field[VALUE_SHOWN] || number_field(place, row, VALUE_SHOWN, 0, 1),
    };
    if (!*pattern.reader || !*pattern.model)
        place_fail(place, "the %s is empty", *pattern.reader ? "model" : "reader's name");
    if (pattern.number)
        pattern.kind = read_kind(place, row->field[KIND]);
    else if (*row->field[KIND] || *pattern.description || *pattern.shows)
        place_fail(place,
                   "pattern 0, that is none, with a kind, a description or triggers: patterns count from 1");
    return pattern;
}

/* Which triggers show the pattern, and how many. The caller frees the array. */
static bool *read_shows(const struct pattern *pattern, size_t *count)
{
    bool *shown = new_array(pattern->triggers, sizeof *shown);
    size_t number;
    *count = 0;
    for (const char *text = pattern->shows + strspn(pattern->shows, " "); *text; text += strspn(text, " ")) {
        if (!read_number(&text, " ", 1, pattern->triggers, &number))
            place_fail(pattern->place,
                       "shows is '%s', not numbers from 1 to %zu, the triggers that were shown, with blanks"
                       " between them",
                       pattern->shows, pattern->triggers);
        if (shown[number - 1])
            place_fail(pattern->place, "trigger %zu is in shows twice", number);
        shown[number - 1] = true;
        (*count)++;
    }
    return shown;
}

/* ---- readings ---- */

static int by_key_and_reader(const struct pattern *a, const struct pattern *b)
{
    int order = compare_numbers(a->layer, b->layer);
    order = order ? order : compare_numbers(a->cell, b->cell);
    return order ? order : strcmp(a->reader, b->reader);
}

static int by_pattern(const void *left, const void *right)
{
    const struct pattern *a = left, *b = right;
    int order = by_key_and_reader(a, b);
    order = order ? order : compare_numbers(a->number, b->number);
    order = order ? order : strcmp(a->place.file, b->place.file);
    return order ? order : compare_numbers(a->place.line, b->place.line);
}

static void add_pattern(struct reading *reading, const struct pattern *pattern)
{
    size_t count;
    bool *shown = read_shows(pattern, &count);
    bool is_described = *pattern->description, is_finished = is_described && count >= LEAST_PATTERN_TRIGGERS;
    for (size_t i = 0; is_finished && i < pattern->triggers; i++)
        if (shown[i])
            reading->trigger_class[i] |= (unsigned char)pattern->kind;
    reading->patterns += is_finished;
    reading->value_shown |= pattern->value_shown;
    if (pattern->number && !is_described)
        message_warn("%s: line %llu: pattern %zu does not count: it has no description", pattern->place.file,
             (unsigned long long)pattern->place.line, pattern->number);
    else if (pattern->number && !is_finished)
        message_warn("%s: line %llu: pattern %zu does not count: fewer than %d triggers show it",
                     pattern->place.file, (unsigned long long)pattern->place.line, pattern->number,
                     LEAST_PATTERN_TRIGGERS);
    free(shown);
}

static struct reading begin_reading(const struct pattern *pattern)
{
    return (struct reading){
        .place = pattern->place,
        .reader = pattern->reader,
        .model = pattern->model,
        .reader_kind = pattern->reader_kind,
        .layer = pattern->layer,
        .cell = pattern->cell,
        .triggers = pattern->triggers,
        .trigger_class = new_array(pattern->triggers, 1),
    };
}

/* Both are of one reader and one key, and the second comes behind the first. */
static void check_neighbours(const struct pattern *first, const struct pattern *second)
{
    if (second->number == first->number)
        place_fail(second->place,
                   "pattern %zu of %s in layer %zu, cell %zu is in line %llu of %s as well",
                   second->number, second->reader, layer_shown(second->layer), second->cell,
                   (unsigned long long)first->place.line, first->place.file);
    if (first->number == 0)
        place_fail(first->place,
                   "pattern 0, that is none, but %s has a pattern of this key in line %llu of %s",
                   first->reader, (unsigned long long)second->place.line, second->place.file);
}

static void check_same_sheet(const struct pattern *first, const struct pattern *pattern, bool is_same_key)
{
    if (strcmp(first->model, pattern->model))
        place_fail(pattern->place,
                   "model %s, but %s in line %llu of %s; readers of different models do not go together",
                   pattern->model, first->model, (unsigned long long)first->place.line, first->place.file);
    if (is_same_key && first->triggers != pattern->triggers)
        place_fail(pattern->place, "%zu triggers of layer %zu, cell %zu, but %zu in line %llu of %s",
                   pattern->triggers, layer_shown(pattern->layer), pattern->cell, first->triggers,
                   (unsigned long long)first->place.line, first->place.file);
}

static int by_reader(const void *left, const void *right)
{
    const struct pattern *a = left, *b = right;
    int order = strcmp(a->reader, b->reader);
    order = order ? order : strcmp(a->place.file, b->place.file);
    return order ? order : compare_numbers(a->place.line, b->place.line);
}

static const char *kind_shown(enum reader_kind kind)
{
    return kind ? reader_kind_words[kind] : "of unknown kind";
}

static void check_reader_kinds(struct pattern *pattern, size_t count)
{
    qsort(pattern, count, sizeof *pattern, by_reader);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(pattern[i].reader, pattern[i - 1].reader)
            && pattern[i].reader_kind != pattern[i - 1].reader_kind)
            place_fail(pattern[i].place, "reader %s is %s, but %s in line %llu of %s", pattern[i].reader,
                       kind_shown(pattern[i].reader_kind), kind_shown(pattern[i - 1].reader_kind),
                       (unsigned long long)pattern[i - 1].place.line, pattern[i - 1].place.file);
}

static void make_readings(struct annotations *annotations, struct pattern *pattern, size_t count)
{
    qsort(pattern, count, sizeof *pattern, by_pattern);
    annotations->reading = new_array(count, sizeof *annotations->reading);
    for (size_t i = 0; i < count; i++) {
        const struct pattern *before = i ? &pattern[i - 1] : NULL;
        if (before)
            check_same_sheet(before, &pattern[i],
                             before->layer == pattern[i].layer && before->cell == pattern[i].cell);
        if (before && by_key_and_reader(before, &pattern[i]) == 0)
            check_neighbours(before, &pattern[i]);
        else
            annotations->reading[annotations->count++] = begin_reading(&pattern[i]);
        add_pattern(&annotations->reading[annotations->count - 1], &pattern[i]);
    }
}

struct annotations annotations_read(const char *const *paths, size_t count)
{
    struct annotations annotations = {.table = new_array(count, sizeof *annotations.table), .tables = count};
    struct pattern *pattern = NULL;
    size_t patterns = 0;
    for (size_t i = 0; i < count; i++) {
        const struct table_in table = annotations.table[i] = table_in_read(paths[i], columns, NEEDED_COLUMNS);
        pattern = grow_array(pattern, patterns + table.count + 1, sizeof *pattern);
        for (size_t j = 0; j < table.count; j++)
            pattern[patterns++] = read_pattern(&table, &table.row[j]);
    }
    if (!patterns)
        die("%s: there is no row in it", annotations.table[0].name);
    check_reader_kinds(pattern, patterns);
    make_readings(&annotations, pattern, patterns);
    free(pattern);
    return annotations;
}

void annotations_keep_hidden(struct annotations *annotations)
{
    size_t kept = 0;
    for (size_t i = 0; i < annotations->count; i++)
        if (annotations->reading[i].value_shown)
            free(annotations->reading[i].trigger_class);
        else
            annotations->reading[kept++] = annotations->reading[i];
    annotations->count = kept;
}

void annotations_free(struct annotations *annotations)
{
    for (size_t i = 0; i < annotations->count; i++)
        free(annotations->reading[i].trigger_class);
    free(annotations->reading);
    for (size_t i = 0; i < annotations->tables; i++)
        table_in_free(&annotations->table[i]);
    free(annotations->table);
    *annotations = (struct annotations){0};
}
