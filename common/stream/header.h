/*
 * Headers as stages make them: what they say of the stream, the arrays that they declare, and the
 * history of stages. header_members.h reads what a stream's header says.
 */
#ifndef FFKV_HEADER_H
#define FFKV_HEADER_H

#include <jansson.h>
#include <stddef.h>

/*
 * A header of this kind with nothing but format, version and an empty history,
 * or, given the header of the stage before, with all that it says.
 */
json_t *header_new(const char *kind, const json_t *before);

/* Says that its sentences are prompts. */
void header_set_prompts(json_t *header);

/* Declares an array: shape is a JSON array of numbers and names; takes it over. */
void header_declare(json_t *header, const char *array, const char *type, json_t *shape);

/* Adds a stage and the options that shape its result (taken over) to the history. */
void header_add_stage(json_t *header, const char *tool, json_t *options);

/*
 * The most bytes that a record can have, each of the arrays that the header declares being once
 * in it: from MAX_HEADER_BYTES to MAX_OBJECT_BYTES of stream_format.h. ffkv-stream(5), Limits.
 */
size_t header_record_bytes(const json_t *header);

#endif
