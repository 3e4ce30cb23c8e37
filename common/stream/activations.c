#include "stream/activations.h"

#include "base/messages.h"
#include "numeric/floats.h"

#include <stdlib.h>

struct activations_reader activations_open(struct stream_reader *stream)
{
    struct activations_reader reader = {.stream = stream, .shape = shape_read(stream)};
    reader.layers = header_list(stream, "layers", reader.shape.layers, &reader.layer_count);
    reader.cells = header_list(stream, "cells", reader.shape.d_ff, &reader.cell_count);
    reader.rank = header_rank(stream);
    reader.first = (uint32_t)header_number(stream, NULL, "first", 1);
    return reader;
}

void activations_close(struct activations_reader *reader)
{
    free(reader->layers);
    free(reader->cells);
    *reader = (struct activations_reader){0};
}

static void read_rows(const struct record *record, struct activations_batch *batch)
{
    const struct batch *tokens = &batch->tokens;
    batch->row_sentence = record_array(record, "row_sentence", sizeof *batch->row_sentence, &batch->rows);
    batch->row_position = new_array(batch->rows, sizeof *batch->row_position);
    record_copy(record, "row_position", batch->row_position, batch->rows, sizeof *batch->row_position);
    for (size_t r = 0; r < batch->rows; r++) {
        uint32_t s = batch->row_sentence[r];
        if (s >= tokens->sentences || batch->row_position[r] >= tokens->length[s]
            || (r && s < batch->row_sentence[r - 1])
            || (r && s == batch->row_sentence[r - 1] && batch->row_position[r] <= batch->row_position[r - 1]))
            stream_fail(record->reader, "row %zu is not a position of a sentence of the batch, in order", r);
    }
}

bool activations_next_batch(struct activations_reader *reader, struct activations_batch *batch)
{
    struct record record;
    *batch = (struct activations_batch){0};
    while (stream_next(reader->stream, &record)) {
        if (record_has(&record, "layer"))
            stream_fail(reader->stream, "layer %llu is out of order",
                        (unsigned long long)record_number(&record, "layer", reader->shape.layers - 1));
        if (!record_has(&record, "tok"))
            continue; /* predictions, or what a newer program adds */
        batch->tokens = batch_read(&record, reader->shape.vocabulary);
        batch->has_rows = record_has(&record, "row_sentence");
        if (batch->has_rows)
            read_rows(&record, batch);
        return true;
    }
    return false;
}

void activations_batch_free(struct activations_batch *batch)
{
    batch_free(&batch->tokens);
    free(batch->row_sentence);
    free(batch->row_position);
    *batch = (struct activations_batch){0};
}

bool activations_next_layer(struct activations_reader *reader, struct activations_batch *batch,
                            struct record *record, size_t *layer)
{
    static const char none[] = "there are no records of layers: forward-dump --emit names what they have";
    if (reader->layer_count == 0) /* coefficients of single keys */
        stream_fail(reader->stream, none);
    if (batch->layers_seen == reader->layer_count)
        return false;
    if (!stream_next(reader->stream, record) || !record_has(record, "layer")) {
        if (batch->layers_seen == 0)
            stream_fail(reader->stream, none);
        stream_fail(reader->stream, "the batch of sentence %llu has %zu layers, the header promises %zu",
                    (unsigned long long)batch->tokens.id, batch->layers_seen, reader->layer_count);
    }
    *layer = (size_t)record_number(record, "layer", reader->shape.layers - 1);
    if (reader->layers[batch->layers_seen] != *layer)
        stream_fail(reader->stream, "layer %zu is out of order", *layer);
    batch->layers_seen++;
    return true;
}

void activations_check_finite(const struct record *record, const char *name, const float *elements, size_t count)
{
    size_t bad = floats_first_not_finite(elements, count);
    if (bad < count)
        stream_fail(record->reader, "'%s' has an element that is not finite", name);
}
