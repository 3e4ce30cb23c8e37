/*
 * The framing of a stream that is read: MessagePack maps, one behind the other, whatever they
 * are. What an object claims to have is bounded before it is unpacked, and room follows what has
 * arrived. Whatever is wrong ends the program, with a message that names the file, the record
 * and the byte.
 *
 * stream_reader.h makes a header, records and a trailer of them.
 */
#ifndef FFKV_OBJECTS_H
#define FFKV_OBJECTS_H

#include "base/input.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct objects;

/* Opens path (NULL: standard input). */
struct objects *objects_open(const char *path);
void objects_close(struct objects *objects);

struct input *objects_input(const struct objects *objects);

/*
 * True: map is the next object, which holds until the next call; its members' names are strings,
 * each of which occurs once. False: the end of the input.
 */
bool objects_next(struct objects *objects, msgpack_object *map);

/*
 * The stream's header, which stays the caller's, until objects_close: from now on the arrays that
 * it declares bound the bytes of an object. NULL before.
 */
void objects_set_header(struct objects *objects, const json_t *header);
const json_t *objects_header(const struct objects *objects);

/* The current object is a record. How many were: messages number them. */
void objects_count_record(struct objects *objects);
uint64_t objects_records(const struct objects *objects);

/*
 * Ends the program unless crc, a member of the current object or NULL, is the object's last
 * bytes and has the CRC-32 of all bytes of the stream before it.
 */
void objects_check_crc(const struct objects *objects, const msgpack_object *crc);

/* Ends the program: the message, with file, record and byte before it. */
_Noreturn void objects_fail(const struct objects *objects, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void objects_fail_with(const struct objects *objects, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

/* The name of a map's member, which the caller frees. */
char *object_member_name(const msgpack_object_kv *member);

/* The map's member called name, or NULL. */
const msgpack_object *object_member(const msgpack_object *map, const char *name);

/* Whether the object is this string. */
bool object_is_text(const msgpack_object *object, const char *text);

#endif
