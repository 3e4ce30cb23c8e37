#include "stream/fields.h"

#include "base/json.h"
#include "base/messages.h"
#include "stream/counts.h"
#include "stream/elements.h"
#include "stream/header.h"
#include "stream/packing.h"
#include "stream/record_members.h"
#include "stream/sums.h"

#include <stdlib.h>
#include <string.h>

static bool is_array(const struct field *field)
{
    return field->type < FIELD_NUMBER;
}

static enum element element_of(const struct field *field)
{
    return (enum element)field->type;
}

/* Bytes of an element. */
static size_t size_of(const struct field *field)
{
    return element_size(element_of(field));
}

static bool is_in(const struct field *field, unsigned groups)
{
    return !field->group || field->group & groups;
}

/* The first of the fields from this one on that is in the groups; NULL: none. */
static const struct field *first_in(const struct field *field, unsigned groups)
{
    while (field->name && !is_in(field, groups))
        field++;
    return field->name ? field : NULL;
}

#define FOR_FIELDS(each, fields, groups)                                                             \
    for (const struct field *each = first_in(fields, groups); each; each = first_in(each + 1, groups))

/* ---- members of the struct ---- */

static void *at(void *of, size_t offset)
{
    return (char *)of + offset;
}

static const void *in(const void *of, size_t offset)
{
    return (const char *)of + offset;
}

static size_t *rows_of(const struct field *field, void *of)
{
    return at(of, field->rows);
}

/* Elements a row. */
static size_t columns_of(const struct field *field, const void *of)
{
    return field->columns == NO_COLUMNS ? 1 : *(const size_t *)in(of, field->columns);
}

static size_t elements_of(const struct field *field, const void *of)
{
    return field->dimension ? matrix_count(*(const size_t *)in(of, field->rows), columns_of(field, of))
                            : field->elements;
}

/* A pointer to elements of any type; copied, for pointers to different types may be different things. */
static void *pointer_of(const struct field *field, const void *of)
{
    void *elements;
    memcpy(&elements, in(of, field->offset), sizeof elements);
    return elements;
}

static void set_pointer(const struct field *field, void *of, void *elements)
{
    memcpy(at(of, field->offset), &elements, sizeof elements);
}

static const void *elements_in(const struct field *field, const void *of)
{
    return field->dimension ? pointer_of(field, of) : in(of, field->offset);
}

static uint64_t *integer_of(const struct field *field, void *of)
{
    return at(of, field->offset);
}

/* ---- headers ---- */

static json_t *shape(const struct field *field, const void *of)
{
    if (!field->dimension)
        return json_make("[I]", (json_int_t)field->elements);
    if (field->columns == NO_COLUMNS)
        return json_make("[s]", field->dimension);
    return json_make("[s, I]", field->dimension, (json_int_t)columns_of(field, of));
}

void fields_declare(json_t *header, const struct field *fields, unsigned groups, const void *of)
{
    FOR_FIELDS(field, fields, groups) {
        if (is_array(field))
            header_declare(header, field->name, element_name(element_of(field)), shape(field, of));
        else if (field->type == FIELD_EXACT)
            header_declare_exact(header, field->name);
        else if (field->type == FIELD_HISTOGRAM)
            header_declare_histogram(header, field->name);
    }
}

/* ---- packing ---- */

static void pack_field(msgpack_sbuffer *buffer, const struct field *field, const void *from)
{
    switch (field->type) {
    case FIELD_NUMBER:
    case FIELD_COUNT:
        pack_number(buffer, field->name, *(const uint64_t *)in(from, field->offset));
        break;
    case FIELD_EXACT:
        exact_pack(buffer, field->name, in(from, field->offset));
        break;
    case FIELD_HISTOGRAM:
        histogram_pack(buffer, field->name, in(from, field->offset));
        break;
    default:
        pack_array(buffer, field->name, elements_in(field, from), elements_of(field, from), size_of(field));
    }
}

void record_pack(msgpack_sbuffer *buffer, const struct record_part *parts, size_t count)
{
    size_t members = 0;
    for (size_t i = 0; i < count; i++)
        FOR_FIELDS(field, parts[i].fields, parts[i].groups)
            members += field->type == FIELD_HISTOGRAM ? 2 : 1;
    pack_map(buffer, members);
    for (size_t i = 0; i < count; i++)
        FOR_FIELDS(field, parts[i].fields, parts[i].groups)
            pack_field(buffer, field, parts[i].from);
}

void fields_pack(msgpack_sbuffer *buffer, const struct field *fields, unsigned groups, const void *from)
{
    record_pack(buffer, &(struct record_part){fields, groups, from}, 1);
}

