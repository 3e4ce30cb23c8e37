/* JSON: reading files that are an object, and making it. All that can fail ends the program. */
#ifndef FFKV_JSON_H
#define FFKV_JSON_H

#include <jansson.h>
#include <stddef.h>

/* JSON on one line, any value; 9 digits tell 32-bit floats apart. */
#define JSON_LINE (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9))

/* The same with 17 digits, which tell 64-bit floats apart. */
#define JSON_LINE_DOUBLE (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17))

/*
 * The object that a file consists of; the caller gives it up. The bytes, as input_read_all reads
 * them, and the values are bounded. One beyond that, one that is no object, and one in which a
 * name occurs twice in an object end the program. For messages: whose file it is ("tokenizer's"),
 * and what it must be.
 */
json_t *json_read_object(const char *path, const char *whose, const char *what);

/* The text of it, which the caller frees. */
char *json_line(const json_t *json);

/* As json_pack. */
json_t *json_make(const char *format, ...);

/* An array of numbers. */
json_t *json_list(const size_t *numbers, size_t count);

/* A list of those words, of a NULL-terminated list, whose bit is set. */
json_t *json_words(unsigned bits, const char *const *words);

/* A text that may be no UTF-8, whose bytes above 127 are question marks then. */
json_t *json_readable(const char *text);

/* Appends to an array, which takes value over. */
void json_add(json_t *list, json_t *value);

/* Sets a member of an object, which takes value over. */
void json_put(json_t *object, const char *name, json_t *value);

#endif
