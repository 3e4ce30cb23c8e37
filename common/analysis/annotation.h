/*
 * What readers of keys write down: CSV files, one row a pattern, which the pages of
 * annotation-sheet give and pattern-stats takes. pattern-stats(1) defines the columns.
 */
#ifndef FFKV_ANNOTATION_H
#define FFKV_ANNOTATION_H

#include "table/table_in.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MAX_SHOWN_TRIGGERS = 10000, /* of one key */
    LEAST_PATTERN_TRIGGERS = 3,  /* that must show a pattern (paper, section 3.2) */
};

/* Which kinds of patterns a trigger shows, the classes of the paper's figure 2: bits for either kind. */
enum trigger_class { CLASS_NONE, CLASS_SHALLOW, CLASS_SEMANTIC, CLASS_BOTH, TRIGGER_CLASSES };

/* Who read: files say "person" or "program", such as a language model; or they do not say. */
enum reader_kind { READER_UNKNOWN, READER_PERSON, READER_PROGRAM };
extern const char *const reader_kind_words[]; /* NULL-terminated */

/* Where something is, for messages. */
struct csv_place {
    const char *file;
    uint64_t line;
};

/* What one reader found in one key. */
struct reading {
    struct csv_place place;         /* of its first pattern */
    const char *reader, *model;
    enum reader_kind reader_kind;
    size_t layer, cell;         /* both from 0 */
    size_t triggers;            /* that the reader was shown, at least 1 */
    size_t patterns;            /* that count */
    bool value_shown;           /* the value's words were, before one of its rows was written */
    unsigned char *trigger_class; /* triggers */
};

struct annotations {
    struct reading *reading;    /* by layer, cell, reader's name; a reader has one of a key */
    size_t count;
    struct table_in *table;     /* the files */
    size_t tables;
};

/* "FILE: line N: message", exit 1. */
_Noreturn void place_fail(struct csv_place place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Reads count files (NULL: standard input), which together must be in order: all of
 * one model, equally many triggers of a key for all its readers, no pattern twice, one kind
 * of each reader. The program ends, with file and line, where they are not. A pattern that fewer than
 * LEAST_PATTERN_TRIGGERS triggers show, or that has no description, is not finished:
 * it does not count, and a warning says so. Of a file without the column value_shown
 * the value's words were shown: the pages that gave such files always showed them;
 * of one without reader_kind the readers are of unknown kind.
 */
struct annotations annotations_read(const char *const *paths, size_t count);
void annotations_free(struct annotations *annotations);

/* Leaves out the readings before which the value's words were shown. */
void annotations_keep_hidden(struct annotations *annotations);

#endif
