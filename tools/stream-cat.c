/*
 * stream-cat: any stream as JSON lines, one object a line: header, records,
 * trailer. Numeric arrays are printed by the types that the header declares,
 * and layers count from 0, as in the stream.
 * With a model the records alone, in words: common/text/record_words.h, as JSON
 * lines or as a table, and layers count from 1. --layers and --cells:
 * common/stream/selection.h.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/output.h"
#include "model/model_header.h"
#include "stream/header_members.h"
#include "stream/selection.h"
#include "stream/stream_reader.h"
#include "table/table.h"
#include "text/record_words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT_JSON, FORMAT_TSV };
static const char *const format_words[] = {"json", "tsv", NULL};

struct options {
    const char *model, *layers, *cells, *output;
    bool header_only, verify;
    int format;
    uint64_t most;
};

/* ---- which records ---- */

struct source {
    struct stream_reader *reader;
    struct selection *selection; /* NULL: all */
    uint64_t left;               /* records that may still come */
};

static struct source source_open(const char *path, const struct options *options)
{
    struct source source = {.reader = stream_open(path, NULL),
                            .left = options->header_only ? 0 : options->most};
    if (options->layers || options->cells)
        source.selection = selection_new(source.reader, options->layers, options->cells);
    return source;
}

static const json_t *source_header(const struct source *source)
{
    return source->selection ? selection_header(source->selection) : stream_header(source->reader);
}

static bool source_next(struct source *source, struct record *record)
{
    if (!source->left)
        return false;
    source->left--;
    return source->selection ? selection_next(source->selection, record)
                             : stream_next(source->reader, record);
}

static void source_close(struct source *source)
{
    if (source->selection)
        selection_free(source->selection);
    stream_close(source->reader);
}

/* ---- as it is ---- */

/* Prints a line, which it frees. */
static void print(struct output *output, char *line)
{
    output_write(output, line, strlen(line));
    output_write(output, "\n", 1);
    free(line);
}

static void print_stream(struct source *source, const struct options *options)
{
    struct output *output = output_open(options->output, OUTPUT_TEXT);
    struct record record;
    if (!options->verify)
        print(output, json_line(source_header(source)));
    while (source_next(source, &record)) {
        if (options->verify)
            record_check(&record);
        else
            print(output, record_text(&record));
        input_count(stream_input(source->reader), 1, "records");
    }
    if (stream_trailer(source->reader) && !options->verify)
        print(output, json_line(stream_trailer(source->reader)));
    source_close(source);
    output_finish(output);
}

/* ---- in words ---- */

/* The words of the model, which must be the one that the stream was made with. */
static struct tokenizer *open_words(const char *path, const struct stream_reader *reader, size_t *vocabulary)
{
    if (json_object_get(stream_header(reader), "tokenizer")) {
        *vocabulary = (size_t)header_number(reader, "tokenizer", "vocabulary", UINT32_MAX);
        return tokenizer_open(path, reader);
    }
    struct model *model = model_load(path); /* a stream of values names no tokenizer */
    header_check_model(reader, model);
    *vocabulary = model->config.vocabulary;
    struct tokenizer *tokenizer = tokenizer_read(&model->config);
    model_free(model);
    return tokenizer;
}

static void print_json(struct source *source, struct record_words *words, const char *path)
{
    struct output *output = output_open(path, OUTPUT_TEXT);
    struct record record;
    while (source_next(source, &record)) {
        json_t *object = record_words_json(words, &record);
        print(output, json_line(object));
        json_decref(object);
        input_count(stream_input(source->reader), 1, "records");
    }
    source_close(source);
    output_finish(output);
}

/* A kind of stream as a table. */
struct columns {
    const char *kind;
    const char *rows;        /* the list of a record that has a row of each; NULL: a record is a row */
    const char *columns[20]; /* of the record, or of the list's objects */
};

static const struct columns tables[] = {
    {"tokens", "sentences", {"sentence", "len", "tok", "key_layer", "key_cell", "key_coef", "key_change"}},
    {"activations", NULL, {"id", "layer", "sentences", "rows", "path", "path_coef", "coef_counts",
                           "magnitude_counts", "sign_counts"}},
    {"triggers", "triggers", {"layer", "cell", "coef", "sentence", "position", "prefix", "prefix_coef",
                              "next", "following", "next_rank", "next_p", "last_rank", "last_p", "top",
                              "bottom", "coefs", "list", "magnitudes", "signs"}},
    {"values", NULL, {"layer", "cell", "top", "bottom"}},
    {"composition", NULL, {"layer", "short", "memories", "active", "agreement", "token_counts"}},
    {"refinement", NULL, {"layer", "prefixes", "residual_is_final", "cases", "probability_sum", "probability",
                          "rank", "changes", "next_is_top", "settled", "surprise_sum"}},
};

