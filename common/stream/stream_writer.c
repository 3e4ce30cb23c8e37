#include "stream/stream_writer.h"

#include "base/json.h"
#include "base/messages.h"
#include "base/output.h"
#include "stream/counts.h"
#include "stream/packing.h"
#include "stream/stream_format.h"

#include <stdlib.h>
#include <zlib.h>

struct stream_writer {
    struct output *output;
    uint64_t records;
    uint32_t crc;
};

void stream_append_bytes(struct stream_writer *writer, const void *bytes, size_t size)
{
    output_write(writer->output, bytes, size);
    writer->crc = (uint32_t)crc32_z(writer->crc, bytes, size);
}

static void write_packed(struct stream_writer *writer, msgpack_sbuffer *buffer)
{
    if (buffer->size > 0)
        stream_append_bytes(writer, buffer->data, buffer->size);
    msgpack_sbuffer_clear(buffer);
}

struct stream_writer *stream_create(const char *path, bool gzip, const json_t *header)
{
    struct stream_writer *writer = new_array(1, sizeof *writer);
    writer->output = output_open(path, gzip ? OUTPUT_GZIP : OUTPUT_BINARY);
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    pack_json(&buffer, header);
    write_packed(writer, &buffer);
    msgpack_sbuffer_destroy(&buffer);
    return writer;
}

void stream_append(struct stream_writer *writer, msgpack_sbuffer *buffer, uint64_t count)
{
    stream_count(writer, count);
    write_packed(writer, buffer);
}

void stream_count(struct stream_writer *writer, uint64_t count)
{
    writer->records += count;
}

void stream_finish(struct stream_writer *writer, const json_t *counts)
{
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    json_t *trailer = json_make("{s:b, s:I}", "end", 1, "records", (json_int_t)writer->records);
    counts_pass(trailer, counts);
    pack_map(&buffer, json_object_size(trailer) + 1);
    pack_json_members(&buffer, trailer);
    json_decref(trailer);
    /* The last member, whose value is the stream's last bytes, covers all before them. */
    pack_array(&buffer, "crc", &(uint32_t){0}, 1, CRC_BYTES);
    buffer.size -= CRC_BYTES;
    write_packed(writer, &buffer);
    output_write(writer->output, &writer->crc, CRC_BYTES);
    msgpack_sbuffer_destroy(&buffer);
    output_finish(writer->output);
    free(writer);
}
