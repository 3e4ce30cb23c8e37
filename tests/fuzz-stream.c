/*
 * A fuzzer of what reads streams: a stream of any kind, its records by the readers of that kind,
 * then all of it as stream-cat shows it, whole and with one layer and one cell of each. A stream's
 * checksum stands behind its records, so they are all read before it is compared.
 */
#include "analysis/changes.h"
#include "analysis/comparisons.h"
#include "analysis/composition_sums.h"
#include "analysis/intervention.h"
#include "analysis/refinement_sums.h"
#include "analysis/sentence_keys.h"
#include "base/messages.h"
#include "fuzz.h"
#include "stream/activations.h"
#include "stream/layer_sums.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/selection.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens, with the keys that sentences belong to ---- */

static void read_key_coefficients(const struct record *record, size_t sentences)
{
    struct key_coefficients coefficients = {.sentences = sentences};
    fields_read(record, key_coefficients_fields, 0, &coefficients);
    fields_free(key_coefficients_fields, &coefficients);
}

static void read_tokens(struct stream_reader *stream)
{
    const size_t changes =
        json_object_get(stream_header(stream), "changes") ? json_array_size(header_changes(stream)) : 0;
    const struct model_shape shape = shape_read(stream);
    struct record record;
    for (size_t sentences = 0; stream_next(stream, &record);) {
        if (record_has(&record, "key")) {
            read_key_coefficients(&record, sentences);
            continue;
        }
        struct batch batch = batch_read(&record, shape.vocabulary);
        sentences = batch.sentences;
        if (changes) {
            struct sentence_keys keys =
                sentence_keys_read(&record, sentences, shape.layers, shape.d_ff, changes);
            sentence_keys_free(&keys);
        }
        batch_free(&batch);
    }
}

/* ---- activations ---- */

static void copy(const struct activations_reader *reader, const struct activations_batch *batch,
                 const struct record *record, const char *name, size_t rows, size_t columns)
{
    float *elements = new_floats(matrix_count(rows, columns));
    if (record_has(record, name)) {
        activations_copy(reader, batch, record, name, elements);
        activations_check_finite(record, name, elements, rows * columns);
    }
    free(elements);
}

static void read_maxima(const struct activations_reader *reader, const struct activations_batch *batch,
                        const struct record *record)
{
    const size_t count = matrix_count(batch->tokens.sentences, activations_columns(reader));
    float *max = new_floats(count);
    uint16_t *argmax = new_array(count, sizeof *argmax);
    struct layer_record paths = {0};
    activations_copy(reader, batch, record, "max", max);
    activations_copy(reader, batch, record, "argmax", argmax);
    if (reader->paths) {
        activations_read_paths(reader, batch, record, max, argmax, &paths);
        free(paths.path);
        free(paths.path_coefficient);
    }
    free(max);
    free(argmax);
}

static void read_activations(struct stream_reader *stream)
{
    struct activations_reader reader = activations_open(stream);
    struct activations_batch batch;
    struct record record;
    while (activations_next_batch(&reader, &batch)) {
        for (size_t layer; activations_next_layer(&reader, &batch, &record, &layer);) {
            if (record_has(&record, "max"))
                read_maxima(&reader, &batch, &record);
            copy(&reader, &batch, &record, "coef", batch.rows, reader.cell_count);
            copy(&reader, &batch, &record, "resid", batch.rows, reader.shape.d_model);
            copy(&reader, &batch, &record, "ffn", batch.rows, reader.shape.d_model);
        }
        activations_batch_free(&batch);
    }
    activations_close(&reader);
}

/* ---- triggers ---- */

static void read_triggers(struct stream_reader *stream)
{
    struct triggers_reader reader = triggers_open(stream);
    struct key_triggers key;
    while (triggers_next(&reader, &key)) {
        for (struct prefix_walk walk = key_prefixes(&key, key.count); prefix_next(&walk);) {
            prefix_last(&walk, reader.bos);
            following_length(&key, walk.index);
            prefix_coefficients(&key, &walk);
        }
        key_triggers_free(&key);
    }
    triggers_close(&reader);
}

/* ---- sums ---- */

struct sums_reader {
    const char *kind;
    const struct sums_kind *sums;
    void *(*sums_new)(const struct activations_reader *activations);
    const char *listed; /* a member that only records of a list have; NULL: there is no list */
    struct listed (*read)(const struct record *record, const struct model_shape *shape);
    void (*free)(void *records);
};

static void read_sums(struct stream_reader *stream, const struct sums_reader *kind)
{
    struct activations_reader reader = activations_open(stream);
    struct record record;
    void *sums = kind->sums_new(&reader);
    bool more = stream_next(stream, &record);
    for (; more && kind->read && record_has(&record, kind->listed); more = stream_next(stream, &record))
        kind->free(kind->read(&record, &reader.shape).records);
    if (more)
        layer_sums_read(kind->sums, stream, &record, sums);
    layer_sums_free(kind->sums, sums);
    free(sums);
    activations_close(&reader);
}

/* ---- any ---- */

static void read_by_kind(void *path)
{
    const struct sums_reader sums[] = {
        {"composition", &composition_kind, composition_sums_new, NULL, NULL, NULL},
        {"refinement", &refinement_kind, refinement_sums_new, changes_fields[0].name, changes_listed,
         changes_listed_free},
        {"intervention", &intervention_kind, intervention_sums_new, comparisons_fields[0].name,
         comparisons_listed, comparisons_listed_free}};
    struct stream_reader *stream = stream_open_prompts(path, NULL);
    const char *kind = json_string_value(json_object_get(stream_header(stream), "kind"));
    if (!strcmp(kind, "tokens") || json_object_get(stream_header(stream), "changes"))
        read_tokens(stream);
    else if (!strcmp(kind, "activations"))
        read_activations(stream);
    else if (!strcmp(kind, "triggers"))
        read_triggers(stream);
    else
        for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
            if (!strcmp(kind, sums[i].kind))
                read_sums(stream, &sums[i]);
    stream_close(stream);
}

static void show(void *path)
{
    struct stream_reader *stream = stream_open(path, NULL);
    struct record record;
    while (stream_next(stream, &record))
        free(record_text(&record));
    stream_close(stream);
}

static void show_a_part(void *path)
{
    struct stream_reader *stream = stream_open(path, NULL);
    struct selection *selection = selection_new(stream, "1", "0");
    struct record record;
    while (selection_next(selection, &record))
        free(record_text(&record));
    selection_free(selection);
    stream_close(stream);
}

static void read_stream(const uint8_t *bytes, size_t size)
{
    char path[4096];
    strcpy(path, fuzz_file("stream", bytes, size));
    fuzz_try(read_by_kind, path);
    fuzz_try(show, path);
    fuzz_try(show_a_part, path);
}

/* zlib's buffers, sums that have a bin for each number of cells, and arrays by sizes that a header says. */
const struct fuzzer fuzzer = {read_stream, NULL, 1 << 27, 2000};
