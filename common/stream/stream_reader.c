#include "stream/stream_reader.h"

#include "base/messages.h"
#include "stream/counts.h"
#include "stream/object_json.h"
#include "stream/objects.h"
#include "stream/stream_format.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stream_reader {
    struct objects *objects;
    json_t *header;
    json_t *trailer;           /* NULL until it was read */
    bool any_kind;             /* of stream, also one without a sentence */
    bool needs_sentences;      /* even if it is a shard */
};

void stream_fail(const struct stream_reader *reader, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    objects_fail_with(reader->objects, format, arguments);
}

/* The header's object as JSON, with the members that every header has. */
static json_t *read_header(const struct stream_reader *reader, const msgpack_object *object, const char *kind)
{
    const msgpack_object *format = object_member(object, "format");
    if (!format || !object_is_text(format, STREAM_FORMAT))
        stream_fail(reader, "not an ffkv stream: its header says no format 'ffkv'");
    json_t *header = object_json(reader->objects, "header", object);
    const char *found = json_string_value(json_object_get(header, "kind"));
    json_int_t version = json_integer_value(json_object_get(header, "version"));
    if (version < 1 || version > PROMPTS_VERSION)
        stream_fail(reader, "version %lld of the stream; this program reads up to %d: use a newer one",
                    (long long)version, PROMPTS_VERSION);
    if ((version == PROMPTS_VERSION) != (json_object_get(header, "prompts") != NULL)
        || (version == PROMPTS_VERSION && !json_is_true(json_object_get(header, "prompts"))))
        stream_fail(reader, "the header's prompts must be true in version %d, and in no other",
                    PROMPTS_VERSION);
    if (!found || !json_is_array(json_object_get(header, "history"))
        || !json_is_object(json_object_get(header, "arrays")))
        stream_fail(reader, "the header lacks kind, history or arrays");
    if (kind && strcmp(found, kind))
        stream_fail(reader, "a stream of kind '%s', where '%s' is needed", found, kind);
    return header;
}

static void expect_stream(const struct input *input, const char *kind)
{
    char *what = format_string("a stream%s%s", kind ? " of kind " : "", kind ? kind : "");
    input_expect(input, what);
    free(what);
}

struct stream_reader *stream_open_prompts(const char *path, const char *kind)
{
    struct stream_reader *reader = new_array(1, sizeof *reader);
    msgpack_object object;
    reader->objects = objects_open(path);
    expect_stream(stream_input(reader), kind);
    if (!objects_next(reader->objects, &object))
        die("%s: empty: the stage before failed, or nothing was written", input_name(stream_input(reader)));
    reader->header = read_header(reader, &object, kind);
    reader->any_kind = !kind;
    objects_set_header(reader->objects, reader->header);
    return reader;
}

struct stream_reader *stream_open(const char *path, const char *kind)
{
    struct stream_reader *reader = stream_open_prompts(path, kind);
    if (kind && stream_of_prompts(reader))
        stream_fail(reader, "a stream of prompts, behind which no token is known: tokenize without --prompt "
                            "reads sentences");
    return reader;
}

bool stream_of_prompts(const struct stream_reader *reader)
{
    return json_is_true(json_object_get(reader->header, "prompts"));
}

void stream_need_sentences(struct stream_reader *reader)
{
    reader->needs_sentences = true;
}

const json_t *stream_header(const struct stream_reader *reader)
{
    return reader->header;
}

struct input *stream_input(const struct stream_reader *reader)
{
    return objects_input(reader->objects);
}

/* Streams that are not of a corpus have none. */
static void check_sentences(const struct stream_reader *reader)
{
    bool is_shard = json_integer_value(json_object_get(reader->trailer, "batches")) > 0;
    if (!reader->any_kind && json_object_get(reader->header, "corpus")
        && (reader->needs_sentences || !is_shard))
        counts_need_sentences(reader->trailer, input_name(stream_input(reader)));
}

static void check_trailer(struct stream_reader *reader, const msgpack_object *object)
{
    objects_check_crc(reader->objects, object_member(object, "crc"));
    reader->trailer = object_json(reader->objects, "trailer", object);
    if (!json_is_true(json_object_get(reader->trailer, "end")))
        stream_fail(reader, "the trailer does not say that the stream is complete");
    const json_t *records = json_object_get(reader->trailer, "records");
    const uint64_t found = objects_records(reader->objects);
    if (!json_is_integer(records) || json_integer_value(records) != (json_int_t)found)
        stream_fail(reader, "the trailer counts another number of records than the stream has (%llu)",
                    (unsigned long long)found);
    const char *wrong = counts_wrong(reader->trailer);
    if (wrong)
        stream_fail(reader, "the trailer's %s is not a count from 0 to 2^48", wrong);
    if (objects_next(reader->objects, &(msgpack_object){0}))
        stream_fail(reader, "something follows the trailer");
    check_sentences(reader);
}

bool stream_next(struct stream_reader *reader, struct record *record)
{
    if (reader->trailer)
        return false;
    record->reader = reader;
    if (!objects_next(reader->objects, &record->object))
        stream_fail(reader, "the input ends without a trailer: the stage before failed, or the file was cut");
    if (object_member(&record->object, "end")) {
        check_trailer(reader, &record->object);
        return false;
    }
    objects_count_record(reader->objects);
    return true;
}

const json_t *stream_trailer(const struct stream_reader *reader)
{
    return reader->trailer;
}

void stream_close(struct stream_reader *reader)
{
    objects_close(reader->objects);
    json_decref(reader->header);
    json_decref(reader->trailer);
    free(reader);
}

void record_check(const struct record *record)
{
    object_check(record->reader->objects, "record", &record->object);
}

char *record_text(const struct record *record)
{
    return object_text(record->reader->objects, "record", &record->object);
}
