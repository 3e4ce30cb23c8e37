/*
 * MessagePack as JSON. A binary value is an array of numbers, by the type that the stream's
 * header declares for the member of its name. What JSON cannot hold ends the program.
 */
#ifndef FFKV_OBJECT_JSON_H
#define FFKV_OBJECT_JSON_H

#include "stream/objects.h"

#include <jansson.h>
#include <msgpack.h>

/* The object, which is called name, as a value that the caller frees. Integers end at 2^63. */
json_t *object_json(const struct objects *objects, const char *name, const msgpack_object *object);

/* The object as one line, which the caller frees. Integers end at 2^64. */
char *object_text(const struct objects *objects, const char *name, const msgpack_object *object);

/* Ends the program where object_text would: elements of arrays can be any. Makes no text. */
void object_check(const struct objects *objects, const char *name, const msgpack_object *object);

#endif
