#include "stream/selection.h"

#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "stream/declared.h"
#include "stream/header_members.h"
#include "stream/objects.h"
#include "stream/record_members.h"
#include "stream/ranks.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <stdlib.h>
#include <string.h>

/* What a stream has layers and cells in. */
enum form {
    FORM_ANY,       /* of a kind that is not known: nothing is said of the order of its records */
    FORM_KEYS,      /* a record a key, by layer, then cell */
    FORM_LAYERS,    /* a record a layer */
    FORM_BATCHES,   /* a record a layer of each batch, with columns of cells */
    FORM_SENTENCES, /* sentences of keys, by layer, then cell */
};

struct selection {
    struct stream_reader *reader;
    const char *layers, *cells; /* as they were asked for */
    enum form form;
    struct model_shape shape;
    bool *layer, *cell;         /* wanted: shape.layers, shape.d_ff; NULL: all */
    size_t last_key;            /* the last one that is wanted, layer * d_ff + cell */
    size_t next_key;            /* the lowest one that may come next */
    size_t lists;               /* of triggers, of maxima: by each rank of the header */
    bool ended;                 /* nothing more can come */
    uint64_t found;             /* records, or sentences */

    json_t *header;             /* a copy, with the columns that are left */
    size_t *column, columns;    /* of a batch's arrays: those that are left */
    size_t all_columns;
    bool *sentence;             /* of the current batch: those that are left */
    size_t sentences, kept;
    char *bytes;                /* of the current record: what is left of its arrays */
    size_t capacity, filled;
};

/* ---- what is asked for ---- */

static enum form form_of(const struct stream_reader *reader)
{
    const char *kind = header_text(reader, NULL, "kind");
    bool has_keys = json_object_get(stream_header(reader), "changes");
    static const char *const of_keys[] = {"triggers", "values", "agreement", "shallow", "coefficients",
                                          "ranks", NULL};
    if (is_listed(kind, of_keys))
        return FORM_KEYS;
    if (!strcmp(kind, "composition") || !strcmp(kind, "refinement"))
        return FORM_LAYERS;
    if (has_keys && (!strcmp(kind, "tokens") || !strcmp(kind, "activations")))
        return FORM_SENTENCES;
    if (!strcmp(kind, "activations"))
        return FORM_BATCHES;
    if (!strcmp(kind, "tokens"))
        stream_fail(reader, "tokens have no layers and cells");
    return FORM_ANY;
}

/* Which numbers below bound are among these, which it frees, and the largest of them. */
static bool *marks(size_t *numbers, size_t count, size_t bound, size_t *largest)
{
    bool *marked = new_array(bound, sizeof *marked);
    for (size_t i = 0; i < count; i++)
        marked[numbers[i]] = true;
    *largest = numbers[count - 1];
    free(numbers);
    return marked;
}

static bool is_marked(const bool *marked, size_t number)
{
    return !marked || marked[number];
}

/* Reads both lists. */
static void choose(struct selection *selection)
{
    const struct model_shape *shape = &selection->shape;
    size_t last_layer = shape->layers - 1, last_cell = shape->d_ff - 1, count, *numbers;
    if (selection->layers) {
        numbers = cli_layers(selection->layers, shape->layers, &count);
        selection->layer = marks(numbers, count, shape->layers, &last_layer);
    }
    if (selection->cells) {
        numbers = cli_list(selection->cells, shape->d_ff, "cells", &count);
        selection->cell = marks(numbers, count, shape->d_ff, &last_cell);
    }
    selection->last_key = last_layer * shape->d_ff + last_cell;
}

/* Arrays of a layer's record that have a column of each cell. */
static const char *const of_cells[] = {"max", "argmax", "coef", NULL};

/* Arrays that have a row of each cell. */
static const char *const counts_of_cells[] = {"coef_counts", "magnitude_counts", "sign_counts", NULL};

/* How many columns each cell has in one of these arrays. */
static size_t lists_of(const struct selection *selection, const char *name)
{
    return strcmp(name, "coef") ? selection->lists : 1;
}

