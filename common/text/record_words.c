#include "text/record_words.h"

#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "stream/coefficient_bins.h"
#include "stream/declared.h"
#include "stream/objects.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/sums.h"
#include "text/token_texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARRAYS = 256 }; /* members that a record can have */

struct record_words {
    const struct stream_reader *reader;
    const json_t *header;
    const struct tokenizer *tokenizer;
    struct token_texts texts;
};

/* Arrays of the current record. */
struct named_array {
    char *name;
    struct declared_array array;
};

struct arrays {
    struct named_array array[MAX_ARRAYS];
    size_t count;
};

/* Arrays of tokens, one in each place; the bins of agreement are tokens. */
static const char *const token_arrays[] = {"next", "prefix", "top", "bottom", "old", "new", "agreement_bin",
                                           NULL};

/* Numbers that say which layer. */
static const char *const layer_names[] = {"layer", "key_layer", "settled_bin", NULL};

/* What each has an object of. */
static const char *const listed_dimensions[] = {"sentences", "rows", "triggers", "changes", NULL};

/* ---- elements ---- */

static json_t *token_json(struct record_words *words, uint64_t token)
{
    if (token >= words->texts.vocabulary)
        stream_fail(words->reader, "token %llu is outside of the vocabulary of %zu",
                    (unsigned long long)token, words->texts.vocabulary);
    return token_texts_json(&words->texts, (uint32_t)token);
}

static json_t *integer_json(const struct record_words *words, const char *name, uint64_t number)
{
    number_check(words->reader, name, number, INT64_MAX - 1);
    return json_make("I", (json_int_t)(is_listed(name, layer_names) ? layer_shown(number) : number));
}

/* What an integer that is a member of a record is called, where it is not a number. */
static json_t *member_json(const struct record_words *words, const char *name, uint64_t number)
{
    if (strcmp(name, "list"))
        return integer_json(words, name, number);
    const struct ranks ranks = header_ranks(words->reader);
    number_check(words->reader, name, number, ranks.count - 1);
    return json_make("s", list_words[ranks.rank[number]]);
}

