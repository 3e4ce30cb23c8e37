/*
 * What the members of a record are, as a table of a struct's members: what a header declares,
 * what is packed and read, what is allocated, added up and freed follow from it.
 * ffkv-stream(5) describes the same members; a test compares the two.
 */
#ifndef FFKV_FIELDS_H
#define FFKV_FIELDS_H

#include "stream/elements.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
    FIELD_UINT16 = ELEMENT_UINT16, /* arrays of these elements */
    FIELD_UINT32 = ELEMENT_UINT32,
    FIELD_UINT64 = ELEMENT_UINT64,
    FIELD_FLOAT32 = ELEMENT_FLOAT32,
    FIELD_FLOAT64 = ELEMENT_FLOAT64,
    FIELD_NUMBER = ELEMENTS,       /* an integer that says which: a layer, a sentence */
    FIELD_COUNT,                   /* an integer that adds up, at most MAX_COUNT */
    FIELD_EXACT,                   /* a struct exact_sum, the array NAME_sum */
    FIELD_HISTOGRAM,               /* a struct histogram, the arrays NAME_bin and NAME_count */
};

/* A member of a record, and of the struct that holds it. */
struct field {
    const char *name; /* NULL: the table's end */
    enum field_type type;
    const char *dimension; /* of an array: what it has a row of; NULL: elements, all within the struct */
    size_t elements;       /* without a dimension */
    size_t offset;         /* in the struct: of the integer, of the pointer to elements, or of the elements */
    size_t rows, columns;  /* offsets of an array's counts, size_t each; NO_COLUMNS: one element a row */
    unsigned group;        /* a bit: the members that are there or not together; 0: always there */
};

#define NO_COLUMNS SIZE_MAX

/* Entries of tables. The elements' type is that of the struct's member. */
#define FIELD_TYPE(pointer)                                                                          \
    _Generic(pointer, uint16_t *: FIELD_UINT16, uint32_t *: FIELD_UINT32, uint64_t *: FIELD_UINT64,  \
             float *: FIELD_FLOAT32, double *: FIELD_FLOAT64, const uint32_t *: FIELD_UINT32,    \
             const float *: FIELD_FLOAT32)
#define FIELD_MEMBER(structure, member) (((structure *)0)->member)
#define FIELD_OF(structure, member) .offset = offsetof(structure, member), .columns = NO_COLUMNS

#define FIELD_ARRAY(structure, member, name_, dimension_, count, group_)                             \
    {.name = name_, .type = FIELD_TYPE(FIELD_MEMBER(structure, member)), .dimension = dimension_,    \
     .rows = offsetof(structure, count), .group = group_, FIELD_OF(structure, member)}
#define FIELD_MATRIX(structure, member, name_, dimension_, count, columns_, group_)                  \
    {.name = name_, .type = FIELD_TYPE(FIELD_MEMBER(structure, member)), .dimension = dimension_,    \
     .offset = offsetof(structure, member), .rows = offsetof(structure, count),                      \
     .columns = offsetof(structure, columns_), .group = group_}
#define FIELD_WITHIN(structure, member, name_) FIELD_WITHIN_IN(structure, member, name_, 0)
#define FIELD_WITHIN_IN(structure, member, name_, group_)                                            \
    {.name = name_, .group = group_, FIELD_OF(structure, member),                                    \
     .type = FIELD_TYPE(&FIELD_MEMBER(structure, member)[0]),                                        \
     .elements = sizeof FIELD_MEMBER(structure, member) / sizeof FIELD_MEMBER(structure, member)[0]}
#define FIELD_INTEGER(structure, member, name_, type_)                                               \
    FIELD_INTEGER_IN(structure, member, name_, type_, 0)
#define FIELD_INTEGER_IN(structure, member, name_, type_, group_)                                    \
    {.name = name_, FIELD_OF(structure, member), .group = group_,                                    \
     .type = _Generic(FIELD_MEMBER(structure, member), unsigned long: type_, unsigned long long: type_)}
#define FIELD_SUM(structure, member, name_, group_)                                                  \
    {.name = name_, FIELD_OF(structure, member), .group = group_,                                    \
     .type = _Generic(FIELD_MEMBER(structure, member), struct exact_sum: FIELD_EXACT,                \
                      struct histogram: FIELD_HISTOGRAM)}
#define FIELD_END {.name = NULL}

/*
 * Each of these works on the members of the table that are in no group or in one of groups;
 * of, from and to are structs of the table's kind.
 */
#define ALL_GROUPS (~0u)

/* Declares the arrays, in this order. Only tables with columns need of, for their number. */
void fields_declare(json_t *header, const struct field *fields, unsigned groups, const void *of);

/* What a record is made of: one table's members behind the other's. */
struct record_part {
    const struct field *fields;
    unsigned groups;
    const void *from;
};

/* A record of count parts. */
void record_pack(msgpack_sbuffer *buffer, const struct record_part *parts, size_t count);

/* A record of one. */
void fields_pack(msgpack_sbuffer *buffer, const struct field *fields, unsigned groups, const void *from);

/* The groups of which the record has a member. */
unsigned fields_found(const struct record *record, const struct field *fields);

/*
 * Reads the members. Arrays of the same count have equally many rows: as many as it says
 * already, or, where that is 0, as the first of these arrays has. An array that there is already
 * is freed; histograms have their bins, and are added to. The caller frees.
 */
void fields_read(const struct record *record, const struct field *fields, unsigned groups, void *to);

/* Copies one array, with as many elements as of says, to elements. */
void fields_copy(const struct record *record, const struct field *fields, const char *name, const void *of,
                 void *elements);

/* Zeroed arrays of as many elements as the counts say. */
void fields_allocate(const struct field *fields, unsigned groups, void *to);

/* Room for at least count rows in all arrays that have a row of each of dimension. */
void fields_reserve(const struct field *fields, unsigned groups, const char *dimension, size_t *capacity,
                    size_t count, void *to);

/* Adds what adds up: counts, their arrays within the struct or with a dimension, sums and histograms. */
void fields_add(const struct field *fields, unsigned groups, void *to, const void *more);

/* Frees arrays and histograms. */
void fields_free(const struct field *fields, void *of);

#endif