/* ---- reading ---- */

unsigned fields_found(const struct record *record, const struct field *fields)
{
    unsigned groups = 0;
    FOR_FIELDS(field, fields, ALL_GROUPS)
        if (field->group
            && (field->type == FIELD_HISTOGRAM ? histogram_found(record, field->name)
                                               : record_has(record, field->name)))
            groups |= field->group;
    return groups;
}

/* Whether the number of an array's rows is known: it was given, or is that of an array before it. */
static bool is_counted(const struct field *fields, unsigned groups, const struct field *field, const void *to)
{
    FOR_FIELDS(before, fields, groups) {
        if (before == field)
            break;
        if (before->dimension && before->rows == field->rows)
            return true;
    }
    return *(const size_t *)in(to, field->rows) > 0;
}

static void read_array(const struct record *record, const struct field *fields, unsigned groups,
                       const struct field *field, void *to)
{
    const size_t size = size_of(field);
    if (!field->dimension) {
        record_copy(record, field->name, at(to, field->offset), field->elements, size);
        return;
    }
    free(pointer_of(field, to));
    if (field->columns == NO_COLUMNS && !is_counted(fields, groups, field, to))
        set_pointer(field, to, record_array(record, field->name, size, rows_of(field, to)));
    else
        set_pointer(field, to, record_array_of(record, field->name, elements_of(field, to), size));
}

void fields_read(const struct record *record, const struct field *fields, unsigned groups, void *to)
{
    FOR_FIELDS(field, fields, groups)
        switch (field->type) {
        case FIELD_NUMBER:
            *integer_of(field, to) = record_number(record, field->name, INT64_MAX);
            break;
        case FIELD_COUNT:
            *integer_of(field, to) = record_number(record, field->name, MAX_COUNT);
            break;
        case FIELD_EXACT:
            exact_read(record, field->name, at(to, field->offset));
            break;
        case FIELD_HISTOGRAM:
            histogram_read(record, field->name, at(to, field->offset));
            break;
        default:
            read_array(record, fields, groups, field, to);
        }
}

void fields_copy(const struct record *record, const struct field *fields, const char *name, const void *of,
                 void *elements)
{
    FOR_FIELDS(field, fields, ALL_GROUPS)
        if (!strcmp(field->name, name)) {
            record_copy(record, name, elements, elements_of(field, of), size_of(field));
            return;
        }
    die("no table has '%s'", name);
}

/* ---- memory ---- */

void fields_allocate(const struct field *fields, unsigned groups, void *to)
{
    FOR_FIELDS(field, fields, groups)
        if (field->dimension)
            set_pointer(field, to, new_array(elements_of(field, to), size_of(field)));
}

void fields_reserve(const struct field *fields, unsigned groups, const char *dimension, size_t *capacity,
                    size_t count, void *to)
{
    if (count <= *capacity)
        return;
    *capacity = larger_capacity(*capacity, count);
    FOR_FIELDS(field, fields, groups)
        if (field->dimension && !strcmp(field->dimension, dimension)) {
            size_t elements = matrix_count(*capacity, columns_of(field, to));
            set_pointer(field, to, grow_array(pointer_of(field, to), elements, size_of(field)));
        }
}

static void add_counts(const struct field *field, void *to, const void *more)
{
    uint64_t *sum = field->dimension ? pointer_of(field, to) : at(to, field->offset);
    const uint64_t *added = elements_in(field, more);
    for (size_t i = 0; i < elements_of(field, to); i++)
        count_add(&sum[i], added[i]);
}

void fields_add(const struct field *fields, unsigned groups, void *to, const void *more)
{
    FOR_FIELDS(field, fields, groups)
        switch (field->type) {
        case FIELD_COUNT:
            count_add(integer_of(field, to), *(const uint64_t *)in(more, field->offset));
            break;
        case FIELD_UINT64:
            add_counts(field, to, more);
            break;
        case FIELD_EXACT:
            exact_add_sum(at(to, field->offset), in(more, field->offset));
            break;
        case FIELD_HISTOGRAM:
            histogram_add(at(to, field->offset), in(more, field->offset));
            break;
        default:
            break;
        }
}

void fields_free(const struct field *fields, void *of)
{
    FOR_FIELDS(field, fields, ALL_GROUPS)
        if (field->dimension) {
            free(pointer_of(field, of));
            set_pointer(field, of, NULL);
        } else if (field->type == FIELD_HISTOGRAM) {
            histogram_free(at(of, field->offset));
        }
}
