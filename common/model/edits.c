#include "model/edits.h"

#include "base/hash.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/limits.h"
#include "base/messages.h"
#include "base/order.h"
#include "numeric/vector.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const edit_at_words[] = {"all", "last", NULL};

enum operation { EDIT_SET, EDIT_SCALE, EDIT_ADD };

/* How each is written, before its number. */
static const char *const operation_signs[] = {"", "*", "+"};

/* Of the cells first .. end - 1 of a layer. */
struct edit {
    size_t layer, first, end;
    enum operation operation;
    float number;
};

/* What is edited: coefficients, or their absolute values, from low to high. */
struct condition {
    bool is_there, absolute, greater, or_equal;
    float threshold;
    float low, high;
};


struct edits {
    struct edit *edit; /* count: by layer, then cell */
    size_t count, capacity;
    size_t *first;     /* layers + 1: of each layer's edits the first */
    size_t layers, d_ff;
    enum edit_at at;
    struct condition where;
    struct removals *removals; /* NULL: none */
};

/* ---- reading ---- */

/* Where an edit was read, for messages. */
struct source {
    const char *file; /* NULL: the command line */
    uint64_t line;
};

static _Noreturn void fail(const struct source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static _Noreturn void fail(const struct source *source, const char *format, ...)
{
    char message[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (source->file)
        die("%s: line %llu: %s", source->file, (unsigned long long)source->line, message);
    die_usage("--edit: %s", message);
}

static _Noreturn void malformed(const struct source *source, const char *text)
{
    fail(source, "'%.100s' is no edit: 3:7=0 sets cell 7 of layer 3 to 0; 3:10-20=*2 scales, 3:*=+0.5 adds "
         "to cells", text);
}

/* A whole number at *text, which moves behind it; false: there is none. */
static bool read_whole(const char **text, size_t *number)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    unsigned long long read = strtoull(*text, &end, 10);
    *number = errno || read > SIZE_MAX ? SIZE_MAX : (size_t)read; /* more than any model has */
    *text = end;
    return true;
}

/* All of text is a number that a float has: true. -0 becomes 0. */
static bool read_float(const char *text, float *number)
{
    char *end;
    if (!*text || text[strspn(text, "0123456789.eE+-")] || *text == '+')
        return false;
    double read = strtod(text, &end);
    *number = (float)read + 0.0f;
    return end != text && !*end && isfinite(*number) && (read == 0 || *number != 0);
}

/* The cells of an edit, up to its equals sign. */
static bool read_cells(const char **text, size_t d_ff, struct edit *edit)
{
    if (**text == '*') {
        ++*text;
        edit->first = 0;
        edit->end = d_ff;
        return true;
    }
    if (!read_whole(text, &edit->first))
        return false;
    size_t last = edit->first;
    if (**text == '-') {
        ++*text;
        if (!read_whole(text, &last) || last < edit->first)
            return false;
    }
    edit->end = last < SIZE_MAX ? last + 1 : last;
    return true;
}

/* What an edit does, and its number, up to the end of *text; false: there is none, at *text. */
static bool read_value(const char **text, struct edit *edit)
{
    edit->operation = **text == '*' ? EDIT_SCALE : **text == '+' ? EDIT_ADD : EDIT_SET;
    *text += edit->operation != EDIT_SET;
    return read_float(*text, &edit->number);
}

bool is_edit_value(const char *text)
{
    struct edit edit;
    return read_value(&text, &edit);
}

static struct edit read_edit(const struct edits *edits, const struct source *source, const char *text)
{
    struct edit edit = {0};
    const char *next = text;
    size_t shown;
    if (!read_whole(&next, &shown) || *next++ != ':' || !read_cells(&next, edits->d_ff, &edit)
        || *next++ != '=')
        malformed(source, text);
    if (shown < layer_shown(0) || shown >= layer_shown(edits->layers))
        fail(source, "'%.100s': there is no such layer; the model's are %zu to %zu", text, layer_shown(0),
             edits->layers);
    if (edit.end > edits->d_ff)
        fail(source, "'%.100s': there is no such cell; a layer's are 0 to %zu", text, edits->d_ff - 1);
    edit.layer = layer_of_shown(shown);
    if (!read_value(&next, &edit))
        fail(source, "'%.100s': '%.50s' is no number, or none that a 32-bit float has", text, next);
    return edit;
}

/* A list of edits, which loses its commas; blanks around each are passed over. */
static void read_list(struct edits *edits, const struct source *source, char *list)
{
    for (char *next = list; next;) {
        char *text = next + strspn(next, " \t\r"), *comma = strchr(text, ',');
        next = comma ? comma + 1 : NULL;
        size_t length = comma ? (size_t)(comma - text) : strlen(text);
        while (length && strchr(" \t\r", text[length - 1]))
            length--;
        text[length] = '\0';
        if (edits->count == MAX_EDITS)
            fail(source, "more than %d edits; ranges of cells, 3:10-20=0, are one each", MAX_EDITS);
        edits->edit = reserve_array(edits->edit, &edits->capacity, edits->count + 1, sizeof *edits->edit);
        edits->edit[edits->count++] = read_edit(edits, source, text);
    }
}

/* Its lines, each a list, without comments and blank ones. */
static void read_file(struct edits *edits, const char *path)
{
    size_t length, before = edits->count;
    char *bytes = input_read_all(path, "list of edits'", &length), *line = bytes;
    struct source source = {.file = path};
    for (const char *end = bytes + length; line < end;) {
        char *line_end = memchr(line, '\n', (size_t)(end - line));
        size_t line_length = line_end ? (size_t)(line_end - line) : (size_t)(end - line);
        char *text = format_string("%.*s", (int)line_length, line);
        source.line++;
        if (strlen(text) < line_length)
            fail(&source, "a NUL byte; this is no list of edits");
        text[strcspn(text, "#")] = '\0';
        if (text[strspn(text, " \t\r")])
            read_list(edits, &source, text);
        free(text);
        line += line_length + 1;
    }
    free(bytes);
    if (edits->count == before)
        die("%s: there is no edit in it", path);
}

/* [m or |m|] > T and so on; NULL: whatever it is. */
static struct condition read_condition(const char *text)
{
    struct condition condition = {.is_there = text, .low = -INFINITY, .high = INFINITY};
    if (!text)
        return condition;
    const char *next = text + strspn(text, " ");
    condition.absolute = !strncmp(next, "|m|", 3);
    next += condition.absolute ? 3 : *next == 'm';
    next += strspn(next, " ");
    bool is_comparison = *next == '<' || *next == '>';
    condition.greater = *next == '>';
    next += is_comparison;
    condition.or_equal = *next == '=';
    next += condition.or_equal;
    next += strspn(next, " ");
    if (!is_comparison || !read_float(next, &condition.threshold))
        die_usage("--edit-where takes a test of the coefficient such as '>0.5', '<=-1' or '|m|>=0.5', "
                  "not '%.100s'", text);
    float *bound = condition.greater ? &condition.low : &condition.high;
    *bound = condition.or_equal ? condition.threshold
                                : nextafterf(condition.threshold, condition.greater ? INFINITY : -INFINITY);
    return condition;
}

/* ---- the list ---- */

static int by_place(const void *a, const void *b)
{
    const struct edit *left = a, *right = b;
    int order = compare_numbers(left->layer, right->layer);
    return order ? order : compare_numbers(left->first, right->first);
}

static bool is_one_range(const struct edit *a, const struct edit *b)
{
    return a->layer == b->layer && a->end == b->first && a->operation == b->operation
           && !memcmp(&a->number, &b->number, sizeof a->number);
}

/* In order, neighbours that do the same as one, so that equal edits are equal lists. */
static void sort_edits(struct edits *edits)
{
    size_t kept = 0;
    if (edits->count)
        qsort(edits->edit, edits->count, sizeof *edits->edit, by_place);
    for (size_t i = 0; i < edits->count; i++) {
        const struct edit *edit = &edits->edit[i], *last = &edits->edit[i - (i > 0)];
        if (i && edit->layer == last->layer && edit->first < last->end)
            die_usage("--edit: cell %zu of layer %zu is edited twice", edit->first, layer_shown(edit->layer));
        if (kept && is_one_range(&edits->edit[kept - 1], edit))
            edits->edit[kept - 1].end = edit->end;
        else
            edits->edit[kept++] = *edit;
    }
    edits->count = kept;
}

/* Where each layer's edits begin. */
static void index_layers(struct edits *edits)
{
    edits->first = new_array(edits->layers + 1, sizeof *edits->first);
    for (size_t i = 0; i < edits->count; i++)
        edits->first[edits->edit[i].layer + 1]++;
    for (size_t layer = 0; layer < edits->layers; layer++)
        edits->first[layer + 1] += edits->first[layer];
}

struct edits *edits_read(const struct edit_options *options, const struct model *model, uint64_t seed)
{
    const struct source command_line = {0};
    bool any = options->edits.count || options->file;
    if (options->where && !any)
        die_usage("--edit-where goes with --edit or --edits");
    if (options->at && !any && !options->removed.count)
        die_usage("--edit-at goes with --edit, --edits or --remove");
    if (options->values && !options->removed.count)
        die_usage("--values goes with --remove and its rule agreeing");
    if (!any && !options->removed.count)
        return NULL;
    struct edits *edits = new_array(1, sizeof *edits);
    edits->layers = model->config.layers;
    edits->d_ff = model->config.d_ff;
    edits->at = (enum edit_at)options->at;
    edits->where = read_condition(options->where);
    for (size_t i = 0; i < options->edits.count; i++) {
        char *list = copy_string(options->edits.text[i]);
        read_list(edits, &command_line, list);
        free(list);
    }
    if (options->file)
        read_file(edits, options->file);
    sort_edits(edits);
    index_layers(edits);
    edits->removals = removals_read(&options->removed, model, seed);
    if (edits_need_predictions(edits) && !options->values)
        die_usage("--remove with agreeing needs --values FILE: project-values --all --tops 1 writes it");
    if (options->values && !edits_need_predictions(edits))
        die_usage("--values goes with --remove and its rule agreeing");
    return edits;
}

void edits_free(struct edits *edits, struct edit_options *options)
{
    free(options->edits.text);
    free(options->removed.text);
    if (!edits)
        return;
    free(edits->edit);
    free(edits->first);
    removals_free(edits->removals);
    free(edits);
}

bool edits_need_predictions(const struct edits *edits)
{
    return edits->removals && removals_need_predictions(edits->removals);
}

void edits_read_values(struct edits *edits, const char *path, const struct model *model,
                       const struct candidates *candidates)
{
    removals_read_values(edits->removals, path, model, candidates);
}

enum edit_at edits_at(const struct edits *edits)
{
    return edits->at;
}

size_t edits_last_layer(const struct edits *edits)
{
    size_t edited = edits->count ? edits->edit[edits->count - 1].layer : 0;
    size_t removed = edits->removals ? removals_last_layer(edits->removals) : 0;
    return edited > removed ? edited : removed;
}

/* ---- making them ---- */

/*
 * m becomes m * factor + addend in the cells of an edit, of one position (d_ff), where the condition
 * holds. Returns whether all are finite then.
 */
KERNEL static bool edit_row(const struct edit *edit, const struct condition *condition, float *coefficient)
{
    const float factor = edit->operation == EDIT_SCALE ? edit->number : edit->operation == EDIT_ADD;
    const float addend = edit->operation == EDIT_SCALE ? 0 : edit->number;
    const float low = condition->low, high = condition->high;
    const bool absolute = condition->absolute;
    int overflows = 0;
    for (size_t cell = edit->first; cell < edit->end; cell++) {
        float m = coefficient[cell], tested = absolute ? fabsf(m) : m, becomes = m * factor + addend;
        /* One that is equal may be the other one of 0 and -0. */
        bool changes = (tested >= low) & (tested <= high) & (becomes != m);
        coefficient[cell] = changes ? becomes : m;
        overflows |= !(fabsf(coefficient[cell]) <= FLT_MAX);
    }
    return !overflows;
}

void edits_apply(const struct edits *edits, size_t layer, const struct edited_rows *rows, float *coefficient)
{
    const struct edit *begin = edits->edit + edits->first[layer];
    const struct edit *end = edits->edit + edits->first[layer + 1];
    for (size_t r = 0; r < rows->count && begin < end; r++)
        for (const struct edit *edit = begin; edit < end; edit++)
            if (!edit_row(edit, &edits->where, coefficient + rows->row[r] * edits->d_ff))
                die("layer %zu, cells %zu to %zu: an edited coefficient is no longer a 32-bit float",
                    layer_shown(layer), edit->first, edit->end - 1);
    if (edits->removals)
        removals_apply(edits->removals, layer, rows, coefficient);
}

/* ---- headers ---- */

/* A number with the digits that tell it from every other float; the caller gives it up. */
static json_t *value_json(const char *sign, float number)
{
    char text[40];
    snprintf(text, sizeof text, "%s%.9g", sign, (double)number);
    return json_make("s", text);
}

static json_t *condition_json(const struct condition *condition)
{
    char sign[8];
    snprintf(sign, sizeof sign, "%s %c%s ", condition->absolute ? "|m|" : "m", condition->greater ? '>' : '<',
             condition->or_equal ? "=" : "");
    return value_json(sign, condition->threshold);
}

static json_t *edits_json(const struct edits *edits)
{
    json_t *list = json_make("[]"), *json = json_make("{s:s}", "at", edit_at_words[edits->at]);
    if (edits->where.is_there)
        json_put(json, "where", condition_json(&edits->where));
    for (size_t i = 0; i < edits->count; i++) {
        const struct edit *edit = &edits->edit[i];
        json_add(list, json_make("[I, I, I, o]", (json_int_t)edit->layer, (json_int_t)edit->first,
                                 (json_int_t)edit->end,
                                 value_json(operation_signs[edit->operation], edit->number)));
    }
    json_put(json, "list", list);
    if (edits->removals)
        removals_set_json(json, edits->removals);
    return json;
}

void header_set_edits(json_t *header, json_t *options, const struct edits *edits)
{
    char hash_text[HASH_CHARACTERS + 1];
    json_t *json = edits_json(edits);
    char *line = json_line(json);
    struct hash *hash = hash_new();
    hash_add(hash, line, strlen(line));
    hash_finish(hash, hash_text);
    free(line);
    json_put(header, EDITS_MEMBER, json);
    json_put(options, EDITS_MEMBER, json_string(hash_text));
}

void header_check_edits(const struct stream_reader *reader, const struct edits *edits, bool needed)
{
    const json_t *theirs = json_object_get(stream_header(reader), EDITS_MEMBER);
    json_t *ours = edits ? edits_json(edits) : NULL;
    if (theirs && !(ours && json_equal(theirs, ours)))
        stream_fail(reader, "its triggers were found in an edited model: give the same --edit, --edit-at and "
                    "--edit-where");
    if (!theirs && ours && needed)
        stream_fail(reader, "its coefficients before the change are those of a model without edits: find the "
                    "triggers with the same --edit");
    json_decref(ours);
}

json_t *header_edits(const struct stream_reader *reader)
{
    const json_t *edits = json_object_get(stream_header(reader), EDITS_MEMBER);
    return edits ? json_deep_copy(edits) : NULL;
}

void header_check_same_edits(const struct stream_reader *reader, const json_t *edits, const char *whose)
{
    const json_t *own = json_object_get(stream_header(reader), EDITS_MEMBER);
    if (own != edits && !(own && edits && json_equal(own, edits)))
        stream_fail(reader, "made with other edits of memories than %s: the two are of different models",
                    whose);
}
