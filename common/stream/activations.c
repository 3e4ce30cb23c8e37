#include "stream/activations.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "numeric/floats.h"
#include "stream/counts.h"
#include "stream/header_members.h"
#include "stream/record_members.h"

#include <stdlib.h>
#include <string.h>

const struct field rows_fields[] = {
    FIELD_ARRAY(struct activations_batch, row_sentence, "row_sentence", "rows", rows, 0),
    FIELD_ARRAY(struct activations_batch, row_position, "row_position", "rows", rows, 0),
    FIELD_END,
};

const struct field layer_fields[] = {
    FIELD_INTEGER(struct layer_record, layer, "layer", FIELD_NUMBER),
    FIELD_MATRIX(struct layer_record, max, "max", "sentences", sentences, columns, LAYER_MAX),
    FIELD_MATRIX(struct layer_record, argmax, "argmax", "sentences", sentences, columns, LAYER_MAX),
    FIELD_ARRAY(struct layer_record, path, "path", "paths", paths, LAYER_PATHS),
    FIELD_ARRAY(struct layer_record, path_coefficient, "path_coef", "path coefficients", path_coefficients,
                LAYER_PATHS),
    FIELD_MATRIX(struct layer_record, coefficient, "coef", "rows", rows, cells, LAYER_COEF),
    FIELD_MATRIX(struct layer_record, resid, "resid", "rows", rows, d_model, LAYER_RESID),
    FIELD_MATRIX(struct layer_record, ffn, "ffn", "rows", rows, d_model, LAYER_FFN),
    FIELD_END,
};

#define COUNTS_FIELD(kind, name)                                                              \
    FIELD_MATRIX(struct cell_counts_record, count[kind], name, "cells", cells, bins[kind], 1 << (kind))

const struct field cell_counts_fields[] = {
    FIELD_INTEGER(struct cell_counts_record, layer, "layer", FIELD_NUMBER),
    COUNTS_FIELD(COUNTED_COEFFICIENTS, "coef_counts"),
    COUNTS_FIELD(COUNTED_MAGNITUDES, "magnitude_counts"),
    COUNTS_FIELD(COUNTED_SIGNS, "sign_counts"),
    FIELD_END,
};

static const char *counts_name(enum counted kind)
{
    return cell_counts_fields[1 + kind].name;
}

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
    reader.ranks = header_ranks(stream);
    reader.first = (uint32_t)header_number(stream, NULL, "first", 1);
    if (!reader.first && header_bos(stream, reader.shape.vocabulary) == NO_TOKEN)
        stream_fail(stream, "the header's first is 0, the empty prefix, which there is not without BOS");
    if (json_object_get(stream_header(stream), "paths"))
        reader.paths = (size_t)header_number(stream, NULL, "paths", MAX_TRIGGERS);
    const json_t *arrays = json_object_get(stream_header(stream), "arrays");
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        reader.counted |= json_object_get(arrays, counts_name(kind)) ? 1u << kind : 0;
    return reader;
}

void activations_close(struct activations_reader *reader)
{
    free(reader->layers);
    free(reader->cells);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        free(reader->counts[kind]);
    *reader = (struct activations_reader){0};
}

static void read_rows(const struct record *record, struct activations_batch *batch)
{
    const struct batch *tokens = &batch->tokens;
    fields_read(record, rows_fields, 0, batch);
    for (size_t r = 0; r < batch->rows; r++) {
        uint32_t s = batch->row_sentence[r];
        if (s >= tokens->sentences || batch->row_position[r] >= tokens->length[s]
            || batch->row_position[r] < batch_lowest(tokens)
            || (r && s < batch->row_sentence[r - 1])
            || (r && s == batch->row_sentence[r - 1] && batch->row_position[r] <= batch->row_position[r - 1]))
            stream_fail(record->reader, "row %zu is not a position of a sentence of the batch, in order", r);
    }
}

/* ---- how often coefficients occur ---- */

/* Each cell has a coefficient at each of the positions; of a kind that is counted in part, at some. */
static void check_counts(const struct activations_reader *reader, enum counted kind, const uint64_t *count)
{
    for (size_t i = 0; i < reader->cell_count; i++, count += counted_bins[kind]) {
        uint64_t total = 0;
        for (size_t bin = 0; bin < counted_bins[kind]; bin++)
            total = count[bin] > MAX_COUNT - total ? MAX_COUNT : total + count[bin];
        if (counted_in_part(&reader->shape, kind) ? total > reader->positions : total != reader->positions)
            stream_fail(reader->stream, "'%s' of cell %zu add up to %llu, there are %llu positions",
                        counts_name(kind), reader->cells[i], (unsigned long long)total,
                        (unsigned long long)reader->positions);
    }
}

/* The name of one of the counts that there are; of coefficients, where there are none. */
static const char *any_counts(const struct activations_reader *reader)
{
    enum counted kind = 0;
    while (kind + 1 < COUNTED_KINDS && !(reader->counted >> kind & 1))
        kind++;
    return counts_name(reader->counted ? kind : COUNTED_COEFFICIENTS);
}

