#include "analysis/trace_records.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/model_header.h"
#include "stream/header.h"
#include "stream/packing.h"

#include <stdlib.h>
#include <string.h>

/* Members that are there or not. */
enum { LOGITS = 1, MEMORIES = 2, MEMORY_LOGITS = 4 };

/* Behind a batch's tokens. */
struct traced_rows {
    size_t rows;
    uint32_t *sentence, *position, *final; /* rows */
};

static const struct field rows_of_trace[] = {
    FIELD_ARRAY(struct traced_rows, sentence, "row_sentence", "rows", rows, 0),
    FIELD_ARRAY(struct traced_rows, position, "row_position", "rows", rows, 0),
    FIELD_ARRAY(struct traced_rows, final, "final", "rows", rows, 0),
    FIELD_END,
};

struct traced_layer {
    uint64_t layer;
    size_t rows, tops, memories, values;
    const uint32_t *top[TRACE_VECTORS];      /* rows x tops */
    const float *probability[TRACE_VECTORS]; /* rows x tops */
    float *logit;                            /* rows */
    uint32_t *count;                         /* rows: memories of each */
    uint32_t *cell;                          /* rows x memories, behind count 0, as what follows */
    float *coefficient, *size, *share, *memory_logit;
    uint32_t *value_cell;                    /* values */
    const uint32_t *value_top, *value_bottom; /* values x tops */
};

#define FIELD_OF_ROWS(member, name, columns, group) \
    FIELD_MATRIX(struct traced_layer, member, name, "rows", rows, columns, group)
static const struct field layer_of_trace[] = {
    FIELD_INTEGER(struct traced_layer, layer, "layer", FIELD_NUMBER),
    FIELD_OF_ROWS(top[TRACE_RESIDUAL], "residual_top", tops, 0),
    FIELD_OF_ROWS(probability[TRACE_RESIDUAL], "residual_p", tops, 0),
    FIELD_OF_ROWS(top[TRACE_FFN], "ffn_top", tops, 0),
    FIELD_OF_ROWS(probability[TRACE_FFN], "ffn_p", tops, 0),
    FIELD_OF_ROWS(top[TRACE_OUTPUT], "output_top", tops, 0),
    FIELD_OF_ROWS(probability[TRACE_OUTPUT], "output_p", tops, 0),
    FIELD_ARRAY(struct traced_layer, logit, "ffn_logit", "rows", rows, LOGITS),
    FIELD_ARRAY(struct traced_layer, count, "memory_count", "rows", rows, MEMORIES),
    FIELD_OF_ROWS(cell, "memory_cell", memories, MEMORIES),
    FIELD_OF_ROWS(coefficient, "memory_coef", memories, MEMORIES),
    FIELD_OF_ROWS(size, "memory_size", memories, MEMORIES),
    FIELD_OF_ROWS(share, "memory_share", memories, MEMORIES),
    FIELD_OF_ROWS(memory_logit, "memory_logit", memories, MEMORY_LOGITS),
    FIELD_ARRAY(struct traced_layer, value_cell, "value_cell", "values", values, MEMORIES),
    FIELD_MATRIX(struct traced_layer, value_top, "value_top", "values", values, tops, MEMORIES),
    FIELD_MATRIX(struct traced_layer, value_bottom, "value_bottom", "values", values, tops, MEMORIES),
    FIELD_END,
};

struct trace_records {
    struct stream_writer *writer;
    const struct stream_reader *activations;
    unsigned groups; /* of a layer's record */
    msgpack_sbuffer buffer;
};

static json_t *make_header(const char *tool, const struct model *model, const struct candidates *candidates,
                           const struct stream_reader *activations, const struct trace_options *options,
                           unsigned groups)
{
    static const struct batch numbered;
    const struct traced_layer widths = {.tops = options->tops, .memories = options->memories};
    const json_t *before = stream_header(activations);
    const bool is_sample = json_object_get(json_object_get(before, "arrays"), "sentence");
    const char *positions = options->all ? "all" : "last", *norm = projection_norm_words[options->norm];
    json_t *header = header_new("trace", before);
    json_t *stage = json_make("{s:s, s:I, s:s}", "positions", positions, "tops", (json_int_t)options->tops,
                              "norm", norm);
    if (options->memories)
        json_put(stage, "memories", json_integer((json_int_t)options->memories));
    options_set_arithmetic(stage);
    header_set_candidates(header, stage, candidates);
    header_set_model(header, model);
    json_put(header, "positions", json_string(positions));
    json_put(header, "norm", json_string(norm));
    json_put(header, "arrays", json_object());
    fields_declare(header, batch_fields, is_sample ? BATCH_NUMBERED : 0, &numbered);
    fields_declare(header, rows_of_trace, 0, NULL);
    fields_declare(header, layer_of_trace, groups, &widths);
    header_add_stage(header, tool, stage);
    return header;
}

