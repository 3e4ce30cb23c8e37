/*
 * A stream that is read: one header, records, one trailer with the number of records and a
 * CRC-32, all MessagePack maps. Manual page ffkv-stream(5) defines it. header_members.h has what
 * the header says, record_members.h what is in a record; records.h knows the kinds of record.
 *
 * A reader never returns what it could not check: whatever is wrong with a
 * stream ends the program with a message that names the file, the record and
 * the byte.
 */
#ifndef FFKV_STREAM_READER_H
#define FFKV_STREAM_READER_H

#include "base/input.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdbool.h>

struct stream_reader;

/* One record; it and what is read from it hold until the next stream_next. */
struct record {
    const struct stream_reader *reader;
    msgpack_object object; /* a map */
};

/*
 * Opens path (NULL: standard input) and checks its header: format, version, and
 * the kind, where kind is not NULL. With a kind a stream of prompts ends the program: there is
 * no token behind a prompt.
 */
struct stream_reader *stream_open(const char *path, const char *kind);

/* The same for a reader that knows what a prompt is: of sentences or of prompts. */
struct stream_reader *stream_open_prompts(const char *path, const char *kind);

/* Whether each sentence is a prompt, which has a placeholder behind its tokens. */
bool stream_of_prompts(const struct stream_reader *reader);

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

/* Ends the program: the message, with file, record and byte before it. */
_Noreturn void stream_fail(const struct stream_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The record as one line of JSON, arrays by the types that the header declares. Caller frees. */
char *record_text(const struct record *record);

/* Ends the program where record_text would: arrays have declared types. Takes no time for their elements. */
void record_check(const struct record *record);

#endif
