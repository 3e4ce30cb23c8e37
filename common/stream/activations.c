#include "stream/activations.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "numeric/floats.h"
#include "stream/header_members.h"
#include "stream/record_members.h"

#include <stdlib.h>

const struct field rows_fields[] = {
    FIELD_ARRAY(struct activations_batch, row_sentence, "row_sentence", "rows", rows, 0),
    FIELD_ARRAY(struct activations_batch, row_position, "row_position", "rows", rows, 0),
    FIELD_END,
};

const struct field layer_fields[] = {
    FIELD_INTEGER(struct layer_record, layer, "layer", FIELD_NUMBER),
    FIELD_MATRIX(struct layer_record, max, "max", "sentences", sentences, cells, LAYER_MAX),
    FIELD_MATRIX(struct layer_record, argmax, "argmax", "sentences", sentences, cells, LAYER_MAX),
    FIELD_MATRIX(struct layer_record, coefficient, "coef", "rows", rows, cells, LAYER_COEF),
    FIELD_MATRIX(struct layer_record, resid, "resid", "rows", rows, d_model, LAYER_RESID),
    FIELD_MATRIX(struct layer_record, ffn, "ffn", "rows", rows, d_model, LAYER_FFN),
    FIELD_END,
};

const struct field predictions_fields[] = {
    FIELD_ARRAY(struct predictions, next_log_probability, "next_logp", "rows", rows, 0),
    FIELD_ARRAY(struct predictions, top, "top", "rows", rows, 0),
    FIELD_ARRAY(struct predictions, top_log_probability, "top_logp", "rows", rows, 0),
    FIELD_END,
};

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
    fields_read(record, rows_fields, 0, batch);
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
            stream_fail(reader->stream, "layer %zu is out of order",
                        layer_shown((size_t)record_number(&record, "layer", reader->shape.layers - 1)));
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
    fields_free(rows_fields, batch);
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
        stream_fail(reader->stream, "layer %zu is out of order", layer_shown(*layer));
    batch->layers_seen++;
    return true;
}

void activations_copy(const struct activations_reader *reader, const struct activations_batch *batch,
                      const struct record *record, const char *name, void *elements)
{
    const struct layer_record counts = {.sentences = batch->tokens.sentences, .rows = batch->rows,
                                        .cells = reader->cell_count, .d_model = reader->shape.d_model};
    fields_copy(record, layer_fields, name, &counts, elements);
}

void activations_check_finite(const struct record *record, const char *name, const float *elements,
                              size_t count)
{
    size_t bad = floats_first_not_finite(elements, count);
    if (bad < count)
        stream_fail(record->reader, "'%s' has an element that is not finite", name);
}