/* JSON has no infinity. */
static json_t *real_json(double real)
{
    if (isfinite(real))
        return json_make("f", real);
    return json_make("s", isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
}

/* A change by its name. */
static json_t *change_json(const struct record_words *words, uint64_t change)
{
    json_t *name = json_array_get(json_object_get(words->header, "changes"), (size_t)change);
    if (!name)
        stream_fail(words->reader, "the header's changes do not name change %llu",
                    (unsigned long long)change);
    return json_incref(name);
}

/* A bin by its edge, or by the signs that it has. */
static json_t *bin_json(const struct record_words *words, const char *name, enum counted kind, uint64_t bin)
{
    number_check(words->reader, name, bin, counted_bins[kind] - 1);
    if (kind == COUNTED_SIGNS)
        return json_make("s", sign_words[bin]);
    return real_json(kind == COUNTED_MAGNITUDES ? magnitude_bin_edge((size_t)bin)
                                                : (double)coefficient_bin_edge((size_t)bin));
}

static json_t *element_json(struct record_words *words, const struct named_array *named, size_t index)
{
    const struct declared_array *array = &named->array;
    if (element_is_real(array->type))
        return real_json(declared_real(array, index));
    uint64_t number = declared_number(array, index);
    if (is_listed(named->name, token_arrays))
        return token_json(words, number);
    if (!strcmp(named->name, "key_change"))
        return change_json(words, number);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (!strcmp(named->name, counted_bin_arrays[kind]))
            return bin_json(words, named->name, kind, number);
    return integer_json(words, named->name, number);
}

/* Tokens first .. first + count - 1 of an array as the text that they are together. */
static json_t *text_json(const struct record_words *words, const struct declared_array *array, size_t first,
                         size_t count)
{
    uint32_t *tokens = new_array(count, sizeof *tokens);
    for (size_t i = 0; i < count; i++) {
        uint64_t token = declared_number(array, first + i);
        number_check(words->reader, "a token", token, words->texts.vocabulary - 1);
        tokens[i] = (uint32_t)token;
    }
    char *text = tokenizer_text(words->tokenizer, tokens, count);
    json_t *json = json_make("s", text);
    free(text);
    free(tokens);
    return json;
}

/* The tokens behind a trigger's next one, as a text: those before the first NO_FOLLOWING. */
static json_t *following_json(const struct record_words *words, const struct declared_array *array,
                              size_t row)
{
    size_t first = row * array->columns, count = 0;
    while (count < array->columns && declared_number(array, first + count) != NO_FOLLOWING)
        count++;
    return text_json(words, array, first, count);
}

/* A row: an element, a list of them, or a text. */
static json_t *row_json(struct record_words *words, const struct named_array *named, size_t row)
{
    size_t columns = named->array.columns;
    if (!named->array.has_columns)
        return element_json(words, named, row);
    if (!strcmp(named->name, "following"))
        return following_json(words, &named->array, row);
    json_t *list = json_make("[]");
    for (size_t i = 0; i < columns; i++)
        json_add(list, element_json(words, named, row * columns + i));
    return list;
}

/* ---- texts ---- */

static const struct named_array *find(const struct arrays *arrays, const char *name)
{
    for (size_t i = 0; i < arrays->count; i++)
        if (!strcmp(arrays->array[i].name, name))
            return &arrays->array[i];
    return NULL;
}

/* The array of all rows' texts, one behind the other, and of the tokens that each has. */
struct row_texts {
    const struct named_array *lengths, *tokens; /* NULL: there are none */
    const struct named_array *coefficients;     /* of each token; NULL: there are none */
    bool of_prompts;                            /* whose last token is a placeholder */
    size_t at;                                  /* tokens of the rows so far */
};

static struct row_texts row_texts_of(const struct record_words *words, const struct arrays *arrays,
                                     const char *dimension)
{
    bool of_sentences = !strcmp(dimension, "sentences");
    struct row_texts texts = {find(arrays, of_sentences ? "len" : "position"),
                              find(arrays, of_sentences ? "tok" : "prefix"),
                              of_sentences ? NULL : find(arrays, "prefix_coef"),
                              of_sentences && json_object_get(words->header, "prompts"), 0};
    return texts.lengths && texts.tokens ? texts : (struct row_texts){0};
}

/* Pairs of a prefix's tokens and the key's coefficients at them. */
static json_t *coefficients_json(struct record_words *words, const struct row_texts *texts, size_t count)
{
    json_t *pairs = json_make("[]");
    if (texts->coefficients->array.rows != texts->tokens->array.rows)
        stream_fail(words->reader, "'%s' has %zu elements, '%s' has %zu", texts->coefficients->name,
                    texts->coefficients->array.rows, texts->tokens->name, texts->tokens->array.rows);
    for (size_t i = texts->at; i < texts->at + count; i++)
        json_add(pairs, json_make("[o, o]", element_json(words, texts->tokens, i),
                                  element_json(words, texts->coefficients, i)));
    return pairs;
}

static void add_text(struct record_words *words, struct row_texts *texts, size_t row, json_t *object)
{
    uint64_t count = declared_number(&texts->lengths->array, row);
    number_check(words->reader, texts->lengths->name, count, texts->tokens->array.rows - texts->at);
    bool placeholder = count && texts->of_prompts;
    json_put(object, texts->tokens->name,
             text_json(words, &texts->tokens->array, texts->at, (size_t)count - placeholder));
    if (texts->coefficients)
        json_put(object, texts->coefficients->name, coefficients_json(words, texts, (size_t)count));
    texts->at += (size_t)count;
}

static void check_texts(const struct record_words *words, const struct row_texts *texts)
{
    if (texts->tokens && texts->at != texts->tokens->array.rows)
        stream_fail(words->reader, "'%s' has %zu tokens, '%s' adds up to %zu", texts->tokens->name,
                    texts->tokens->array.rows, texts->lengths->name, texts->at);
}

/* ---- groups of arrays ---- */

/* How many rows the arrays of a dimension have, which must be as many in each. */
static size_t common_rows(const struct record_words *words, const struct arrays *arrays,
                          const char *dimension)
{
    size_t rows = SIZE_MAX;
    for (size_t i = 0; i < arrays->count; i++) {
        const struct declared_array *array = &arrays->array[i].array;
        if (strcmp(array->dimension, dimension))
            continue;
        if (rows != SIZE_MAX && array->rows != rows)
            stream_fail(words->reader, "'%s' has %zu rows, others of the same %s have %zu",
                        arrays->array[i].name, array->rows, dimension, rows);
        rows = array->rows;
    }
    return rows;
}

/* The arrays' elements of a row, and its text behind the number of its tokens. */
static void add_row(struct record_words *words, const struct arrays *arrays, const char *dimension,
                    size_t row, struct row_texts *texts, json_t *object)
{
    for (size_t i = 0; i < arrays->count; i++) {
        const struct named_array *named = &arrays->array[i];
        if (strcmp(named->array.dimension, dimension))
            continue;
        json_put(object, named->name, row_json(words, named, row));
        if (named == texts->lengths)
            add_text(words, texts, row, object);
    }
}

/* An object of each sentence, row, trigger or change. */
static json_t *listed_json(struct record_words *words, const struct record *record,
                           const struct arrays *arrays, const char *dimension)
{
    size_t rows = common_rows(words, arrays, dimension);
    bool numbered = !strcmp(dimension, "sentences") && record_has(record, "id") && !find(arrays, "sentence");
    uint64_t id = numbered ? record_number(record, "id", INT64_MAX / 2) : 0;
    struct row_texts texts = row_texts_of(words, arrays, dimension);
    json_t *list = json_make("[]");
    for (size_t row = 0; row < rows; row++) {
        json_t *object = numbered ? json_make("{s:I}", "sentence", (json_int_t)(id + row)) : json_make("{}");
        add_row(words, arrays, dimension, row, &texts, object);
        json_add(list, object);
    }
    check_texts(words, &texts);
    return list;
}

/* Token counts: of each token that occurs. */
static json_t *counts_json(struct record_words *words, const struct named_array *named)
{
    json_t *list = json_make("[]");
    for (size_t token = 0; token < named->array.rows; token++) {
        uint64_t count = declared_number(&named->array, token);
        if (count)
            json_add(list, json_make("[o, o]", token_json(words, token),
                                     integer_json(words, named->name, count)));
    }
    return list;
}

/* Arrays of another dimension: a list of each row's elements, or of what the only array has. */
static json_t *tuples_json(struct record_words *words, const struct arrays *arrays, const char *dimension)
{
    size_t rows = common_rows(words, arrays, dimension);
    json_t *list = json_make("[]");
    for (size_t row = 0; row < rows; row++) {
        json_t *tuple = json_make("[]");
        for (size_t i = 0; i < arrays->count; i++)
            if (!strcmp(arrays->array[i].array.dimension, dimension))
                json_add(tuple, row_json(words, &arrays->array[i], row));
        json_add(list, json_incref(json_array_size(tuple) == 1 ? json_array_get(tuple, 0) : tuple));
        json_decref(tuple);
    }
    return list;
}

/* An array that has_own_rows: a list, or, of an exact sum, the number. */
static json_t *fixed_json(struct record_words *words, const struct record *record,
                          const struct named_array *named)
{
    const struct declared_array *array = &named->array;
    if (ends_with(named->name, "_sum") && array->type == ELEMENT_UINT64 && array->rows == EXACT_LIMBS) {
        struct exact_sum sum = {0};
        char *name = format_string("%.*s", (int)(strlen(named->name) - strlen("_sum")), named->name);
        exact_read(record, name, &sum);
        free(name);
        return real_json(exact_value(&sum));
    }
    json_t *list = json_make("[]");
    for (size_t row = 0; row < array->rows; row++)
        json_add(list, row_json(words, named, row));
    return list;
}

/* Whether the rows of an array are no others' of its dimension: of fixed size, and counts of cells. */
static bool has_own_rows(const struct declared_array *array)
{
    return !*array->dimension || !strcmp(array->dimension, "cells");
}

/* What the list that an array belongs to is called. */
static char *group_name(const struct named_array *named)
{
    const char *dimension = named->array.dimension;
    if (is_listed(dimension, listed_dimensions))
        return copy_string(dimension);
    size_t length = strlen(named->name) - (ends_with(named->name, "_bin") ? strlen("_bin") : 0);
    return format_string("%.*s", (int)length, named->name);
}

static json_t *group_json(struct record_words *words, const struct record *record,
                          const struct arrays *arrays, const struct named_array *first)
{
    const char *dimension = first->array.dimension;
    if (is_listed(dimension, listed_dimensions))
        return listed_json(words, record, arrays, dimension);
    if (has_own_rows(&first->array))
        return fixed_json(words, record, first);
    return strcmp(dimension, "vocabulary") ? tuples_json(words, arrays, dimension)
                                           : counts_json(words, first);
}

/* Whether an array is shown with another one: an earlier one of its dimension, or as rows' texts. */
static bool is_shown_with_another(const struct arrays *arrays, size_t index)
{
    const struct declared_array *array = &arrays->array[index].array;
    const char *name = arrays->array[index].name;
    if ((!strcmp(name, "tok") && find(arrays, "len"))
        || (!strcmp(name, "prefix") && find(arrays, "position")))
        return true;
    for (size_t i = 0; i < index && !has_own_rows(array); i++)
        if (!strcmp(arrays->array[i].array.dimension, array->dimension))
            return true;
    return false;
}

/* ---- records ---- */

/* The record's arrays; its numbers become members of numbers. */
static struct arrays *arrays_of(const struct record_words *words, const struct record *record,
                                json_t *numbers)
{
    struct arrays *arrays = new_array(1, sizeof *arrays);
    const msgpack_object_map *map = &record->object.via.map;
    for (uint32_t i = 0; i < map->size && arrays->count < MAX_ARRAYS; i++) {
        const msgpack_object *value = &map->ptr[i].val;
        char *name = object_member_name(&map->ptr[i]);
        if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER
            && json_object_set_new(numbers, name, member_json(words, name, value->via.u64)) != 0)
            stream_fail(words->reader, "a member's name is not UTF-8");
        if (value->type == MSGPACK_OBJECT_BIN)
            arrays->array[arrays->count++] = (struct named_array){
                name, declared_array(words->reader, words->header, name, &value->via.bin)};
        else
            free(name);
    }
    return arrays;
}

json_t *record_words_json(struct record_words *words, const struct record *record)
{
    json_t *object = json_make("{}");
    struct arrays *arrays = arrays_of(words, record, object);
    for (size_t i = 0; i < arrays->count; i++)
        if (!is_shown_with_another(arrays, i)) {
            char *name = group_name(&arrays->array[i]);
            json_put(object, name, group_json(words, record, arrays, &arrays->array[i]));
            free(name);
        }
    for (size_t i = 0; i < arrays->count; i++)
        free(arrays->array[i].name);
    free(arrays);
    return object;
}

struct record_words *record_words_new(const struct stream_reader *reader, const json_t *header,
                                      const struct tokenizer *tokenizer, size_t vocabulary)
{
    struct record_words *words = new_array(1, sizeof *words);
    *words = (struct record_words){reader, header, tokenizer, token_texts_new(tokenizer, vocabulary)};
    return words;
}

void record_words_free(struct record_words *words)
{
    token_texts_free(&words->texts);
    free(words);
}
