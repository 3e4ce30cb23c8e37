/*
 * A stream that is written: header, records, trailer, as ffkv-stream(5) defines them. header.h
 * makes headers; packing.h packs a record, fields.h one of which there is a table.
 */
#ifndef FFKV_STREAM_WRITER_H
#define FFKV_STREAM_WRITER_H

#include <jansson.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream_writer;

/* Opens path (NULL: standard output) and writes the header, which stays the caller's. */
struct stream_writer *stream_create(const char *path, bool gzip, const json_t *header);

/* Appends count records, packed in buffer, and empties buffer. */
void stream_append(struct stream_writer *writer, msgpack_sbuffer *buffer, uint64_t count);

/*
 * The same of records that are packed elsewhere, piece by piece, the last of which ends with a record;
 * stream_count: so many they were.
 */
void stream_append_bytes(struct stream_writer *writer, const void *bytes, size_t size);
void stream_count(struct stream_writer *writer, uint64_t count);

/*
 * Writes the trailer with these counts, and what they say of the corpus (they stay the
 * caller's), completes the output, and frees writer.
 */
void stream_finish(struct stream_writer *writer, const json_t *counts);

#endif
