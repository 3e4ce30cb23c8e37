/*
 * The pieces of a stream, packed as MessagePack at a buffer's end. What does not fit in a stream
 * ends the program.
 */
#ifndef FFKV_PACKING_H
#define FFKV_PACKING_H

#include <jansson.h>
#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

/* A record is pack_map, then that many named members. */
void pack_map(msgpack_sbuffer *buffer, size_t members);
void pack_number(msgpack_sbuffer *buffer, const char *name, uint64_t number);

/* count elements of size bytes, as a binary value. */
void pack_array(msgpack_sbuffer *buffer, const char *name, const void *elements, size_t count,
                size_t size);

/* Any value; members in the order in which they were set, so that equal headers are equal bytes. */
void pack_json(msgpack_sbuffer *buffer, const json_t *json);

/* The members of an object, without the map around them. */
void pack_json_members(msgpack_sbuffer *buffer, const json_t *object);

#endif
