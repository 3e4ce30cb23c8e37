/*
 * What readers of keys write down: CSV files, one row a pattern, that the pages of
 * annotation-sheet give and pattern-stats takes. annotation-sheet(1) defines the columns.
 */
#ifndef FFKV_ANNOTATION_H
#define FFKV_ANNOTATION_H

#include <stddef.h>
#include <stdint.h>

enum {
    MOST_SHOWN_TRIGGERS = 10000, /* of one key */
    LEAST_PATTERN_TRIGGERS = 3,  /* that must show a pattern (paper, section 3.2) */
};

/* Which kinds of patterns a trigger shows: the classes of the paper's figure 2. */
enum trigger_class { CLASS_NONE, CLASS_SHALLOW, CLASS_SEMANTIC, CLASS_BOTH, TRIGGER_CLASSES };

/* Where something stands, for messages. */
struct place {
    const char *file;
    uint64_t line;
};

/* What one reader found in one key. */
struct reading {
    const char *reader, *model;
    size_t layer, cell;         /* both from 0 */
    size_t triggers, patterns;  /* shown to the reader; patterns that count */
    unsigned char *trigger_class; /* triggers */
    struct place place;         /* of its first row */
};

struct annotations {
    struct reading *reading; /* by layer, cell, reader's name; a reader has one of a key */
    size_t count;
    struct annotation_rows *rows;
};

/*
 * Reads files (NULL: standard input), which together must be in order: all of one
 * model, equally many triggers of a key for all its readers, no pattern twice. Ends
 * the program, with file and line, where they are not. A pattern that fewer than
 * LEAST_PATTERN_TRIGGERS triggers show, or that has no description, is not finished:
 * it does not count, and a warning says so.
 */
struct annotations annotations_read(const char *const *paths, size_t count);
void annotations_free(struct annotations *annotations);

#endif
