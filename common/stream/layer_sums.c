#include "stream/layer_sums.h"

#include "base/messages.h"
#include "stream/record_members.h"

#include <stdlib.h>
#include <string.h>

static size_t layer_count(const struct sums_kind *kind, const void *sums)
{
    return *(const size_t *)(const void *)((const char *)sums + kind->layers);
}

static void *layer_array(const struct sums_kind *kind, const void *sums)
{
    void *layers;
    memcpy(&layers, (const char *)sums + kind->layer, sizeof layers);
    return layers;
}

static void *layer_at(const struct sums_kind *kind, const void *sums, size_t index)
{
    return (char *)layer_array(kind, sums) + index * kind->layer_size;
}

static size_t *number_of(void *layer)
{
    return layer;
}

void layer_sums_allocate(const struct sums_kind *kind, void *sums, const size_t *numbers, size_t count)
{
    void *layers = new_array(count, kind->layer_size);
    memcpy((char *)sums + kind->layers, &count, sizeof count);
    memcpy((char *)sums + kind->layer, &layers, sizeof layers);
    for (size_t i = 0; i < count; i++)
        *number_of(layer_at(kind, sums, i)) = numbers[i];
    fields_allocate(kind->of_all, 0, sums);
}

void layer_sums_free(const struct sums_kind *kind, void *sums)
{
    for (size_t i = 0; i < layer_count(kind, sums); i++)
        fields_free(kind->of_layer, layer_at(kind, sums, i));
    free(layer_array(kind, sums));
    fields_free(kind->of_all, sums);
}

void layer_sums_add(const struct sums_kind *kind, void *sums, const void *more)
{
    for (size_t i = 0; i < layer_count(kind, sums); i++)
        fields_add(kind->of_layer, 0, layer_at(kind, sums, i), layer_at(kind, more, i));
    fields_add(kind->of_all, 0, sums, more);
}

void layer_sums_declare(const struct sums_kind *kind, json_t *header)
{
    fields_declare(header, kind->of_layer, 0, NULL);
    fields_declare(header, kind->of_all, 0, NULL);
}

static void write_record(struct stream_writer *writer, msgpack_sbuffer *buffer, const struct field *fields,
                         const void *from)
{
    fields_pack(buffer, fields, 0, from);
    stream_append(writer, buffer, 1);
}

void layer_sums_write(const struct sums_kind *kind, struct stream_writer *writer, const void *sums)
{
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (size_t i = 0; i < layer_count(kind, sums); i++)
        write_record(writer, &buffer, kind->of_layer, layer_at(kind, sums, i));
    write_record(writer, &buffer, kind->of_all, sums);
    msgpack_sbuffer_destroy(&buffer);
}

void layer_sums_read(const struct sums_kind *kind, struct stream_reader *reader, struct record *record,
                     void *sums)
{
    size_t count = layer_count(kind, sums);
    for (size_t i = 0; i < count; i++) {
        void *layer = layer_at(kind, sums, i);
        if (record_number(record, kind->of_layer->name, SIZE_MAX) != *number_of(layer))
            stream_fail(reader, "its layers are not the header's, in order");
        fields_read(record, kind->of_layer, 0, layer);
        kind->check_layer(record, layer, layer_array(kind, sums));
        if (!stream_next(reader, record))
            stream_fail(reader, "%zu of %zu layers and nothing behind them", i + 1, count);
    }
    fields_read(record, kind->of_all, 0, sums);
    kind->check_all(record, sums);
    if (stream_next(reader, record))
        stream_fail(reader, "a record follows the last one of its sums");
}