static void read_counts(struct activations_reader *reader, const struct record *record)
{
    struct cell_counts_record read = {.cells = reader->cell_count};
    memcpy(read.bins, counted_bins, sizeof read.bins);
    fields_read(record, cell_counts_fields, reader->counted, &read);
    if (reader->counts_read == reader->layer_count || read.layer != reader->layers[reader->counts_read])
        stream_fail(reader->stream, "'%s' of layer %zu are out of order", any_counts(reader),
                    layer_shown(read.layer));
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++) {
        size_t of_layer = matrix_count(reader->cell_count, counted_bins[kind]);
        if (!(reader->counted >> kind & 1))
            continue;
        check_counts(reader, kind, read.count[kind]);
        if (!reader->counts[kind])
            reader->counts[kind] =
                new_array(matrix_count(reader->layer_count, of_layer), sizeof *reader->counts[kind]);
        memcpy(reader->counts[kind] + reader->counts_read * of_layer, read.count[kind],
               of_layer * sizeof *read.count[kind]);
    }
    reader->counts_read++;
    fields_free(cell_counts_fields, &read);
}

/* Behind the last record. */
static void check_layers_counted(const struct activations_reader *reader)
{
    size_t promised = reader->counted ? reader->layer_count : 0;
    if (reader->counts_read != promised)
        stream_fail(reader->stream, "'%s' of %zu layers, the header promises %zu", any_counts(reader),
                    reader->counts_read, promised);
}

const uint64_t *activations_counts(const struct activations_reader *reader, enum counted kind, size_t layer,
                                   size_t column)
{
    for (size_t i = 0; reader->counts[kind] && i < reader->counts_read; i++)
        if (reader->layers[i] == layer)
            return reader->counts[kind] + (i * reader->cell_count + column) * counted_bins[kind];
    return NULL;
}

/* ---- batches ---- */

/* Positions of the batch's sentences from first on. */
static uint64_t count_positions(const struct batch *batch, uint32_t first)
{
    return batch->tokens - (uint64_t)first * batch->sentences; /* a sentence has a token at least */
}

bool activations_next_batch(struct activations_reader *reader, struct activations_batch *batch)
{
    struct record record;
    *batch = (struct activations_batch){0};
    while (stream_next(reader->stream, &record)) {
        if (fields_found(&record, cell_counts_fields)) {
            read_counts(reader, &record);
            continue;
        }
        if (record_has(&record, "layer"))
            stream_fail(reader->stream, "layer %zu is out of order",
                        layer_shown((size_t)record_number(&record, "layer", reader->shape.layers - 1)));
        if (!record_has(&record, "tok"))
            continue; /* predictions, or what a newer program adds */
        if (reader->counts_read)
            stream_fail(reader->stream, "a batch behind '%s'", any_counts(reader));
        batch->tokens = batch_read(&record, reader->shape.vocabulary);
        reader->positions += count_positions(&batch->tokens, reader->first);
        batch->has_rows = record_has(&record, "row_sentence");
        if (batch->has_rows)
            read_rows(&record, batch);
        return true;
    }
    check_layers_counted(reader);
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

size_t activations_columns(const struct activations_reader *reader)
{
    return matrix_count(reader->cell_count, reader->ranks.count);
}

void activations_copy(const struct activations_reader *reader, const struct activations_batch *batch,
                      const struct record *record, const char *name, void *elements)
{
    const struct layer_record counts = {.sentences = batch->tokens.sentences, .rows = batch->rows,
                                        .cells = reader->cell_count, .d_model = reader->shape.d_model,
                                        .columns = activations_columns(reader)};
    fields_copy(record, layer_fields, name, &counts, elements);
}

void activations_read_paths(const struct activations_reader *reader, const struct activations_batch *batch,
                            const struct record *record, const float *max, const uint16_t *argmax,
                            struct layer_record *paths)
{
    size_t elements = matrix_count(batch->tokens.sentences, activations_columns(reader)), coefficients = 0;
    paths->paths = paths->path_coefficients = 0;
    fields_read(record, layer_fields, LAYER_PATHS, paths);
    for (size_t i = 0; i < paths->paths; i++) {
        size_t element = paths->path[i];
        if (element >= elements || (i && element <= paths->path[i - 1]))
            stream_fail(reader->stream, "'path' does not rise below the %zu elements of 'max'", elements);
        coefficients += argmax[element];
        if (argmax[element] && coefficients <= paths->path_coefficients
            && paths->path_coefficient[coefficients - 1] != max[element])
            stream_fail(reader->stream, "path %zu does not end with the 'max' that it leads to", i);
    }
    if (coefficients != paths->path_coefficients)
        stream_fail(reader->stream, "'path_coef' has %zu elements, 'argmax' adds up to %zu",
                    paths->path_coefficients, coefficients);
    activations_check_finite(record, "path_coef", paths->path_coefficient, coefficients);
}

void activations_check_finite(const struct record *record, const char *name, const float *elements,
                              size_t count)
{
    size_t bad = floats_first_not_finite(elements, count);
    if (bad < count)
        stream_fail(record->reader, "'%s' has an element that is not finite", name);
}
