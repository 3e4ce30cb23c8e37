/*
 * The stream: MessagePack objects, one header, records, one trailer with the
 * number of records and a CRC-32. Manual page ffkv-stream(5) defines it; this
 * file knows the framing, records.h the kinds of record.
 *
 * A reader never returns what it could not check: whatever is wrong with a
 * stream ends the program with a message that names the file, the record and
 * the byte.
 */
#ifndef FFKV_STREAM_H
#define FFKV_STREAM_H

#include "base/input.h"
#include "base/json.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- reading ---- */

struct stream_reader;

/* One record; it and what is read from it hold until the next stream_next. */
struct record {
    const struct stream_reader *reader;
    msgpack_object object; /* a map */
};

/*
 * Opens path (NULL: standard input) and checks its header: format, version, and
 * the kind, where kind is not NULL.
 */
struct stream_reader *stream_open(const char *path, const char *kind);

/*
 * A stream without a sentence ends the program at its end, unless it is a shard of a corpus
 * that has some; after this call such a shard does as well: there is nothing to tell of it.
 */
void stream_need_sentences(struct stream_reader *reader);

const json_t *stream_header(const struct stream_reader *reader);
struct input *stream_input(const struct stream_reader *reader);

/* True: record holds the next one. False: the end, and the trailer was right. */
bool stream_next(struct stream_reader *reader, struct record *record);

/* The trailer's counts; only after stream_next has returned false. */
const json_t *stream_trailer(const struct stream_reader *reader);

void stream_close(struct stream_reader *reader);

/*
 * What the header says under section and name ("model", "layers"; section NULL:
 * at the top). Missing, of another type, or above most: the program ends.
 */
uint64_t header_number(const struct stream_reader *reader, const char *section, const char *name,
                       uint64_t most);
const char *header_text(const struct stream_reader *reader, const char *section, const char *name);

/* The index, in words (NULL-terminated), of what the header says under name. */
int header_choice(const struct stream_reader *reader, const char *name, const char *const *words);

/* A list of rising numbers below bound, or all of 0 .. bound-1 where the header has null. */
size_t *header_list(const struct stream_reader *reader, const char *name, size_t bound, size_t *count);

/* Ends the program: the message, with file, record and byte before it. */
_Noreturn void stream_fail(const struct stream_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

bool record_has(const struct record *record, const char *name);

/* Ends the program where the record's member called name is above most. */
void number_check(const struct stream_reader *reader, const char *name, uint64_t number, uint64_t most);
uint64_t record_number(const struct record *record, const char *name, uint64_t most);

/* Number of elements of the array called name, size bytes each. */
size_t record_count(const struct record *record, const char *name, size_t size);

/* Copies the array, which must have exactly count elements, to elements. */
void record_copy(const struct record *record, const char *name, void *elements, size_t count,
                 size_t size);

/* The array in memory of its own, which the caller frees. */
void *record_array(const struct record *record, const char *name, size_t size, size_t *count);

/* The same of an array that must have exactly count elements. */
void *record_array_of(const struct record *record, const char *name, size_t count, size_t size);

/* The record as one line of JSON, arrays by the types that the header declares. Caller frees. */
char *record_text(const struct record *record);

/* ---- writing ---- */

struct stream_writer;

/* Opens path (NULL: standard output) and writes the header, which stays the caller's. */
struct stream_writer *stream_create(const char *path, bool gzip, const json_t *header);

/* Appends count records, packed in buffer, and empties buffer. */
void stream_append(struct stream_writer *writer, msgpack_sbuffer *buffer, uint64_t count);

/*
 * Writes the trailer with these counts, and what they say of the corpus (they stay the
 * caller's), and completes the output.
 */
void stream_finish(struct stream_writer *writer, const json_t *counts);

/* Pieces of a record: pack_map, then that many named members. */
void pack_map(msgpack_sbuffer *buffer, size_t members);
void pack_number(msgpack_sbuffer *buffer, const char *name, uint64_t number);
void pack_array(msgpack_sbuffer *buffer, const char *name, const void *elements, size_t count,
                size_t size);

/*
 * A header of this kind with nothing but format, version and an empty history,
 * or, given the header of the stage before, with all that it says.
 */
json_t *header_new(const char *kind, const json_t *before);

/* Declares an array: shape is a JSON array of numbers and names; takes it over. */
void header_declare(json_t *header, const char *array, const char *type, json_t *shape);

/* Adds a stage and the options that shape its result (taken over) to the history. */
void header_add_stage(json_t *header, const char *tool, json_t *options);

/* No count in a stream is larger, so that what is made of counts does not overflow. */
#define MAX_COUNT ((uint64_t)1 << 48)

/* Adds to a count; both are at most MAX_COUNT, and so must the sum be, or the program ends. */
void count_add(uint64_t *sum, uint64_t more);

/* Ends the program where these counts are of no sentence; name: where they are from. */
void counts_need_sentences(const json_t *counts, const char *name);

/* Adds each of the counts that trailers pass on (sentences, tokens ...) to sums. */
void counts_add(json_t *sums, const json_t *trailer);

#endif
