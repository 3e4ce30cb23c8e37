#include "analysis/statistic.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/model_header.h"
#include "stream/activations.h"
#include "stream/counts.h"
#include "stream/fields.h"
#include "stream/header.h"
#include "stream/layer_sums.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"
#include "text/tokenizer.h"

#include <stdlib.h>

const struct model *statistic_model(struct statistic *statistic, const struct stream_reader *input)
{
    if (!statistic->model) {
        statistic->model = model_load(statistic->options.model);
        header_check_model(input, statistic->model);
    }
    return statistic->model;
}

void statistic_add(struct statistic *statistic, void *sums)
{
    layer_sums_add(statistic->kind->sums, statistic->sums, sums);
    layer_sums_free(statistic->kind->sums, sums);
    free(sums);
}

void statistic_put(struct statistic *statistic, const void *records, size_t count)
{
    const struct statistic_list *list = statistic->kind->list;
    if (!statistic->writer) {
        list->tell(statistic, records);
    } else if (count) {
        msgpack_sbuffer buffer;
        msgpack_sbuffer_init(&buffer);
        fields_pack(&buffer, list->fields, 0, records);
        stream_append(statistic->writer, &buffer, 1);
        msgpack_sbuffer_destroy(&buffer);
    }
}

/* header: of the sums. */
static void begin(struct statistic *statistic, struct stream_reader *input, const json_t *header)
{
    const struct statistic_options *options = &statistic->options;
    statistic->activations = activations_open(input);
    if (statistic->kind->begin)
        statistic->kind->begin(statistic, input);
    statistic->sums = statistic->kind->sums_new(&statistic->activations);
    if (options->out.sums)
        statistic->writer = stream_create(options->out.output, options->out.gzip, header);
}

static void end(struct statistic *statistic, const struct stream_reader *input, const json_t *counts)
{
    const struct statistic_kind *kind = statistic->kind;
    if (statistic->writer) {
        layer_sums_write(kind->sums, statistic->writer, statistic->sums);
        stream_finish(statistic->writer, counts);
    } else {
        kind->tables(statistic, input);
    }
    layer_sums_free(kind->sums, statistic->sums);
    free(statistic->sums);
    activations_close(&statistic->activations);
    if (statistic->model)
        model_free(statistic->model);
    candidates_free(&statistic->candidates);
}

/* ---- from activations ---- */

static json_t *make_header(const struct statistic *statistic, const struct stream_reader *stream)
{
    const struct statistic_kind *kind = statistic->kind;
    json_t *header = header_new(kind->stream, stream_header(stream)), *options = kind->shaping(statistic);
    json_put(header, "arrays", json_object());
    if (kind->list)
        fields_declare(header, kind->list->fields, 0,
                       kind->list->columns ? kind->list->columns(statistic) : NULL);
    layer_sums_declare(kind->sums, header);
    if (kind->declare)
        kind->declare(statistic, header);
    options_set_arithmetic(options);
    header_set_candidates(header, options, &statistic->candidates);
    header_add_stage(header, kind->tool, options);
    return header;
}

static void run(struct statistic *statistic, const char *path)
{
    const struct statistic_options *options = &statistic->options;
    matrix_start((size_t)options->threads, (enum product_kind)options->products);
    statistic->model = model_load(options->model);
    statistic->candidates = candidates_read(&statistic->model->config, options->all_tokens);
    statistic->kind->prepare(statistic);
    struct stream_reader *stream = stream_open(path, "activations");
    header_check_model(stream, statistic->model);
    if (!options->out.sums)
        stream_need_sentences(stream);
    json_t *header = make_header(statistic, stream);
    begin(statistic, stream, header);
    run_ordered((size_t)options->threads, statistic->kind->work, statistic);
    end(statistic, stream, stream_trailer(stream));
    json_decref(header);
    stream_close(stream);
}

/* ---- from the sums of shards ---- */

static void begin_merge(void *merged, struct stream_reader *first)
{
    begin(merged, first, stream_header(first));
}

/* Reads the sums of an input, from this record on. */
static void read_sums(struct statistic *statistic, struct stream_reader *input, struct record *record,
                      uint64_t listed)
{
    const struct statistic_list *list = statistic->kind->list;
    void *sums = statistic->kind->sums_new(&statistic->activations);
    layer_sums_read(statistic->kind->sums, input, record, sums);
    uint64_t total = list ? list->total(sums) : 0;
    if (total != listed)
        stream_fail(input, "it has %llu %s, its sums say %llu", (unsigned long long)listed, list->what,
                    (unsigned long long)total);
    statistic_add(statistic, sums);
}

static struct listed next_listed(void *merged, struct stream_reader *input, uint64_t so_far)
{
    struct statistic *statistic = merged;
    const struct statistic_list *list = statistic->kind->list;
    struct record record;
    if (!stream_next(input, &record))
        stream_fail(input, "0 of %zu layers: there are no sums in it", statistic->activations.layer_count);
    if (list && record_has(&record, list->fields[0].name))
        return list->read(&record, &statistic->activations.shape);
    read_sums(statistic, input, &record, so_far);
    return (struct listed){0};
}

static void take_listed(void *merged, const struct listed *listed)
{
    struct statistic *statistic = merged;
    statistic_put(statistic, listed->records, listed->count);
    statistic->kind->list->free(listed->records);
}

static void read_input(void *merged, struct stream_reader *input)
{
    next_listed(merged, input, 0);
}

static void end_merge(void *merged, const struct stream_reader *first, const json_t *counts)
{
    struct statistic *statistic = merged;
    if (!statistic->options.out.sums)
        counts_need_sentences(counts, "the inputs");
    end(statistic, first, counts);
}

static void merge(struct statistic *statistic, char **paths, size_t count)
{
    struct merge_work work = {.kind = statistic->kind->stream, .whole = &whole_corpus, .begin = begin_merge,
                              .end = end_merge};
    if (statistic->kind->list) {
        work.next = next_listed;
        work.take = take_listed;
    } else {
        work.read = read_input;
    }
    merge_inputs(&work, paths, count, statistic->options.out.partial, statistic);
}

/* ---- main ---- */

int statistic_parse(const struct tool *tool, int argc, char **argv, const struct statistic_options *options)
{
    int first = cli_parse(tool, argc, argv);
    cli_check_sums(&options->out, (size_t)(argc - first));
    if (!options->out.merge && !options->model)
        die_usage("--model DIR is needed");
    if (options->out.merge && options->all_tokens)
        die_usage("--merge keeps what its inputs were made with: --all-tokens does not go with it");
    if (options->out.merge && options->products != PRODUCTS_AUTO)
        die_usage("--merge computes no products: --products does not go with it");
    return first;
}

void statistic_main(struct statistic *statistic, char **operands, size_t count)
{
    if (statistic->options.out.merge)
        merge(statistic, operands, count);
    else
        run(statistic, cli_input((int)count, operands, 0));
}