static const struct columns *columns_of(const struct stream_reader *reader)
{
    const char *kind = header_text(reader, NULL, "kind");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (!strcmp(kind, tables[i].kind))
            return &tables[i];
    stream_fail(reader, "there is no table of streams of kind '%s'; --format json shows them", kind);
}

/* A number or a text; what has parts as JSON; an empty field where there is none. */
static void print_field(struct table *table, const json_t *value)
{
    if (json_is_string(value))
        table_text(table, json_string_value(value));
    else if (json_is_integer(value))
        table_number(table, (uint64_t)json_integer_value(value));
    else if (json_is_object(value) || json_is_array(value))
        table_own_text(table, json_line(value));
    else
        table_real(table, json_is_real(value) ? json_real_value(value) : NAN);
}

static void print_row(struct table *table, const struct columns *columns, const json_t *record,
                      const json_t *part)
{
    for (size_t i = 0; columns->columns[i]; i++) {
        const json_t *own = json_object_get(part, columns->columns[i]);
        print_field(table, own ? own : json_object_get(record, columns->columns[i]));
    }
}

static void print_table(struct source *source, struct record_words *words, const char *path)
{
    const struct columns *columns = columns_of(source->reader);
    struct table *table = table_open_tsv(path, columns->columns);
    struct record record;
    while (source_next(source, &record)) {
        json_t *object = record_words_json(words, &record), *part;
        size_t i;
        if (!columns->rows)
            print_row(table, columns, object, NULL);
        json_array_foreach(columns->rows ? json_object_get(object, columns->rows) : NULL, i, part)
            print_row(table, columns, object, part);
        json_decref(object);
        input_count(stream_input(source->reader), 1, "records");
    }
    source_close(source);
    table_finish(table);
}

static void print_words(struct source *source, const struct options *options)
{
    size_t vocabulary;
    struct tokenizer *tokenizer = open_words(options->model, source->reader, &vocabulary);
    struct record_words *words =
        record_words_new(source->reader, source_header(source), tokenizer, vocabulary);
    if (options->format == FORMAT_TSV)
        print_table(source, words, options->output);
    else
        print_json(source, words, options->output);
    record_words_free(words);
    tokenizer_free(tokenizer);
}

int main(int argc, char **argv)
{
    struct options options = {.most = OPTION_NO_LIMIT};
    const struct option_spec specs[] = {
        {0, "header", NULL, "print the header only", OPTION_FLAG, &options.header_only, 0, 0, NULL},
        {'n', "records", "N", "print the first N records only", OPTION_NUMBER, &options.most, 0, 0, NULL},
        OPTION_LAYERS(&options.layers, "print"),
        OPTION_CELLS(&options.cells, "print"),
        {'m', "model", "DIR",
         "print the records alone, in words, layers counted from 1: a directory, or a GGUF file", OPTION_IN,
         &options.model, 0, 0, NULL},
        {0, "format", "HOW", "with --model: json (default), an object a record; or tsv, a table",
         OPTION_CHOICE, &options.format, 0, 0, format_words},
        {0, "verify", NULL,
         "print nothing; the exit status says whether format, counts and checksum are right", OPTION_FLAG,
         &options.verify, 0, 0, NULL},
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"stream-cat",
                              "Shows a stream as JSON lines, as it is, with layers from 0; or in words.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (options.format != FORMAT_JSON && !options.model)
        die_usage("--format goes with --model");
    if ((options.verify || options.header_only) && (options.model || options.layers || options.cells))
        die_usage("--%s takes no --model, --layers and --cells", options.verify ? "verify" : "header");
    if (options.verify) {
        options.most = OPTION_NO_LIMIT;
        options.header_only = false;
    }
    struct source source = source_open(cli_input(argc, argv, first), &options);
    if (options.model)
        print_words(&source, &options);
    else
        print_stream(&source, &options);
    return STATUS_DONE;
}