struct trace_records *trace_records_open(const char *path, const char *tool, const struct model *model,
                                         const struct candidates *candidates,
                                         const struct stream_reader *activations,
                                         const struct trace_options *options)
{
    struct trace_records *records = new_array(1, sizeof *records);
    records->activations = activations;
    records->groups = options->memories ? MEMORIES : 0;
    if (!model->config.normed_sums) /* else logits are not defined */
        records->groups |= options->memories ? LOGITS | MEMORY_LOGITS : LOGITS;
    msgpack_sbuffer_init(&records->buffer);
    json_t *header = make_header(tool, model, candidates, activations, options, records->groups);
    records->writer = stream_create(path, false, header);
    json_decref(header);
    return records;
}

/* The memories of a row of the layer's record. */
static void take_memories(struct traced_layer *record, const struct trace *trace, size_t row)
{
    const size_t cell = record->layer * trace->rows + row;
    record->count[row] = (uint32_t)trace->memory_count[cell];
    for (size_t i = 0; i < trace->memory_count[cell]; i++) {
        const struct trace_memory *memory = &trace->memory[cell * trace->memories + i];
        const size_t at = row * trace->memories + i;
        record->cell[at] = (uint32_t)memory->cell;
        record->coefficient[at] = memory->coefficient;
        record->size[at] = (float)memory->size;
        record->share[at] = (float)memory->share;
        if (record->memory_logit)
            record->memory_logit[at] = (float)memory->logit;
    }
}

/* The values of the layer's memories, which the trace has in a row. */
static void take_values(struct traced_layer *record, const struct trace *trace)
{
    size_t first = 0;
    while (first < trace->values && trace->value[first].layer < record->layer)
        first++;
    size_t end = first;
    while (end < trace->values && trace->value[end].layer == record->layer)
        end++;
    record->values = end - first;
    record->value_cell = new_array(record->values, sizeof *record->value_cell);
    for (size_t i = 0; i < record->values; i++)
        record->value_cell[i] = (uint32_t)trace->value[first + i].cell;
    record->value_top = trace->value_top + first * trace->tops;
    record->value_bottom = trace->value_bottom + first * trace->tops;
}

static void add_layer(struct trace_records *records, const struct trace *trace, size_t layer)
{
    const size_t cell = layer * trace->rows, listed = matrix_count(trace->rows, trace->memories);
    float *numbers = new_array(matrix_count(4, listed), sizeof *numbers);
    struct traced_layer record = {
        .layer = layer, .rows = trace->rows, .tops = trace->tops, .memories = trace->memories,
        .logit = new_array(trace->rows, sizeof(float)), .count = new_array(trace->rows, sizeof(uint32_t)),
        .cell = new_array(listed, sizeof(uint32_t)), .coefficient = numbers, .size = numbers + listed,
        .share = numbers + 2 * listed,
        .memory_logit = records->groups & MEMORY_LOGITS ? numbers + 3 * listed : NULL};
    for (int vector = 0; vector < TRACE_VECTORS; vector++) {
        record.top[vector] = trace_tokens(trace, vector, cell);
        record.probability[vector] = trace_probabilities(trace, vector, cell);
    }
    for (size_t row = 0; row < trace->rows; row++) {
        record.logit[row] = (float)trace->ffn_logit[cell + row];
        if (trace->memories)
            take_memories(&record, trace, row);
    }
    take_values(&record, trace);
    fields_pack(&records->buffer, layer_of_trace, records->groups, &record);
    stream_append(records->writer, &records->buffer, 1);
    free(numbers);
    free(record.logit);
    free(record.count);
    free(record.cell);
    free(record.value_cell);
}

void trace_records_add(struct trace_records *records, const struct trace *trace)
{
    const struct traced_rows rows = {trace->rows, trace->sentence, trace->position, trace->final};
    const struct record_part parts[] = {{batch_fields, batch_groups(&trace->tokens), &trace->tokens},
                                        {rows_of_trace, 0, &rows}};
    record_pack(&records->buffer, parts, 2);
    stream_append(records->writer, &records->buffer, 1);
    for (size_t layer = 0; layer < trace->layers; layer++)
        add_layer(records, trace, layer);
}

void trace_records_finish(struct trace_records *records)
{
    stream_finish(records->writer, stream_trailer(records->activations));
    msgpack_sbuffer_destroy(&records->buffer);
    free(records);
}
