#include "stream/key_records.h"

#include "base/json.h"
#include "base/messages.h"
#include "stream/counts.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/stream_writer.h"

#include <stdlib.h>

/* ---- writing ---- */

struct key_writer {
    const struct key_records_kind *kind;
    struct stream_writer *writer;
    msgpack_sbuffer buffer;
    const struct token_counts *token_counts; /* NULL: none */
};

static struct key_writer *writer_new(const struct key_records_kind *kind, const struct sums_options *options,
                                     const json_t *header)
{
    struct key_writer *writer = new_array(1, sizeof *writer);
    *writer = (struct key_writer){.kind = kind,
                                  .writer = stream_create(options->output, options->gzip, header)};
    msgpack_sbuffer_init(&writer->buffer);
    return writer;
}

struct key_writer *key_writer_create(const struct key_records_kind *kind, const struct sums_options *options,
                                     json_t *header, unsigned groups, const void *of,
                                     const struct token_counts *token_counts)
{
    json_put(header, "arrays", json_object());
    fields_declare(header, kind->fields, groups, of);
    if (token_counts)
        fields_declare(header, token_counts_fields, 0, NULL);
    struct key_writer *writer = writer_new(kind, options, header);
    writer->token_counts = token_counts;
    json_decref(header);
    return writer;
}

void key_writer_put(struct key_writer *writer, const void *key)
{
    fields_pack(&writer->buffer, writer->kind->fields, writer->kind->groups(key), key);
    stream_append(writer->writer, &writer->buffer, 1);
}

void key_writer_finish(struct key_writer *writer, const json_t *counts)
{
    if (writer->token_counts) {
        fields_pack(&writer->buffer, token_counts_fields, 0, writer->token_counts);
        stream_append(writer->writer, &writer->buffer, 1);
    }
    stream_finish(writer->writer, counts);
    msgpack_sbuffer_destroy(&writer->buffer);
    free(writer);
}

/* ---- merging ---- */

struct key_merge {
    const struct key_records_kind *kind;
    const struct sums_options *options;
    void *tables;
    struct model_shape shape;
    struct key_writer *writer; /* NULL: tables are written */
    uint64_t keys;             /* so far */
    struct token_counts token_counts; /* of the input that ended first; all have the same */
    bool ended;                /* one has */
    const struct stream_reader *different; /* an input with other counts, or NULL */
};

static void begin(void *merging, struct stream_reader *first)
{
    struct key_merge *merge = merging;
    merge->shape = shape_read(first);
    merge->kind->begin(merge->tables, first);
    if (merge->options->sums)
        merge->writer = writer_new(merge->kind, merge->options, stream_header(first));
}

/* What the key's record has, in memory of its own. */
static void *read_key(struct key_merge *merge, const struct record *record)
{
    const struct key_records_kind *kind = merge->kind;
    unsigned groups = fields_found(record, kind->fields);
    void *key = new_array(1, kind->size);
    if (kind->prepare)
        kind->prepare(merge->tables, key);
    fields_read(record, kind->fields, groups, key);
    kind->check(merge->tables, record, groups, key);
    return key;
}

/* The number of the key that a record is of, which must be one of the model's. */
static uint64_t key_number_of(const struct key_merge *merge, const struct record *record)
{
    return record_number(record, "layer", merge->shape.layers - 1) * merge->shape.d_ff
         + record_number(record, "cell", merge->shape.d_ff - 1);
}

/* Behind the last key of an input; record: of counts of tokens, or NULL. */
static void end_input(struct key_merge *merge, struct stream_reader *input, struct record *record)
{
    struct token_counts counts = {.vocabulary = merge->shape.vocabulary};
    if (record) {
        fields_read(record, token_counts_fields, 0, &counts);
        token_counts_check(record, &counts);
        if (stream_next(input, record))
            stream_fail(input, "a record follows that of the counts of tokens");
    }
    if (merge->ended) {
        if (!token_counts_equal(&counts, &merge->token_counts))
            merge->different = input;
        fields_free(token_counts_fields, &counts);
    } else {
        merge->token_counts = counts;
        merge->ended = true;
    }
}

static struct listed next_listed(void *merging, struct stream_reader *input, uint64_t so_far)
{
    (void)so_far;
    struct key_merge *merge = merging;
    struct record record;
    bool found = stream_next(input, &record);
    if (!found || record_has(&record, token_counts_fields[0].name)) {
        end_input(merge, input, found ? &record : NULL);
        return (struct listed){0};
    }
    uint64_t number = key_number_of(merge, &record);
    return (struct listed){read_key(merge, &record), 1, number, number};
}

static void take_listed(void *merging, const struct listed *listed)
{
    struct key_merge *merge = merging;
    if (merge->writer && !merge->kind->put_all)
        key_writer_put(merge->writer, listed->records);
    else
        merge->kind->tell(merge->tables, listed->records);
    fields_free(merge->kind->fields, listed->records);
    free(listed->records);
    merge->keys++;
}

static char *name_key(const void *merging, uint64_t number)
{
    const struct key_merge *merge = merging;
    return key_name(number, merge->shape.d_ff);
}

/* Where no block of keys is missing, there are as many as the header says. */
static void end(void *merging, const struct stream_reader *first, const json_t *counts)
{
    struct key_merge *merge = merging;
    if (merge->different) /* of the same keys, for trailers were compared */
        token_counts_fail(merge->different);
    uint64_t all = header_number(first, NULL, "keys", merge->shape.layers * merge->shape.d_ff);
    if (!json_object_get(counts, COVERAGE_KEY_BLOCKS) && merge->keys != all)
        stream_fail(first, "all inputs together have %llu keys, not %llu", (unsigned long long)merge->keys,
                    (unsigned long long)all);
    if (merge->writer && merge->kind->put_all)
        merge->kind->put_all(merge->tables, merge->writer);
    if (merge->writer) {
        merge->writer->token_counts = merge->token_counts.count ? &merge->token_counts : NULL;
        key_writer_finish(merge->writer, counts);
    } else {
        merge->kind->end(merge->tables, first, &merge->token_counts);
    }
    fields_free(token_counts_fields, &merge->token_counts);
}

void key_records_merge(const struct key_records_kind *kind, const struct sums_options *options, char **paths,
                       size_t count, void *tables)
{
    const struct merge_work work = {.kind = kind->stream, .whole = &whole_keys, .begin = begin,
                                    .next = next_listed, .take = take_listed, .name = name_key, .end = end};
    struct key_merge merge = {.kind = kind, .options = options, .tables = tables};
    merge_inputs(&work, paths, count, options->partial, &merge);
}