/* The columns of the cells that are wanted. */
static void choose_columns(struct selection *selection)
{
    size_t *cells = header_list(selection->reader, "cells", selection->shape.d_ff, &selection->all_columns);
    selection->column = new_array(selection->all_columns, sizeof *selection->column);
    json_t *left = json_make("[]");
    for (size_t i = 0; i < selection->all_columns; i++)
        if (is_marked(selection->cell, cells[i])) {
            selection->column[selection->columns++] = i;
            json_add(left, json_integer((json_int_t)cells[i]));
        }
    selection->ended = !selection->columns;
    json_put(selection->header, "cells", left);
    const json_t *arrays = json_object_get(selection->header, "arrays");
    for (size_t i = 0; of_cells[i]; i++) {
        json_t *shape = json_object_get(json_object_get(arrays, of_cells[i]), "shape");
        json_t *columns = json_integer((json_int_t)(selection->columns * lists_of(selection, of_cells[i])));
        if (json_array_size(shape) == 2 && json_array_set(shape, 1, columns) != 0)
            die("out of memory");
        json_decref(columns);
    }
    free(cells);
}

struct selection *selection_new(struct stream_reader *reader, const char *layers, const char *cells)
{
    struct selection *selection = new_array(1, sizeof *selection);
    *selection = (struct selection){.reader = reader, .layers = layers, .cells = cells,
                                    .form = form_of(reader), .shape = shape_read(reader), .lists = 1};
    if (selection->form == FORM_KEYS || selection->form == FORM_BATCHES)
        selection->lists = header_ranks(reader).count;
    if (cells && selection->form == FORM_LAYERS)
        stream_fail(reader, "sums of layers have no cells");
    choose(selection);
    selection->header = json_deep_copy(stream_header(reader));
    if (!selection->header)
        die("out of memory");
    if (cells && selection->form == FORM_BATCHES)
        choose_columns(selection);
    return selection;
}

const json_t *selection_header(const struct selection *selection)
{
    return selection->header;
}

/* ---- what is left of a record's arrays ---- */

static void keep_bytes(struct selection *selection, const char *bytes, size_t size)
{
    if (!size)
        return;
    selection->bytes = reserve_array(selection->bytes, &selection->capacity, selection->filled + size, 1);
    memcpy(selection->bytes + selection->filled, bytes, size);
    selection->filled += size;
}

/* Some columns of an array. */
static void keep_columns(struct selection *selection, const char *name, const struct declared_array *array)
{
    size_t lists = lists_of(selection, name);
    if (array->columns != selection->all_columns * lists)
        stream_fail(selection->reader, "'%s' has %zu columns, the header names %zu cells", name,
                    array->columns, selection->all_columns);
    for (size_t row = 0; row < array->rows * lists; row++)
        for (size_t i = 0; i < selection->columns; i++) {
            size_t index = row * selection->all_columns + selection->column[i];
            keep_bytes(selection, array->bytes + index * array->size, array->size);
        }
}

/* Of an array with lengths[i] elements for each of the batch's sentences, NULL: 1, those of some. */
static void keep_sentences(struct selection *selection, const char *name, const struct declared_array *array,
                           const struct declared_array *lengths)
{
    size_t at = 0;
    for (size_t i = 0; i < selection->sentences; i++) {
        size_t count = lengths ? (size_t)declared_number(lengths, i) : 1;
        if (count > array->rows - at)
            break;
        if (selection->sentence[i])
            keep_bytes(selection, array->bytes + at * array->size, count * array->size);
        at += count;
        if (i + 1 == selection->sentences && at == array->rows)
            return;
    }
    stream_fail(selection->reader, "'%s' has not as many elements as the sentences of the batch", name);
}

/* Of counts with a row of each cell, some rows. */
static void keep_rows(struct selection *selection, const char *name, const struct declared_array *array)
{
    size_t row_bytes = array->columns * array->size;
    if (array->rows != selection->all_columns)
        stream_fail(selection->reader, "'%s' has %zu rows, the header names %zu cells", name, array->rows,
                    selection->all_columns);
    for (size_t i = 0; i < selection->columns; i++)
        keep_bytes(selection, array->bytes + selection->column[i] * row_bytes, row_bytes);
}

static bool find_array(const struct selection *selection, const struct record *record, const char *wanted,
                       struct declared_array *array)
{
    const msgpack_object *member = object_member(&record->object, wanted);
    if (!member || member->type != MSGPACK_OBJECT_BIN)
        return false;
    *array =
        declared_array(selection->reader, stream_header(selection->reader), wanted, &member->via.bin);
    return true;
}

/* The number that a column has among those that are left; SIZE_MAX: it is not. */
static size_t new_column(const struct selection *selection, size_t column)
{
    for (size_t i = 0; i < selection->columns; i++)
        if (selection->column[i] == column)
            return i;
    return SIZE_MAX;
}

