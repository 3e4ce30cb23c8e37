/*
 * Python pickles, protocols 2 to 4, read as data. Nothing is imported, called or
 * built: what a pickle asks for is recorded, and only what the caller lists may
 * be asked for. Any other opcode or global ends the program, by name.
 *
 * Memory and time are in proportion to the pickle's size. Values may be shared
 * and may hold themselves, so they are not to be walked recursively.
 */
#ifndef FFKV_PICKLE_H
#define FFKV_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a call of a global gives. The caller's own roles count from PICKLE_ROLES. */
enum pickle_role {
    PICKLE_OPAQUE,  /* an object that nobody looks into */
    PICKLE_MAPPING, /* called without arguments, an empty dictionary */
    PICKLE_RECORD,  /* an object whose state holds its attributes by name */
    PICKLE_ROLES
};

/* What a pickle may name. A NULL module ends a table. */
struct pickle_global {
    const char *module, *name;
    int role;
};

/* Bytes of the pickle itself, not terminated. */
struct pickle_text {
    const char *bytes;
    size_t length;
};

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INTEGER,
    PICKLE_HUGE,       /* an integer of more than 64 bits: text, little endian */
    PICKLE_REAL,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,       /* items: key, value, key, value ... */
    PICKLE_GLOBAL,
    PICKLE_OBJECT,     /* what a call of a global would give */
    PICKLE_PERSISTENT, /* items: the one value that names something outside of the pickle */
};

struct pickle_value {
    enum pickle_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        struct pickle_text text;
        struct {
            struct pickle_value **items;
            size_t count, room;
        };
        const struct pickle_global *global;
        struct {
            const struct pickle_global *type;
            struct pickle_value *arguments; /* a tuple */
            struct pickle_value *state;     /* or NULL */
        };
    };
};

struct pickle;

/*
 * Reads one pickle, which begins at bytes and ends by itself within size. name
 * and at, the offset of bytes in what name names, are for messages. *end: behind
 * its last byte. The values point into bytes and into globals, which must stay.
 */
struct pickle *pickle_read(const char *name, const void *bytes, size_t size, size_t at,
                           const struct pickle_global *globals, size_t *end);
void pickle_free(struct pickle *pickle);

const struct pickle_value *pickle_root(const struct pickle *pickle);

/* The value that the pickle has made as number index, from 0; NULL behind the last. */
const struct pickle_value *pickle_value(const struct pickle *pickle, size_t index);

/* Of a dictionary or a record the value by this name, the last one; NULL: there is none. */
const struct pickle_value *pickle_find(const struct pickle_value *value, const char *name);

/* Whether value, which may be NULL, is this text. */
bool pickle_is_text(const struct pickle_value *value, const char *text);

/* "a tuple", "None"; of an object its type's name. Static storage. */
const char *pickle_describe(const struct pickle_value *value);

#endif