/*
 * Of the paths to elements of max those to columns that are left: of "path" their new numbers, of "path_coef"
 * their coefficients, as many of each as argmax says.
 */
static void keep_paths(struct selection *selection, const struct record *record, const char *name,
                       const struct declared_array *array)
{
    struct declared_array path, argmax;
    if (!find_array(selection, record, "path", &path) || !find_array(selection, record, "argmax", &argmax))
        stream_fail(selection->reader, "the record has '%s' without 'path' and 'argmax'", name);
    for (size_t i = 0, at = 0, length; i < path.rows; i++, at += length) {
        uint64_t element = declared_number(&path, i), row = element / selection->all_columns;
        if (element >= argmax.rows * argmax.columns)
            stream_fail(selection->reader, "path %zu leads to no element of 'argmax'", i);
        length = array->bytes == path.bytes ? 1 : (size_t)declared_number(&argmax, (size_t)element);
        if (length > array->rows - at)
            stream_fail(selection->reader, "'%s' has not as many elements as 'argmax' says", name);
        size_t column = new_column(selection, (size_t)(element % selection->all_columns));
        uint32_t number = (uint32_t)(row * selection->columns + column);
        if (column == SIZE_MAX)
            continue;
        if (array->bytes == path.bytes)
            keep_bytes(selection, (const char *)&number, sizeof number);
        else
            keep_bytes(selection, array->bytes + at * array->size, length * array->size);
    }
}

/* Takes what is not wanted out of a record's array; false: all of it is. */
static bool keep_of_array(struct selection *selection, const struct record *record, const char *name,
                          const struct declared_array *array, const struct declared_array *lengths)
{
    if (selection->form == FORM_BATCHES && is_listed(name, of_cells))
        keep_columns(selection, name, array);
    else if (selection->form == FORM_BATCHES && is_listed(name, counts_of_cells))
        keep_rows(selection, name, array);
    else if (selection->form == FORM_BATCHES && (!strcmp(name, "path") || !strcmp(name, "path_coef")))
        keep_paths(selection, record, name, array);
    else if (selection->form == FORM_SENTENCES && !strcmp(array->dimension, "sentences"))
        keep_sentences(selection, name, array, NULL);
    else if (selection->form == FORM_SENTENCES && !strcmp(array->dimension, "tokens") && lengths)
        keep_sentences(selection, name, array, lengths);
    else
        return false;
    return true;
}

/* Puts what is left in the place of the record's arrays. */
static void keep_wanted(struct selection *selection, struct record *record)
{
    if (selection->form != FORM_SENTENCES && !(selection->form == FORM_BATCHES && selection->cells))
        return;
    msgpack_object_map *map = &record->object.via.map;
    struct declared_array lengths;
    bool has_lengths = selection->form == FORM_SENTENCES && find_array(selection, record, "len", &lengths);
    size_t *start = new_array(map->size, sizeof *start), *size = new_array(map->size, sizeof *size);
    selection->filled = 0;
    for (uint32_t i = 0; i < map->size; i++) {
        msgpack_object *value = &map->ptr[i].val;
        char *name = object_member_name(&map->ptr[i]);
        start[i] = selection->filled;
        if (value->type == MSGPACK_OBJECT_BIN) {
            const struct declared_array array =
                declared_array(selection->reader, stream_header(selection->reader), name, &value->via.bin);
            size[i] = keep_of_array(selection, record, name, &array, has_lengths ? &lengths : NULL)
                ? selection->filled - start[i] : SIZE_MAX;
        } else {
            size[i] = SIZE_MAX;
        }
        free(name);
    }
    const char *bytes = selection->bytes ? selection->bytes : ""; /* of arrays that are all empty */
    for (uint32_t i = 0; i < map->size; i++) /* now that the bytes have their last place */
        if (size[i] != SIZE_MAX)
            map->ptr[i].val.via.bin = (msgpack_object_bin){(uint32_t)size[i], bytes + start[i]};
    free(start);
    free(size);
}

/* ---- which records ---- */

/* Whether a key is wanted. That keys come in order is checked: what follows the last one is not read. */
static bool take_key(struct selection *selection, size_t layer, size_t cell, bool again)
{
    size_t number = layer * selection->shape.d_ff + cell;
    if (number < selection->next_key)
        stream_fail(selection->reader, "layer %zu cell %zu is not in order", layer_shown(layer), cell);
    selection->next_key = again ? number : number + 1;
    selection->ended = number > selection->last_key || (!again && number == selection->last_key);
    return is_marked(selection->layer, layer) && is_marked(selection->cell, cell);
}

static bool wants_key(struct selection *selection, const struct record *record)
{
    size_t list = record_has(record, "list") ? (size_t)record_number(record, "list", RANKS - 1) : 0;
    return record_has(record, "layer")
        && take_key(selection, (size_t)record_number(record, "layer", selection->shape.layers - 1),
                    (size_t)record_number(record, "cell", selection->shape.d_ff - 1),
                    list + 1 < selection->lists);
}

static bool wants_layer(struct selection *selection, const struct record *record)
{
    if (!record_has(record, "layer"))
        return false;
    size_t layer = (size_t)record_number(record, "layer", selection->shape.layers - 1);
    if (selection->form == FORM_LAYERS)
        take_key(selection, layer, selection->shape.d_ff - 1, false);
    return is_marked(selection->layer, layer);
}

static bool wants_any(struct selection *selection, const struct record *record)
{
    if (!wants_layer(selection, record))
        return false;
    return !selection->cells
        || (record_has(record, "cell")
            && selection->cell[record_number(record, "cell", selection->shape.d_ff - 1)]);
}

/* Which sentences of a batch are wanted. */
static void choose_sentences(struct selection *selection, const struct record *record)
{
    struct declared_array layer, cell;
    if (!find_array(selection, record, "key_layer", &layer)
        || !find_array(selection, record, "key_cell", &cell) || layer.rows != cell.rows)
        stream_fail(selection->reader, "the sentences of the batch have no keys, or not one each");
    selection->sentences = layer.rows;
    selection->sentence = grow_array(selection->sentence, layer.rows, sizeof *selection->sentence);
    selection->kept = 0;
    for (size_t i = 0; i < layer.rows; i++) {
        uint64_t of_layer = declared_number(&layer, i), of_cell = declared_number(&cell, i);
        number_check(selection->reader, "key_layer", of_layer, selection->shape.layers - 1);
        number_check(selection->reader, "key_cell", of_cell, selection->shape.d_ff - 1);
        selection->sentence[i] = take_key(selection, (size_t)of_layer, (size_t)of_cell, true);
        selection->kept += selection->sentence[i];
    }
}

/* A batch's record of tokens, or the one behind it, whose arrays have the same sentences. */
static bool wants_sentences(struct selection *selection, const struct record *record)
{
    if (!record_has(record, "tok"))
        return selection->kept > 0;
    if (selection->ended) {
        selection->kept = 0;
        return false;
    }
    choose_sentences(selection, record);
    selection->found += selection->kept;
    return selection->kept > 0;
}

/* Counts what it finds. */
static bool wants(struct selection *selection, const struct record *record)
{
    if (selection->form == FORM_SENTENCES)
        return wants_sentences(selection, record);
    if (selection->form == FORM_BATCHES && record_has(record, "tok"))
        return true;
    bool wanted = selection->form == FORM_KEYS ? wants_key(selection, record)
                : selection->form == FORM_ANY ? wants_any(selection, record) : wants_layer(selection, record);
    selection->found += wanted;
    return wanted;
}

/* Whether no other record can be wanted: in activations of keys one may follow its batch's tokens. */
static bool nothing_follows(const struct selection *selection)
{
    return selection->ended
        && !(selection->form == FORM_SENTENCES && selection->kept
             && !strcmp(header_text(selection->reader, NULL, "kind"), "activations"));
}

bool selection_next(struct selection *selection, struct record *record)
{
    while (!nothing_follows(selection)) {
        if (!stream_next(selection->reader, record)) {
            selection->ended = true;
            return false;
        }
        if (wants(selection, record)) {
            keep_wanted(selection, record);
            return true;
        }
    }
    return false;
}

void selection_free(struct selection *selection)
{
    if (selection->ended && !selection->found)
        die("%s: nothing is selected: the stream does not have%s%s%s%s%s",
            input_name(stream_input(selection->reader)),
            selection->layers ? " layer " : "", selection->layers ? selection->layers : "",
            selection->layers ? " (counted from 1)" : "",
            selection->cells ? " cell " : "", selection->cells ? selection->cells : "");
    json_decref(selection->header);
    free(selection->column);
    free(selection->sentence);
    free(selection->bytes);
    free(selection->layer);
    free(selection->cell);
    free(selection);
}
