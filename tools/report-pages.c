/*
 * report-pages: triggers with projected values in, a directory of pages out, for a
 * browser and without a network: tables and figures of the results, and all memories.
 *
 * index.html, report.css and report.js are tools/report-pages.*; what they show is
 * in data/, pieces that are loaded when they are needed: data/overview.js, made here,
 * data/last-layer.js, and those of common/report/report_memories.h. Figures are copied.
 * Their names, titles and captions are those of pipelines/experiments.csv, which is built in.
 * Memory: one piece, and the index of tokens.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/output.h"
#include "base/version.h"
#include "model/model_header.h"
#include "report/embedded.h"
#include "report/page.h"
#include "report/page_data.h"
#include "report/page_links.h"
#include "report/report_index.h"
#include "report/report_memories.h"
#include "report/report_tables.h"
#include "stream/coefficient_bins.h"
#include "stream/counts.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EMBEDDED(tools_report_pages_html);
EMBEDDED(tools_report_pages_css);
EMBEDDED(tools_report_pages_js);
EMBEDDED(tools_trace_prompts_html);
EMBEDDED(pipelines_experiments_csv);

enum { MAX_ROWS = 10000, MAX_CASES = 1000 };

struct options {
    const char *model, *name, *output, *tables, *measures, *published, *annotations, *date;
    struct option_texts traces;
    uint64_t top;
};

static void write_file(const char *folder, const char *name, struct span bytes)
{
    char *path = format_string("%s/%s", folder, name);
    struct output *output = output_open(path, OUTPUT_BINARY);
    output_write(output, bytes.bytes, bytes.length);
    output_finish(output);
    free(path);
}

static void copy_file(const char *from, const char *folder, const char *name)
{
    char *path = format_string("%s/%s", folder, name);
    struct input *input = input_open(from);
    struct output *output = output_open(path, OUTPUT_BINARY);
    char bytes[1 << 16];
    size_t got;
    while ((got = input_read(input, bytes, sizeof bytes)) != 0)
        output_write(output, bytes, got);
    output_finish(output);
    input_close(input);
    free(path);
}

/* ---- tables and figures ---- */

/* The table NAME.csv of a directory, or NULL when it is not there. */
static json_t *find_table(const char *directory, const char *name, size_t most)
{
    char *path = format_string("%s/%s.csv", directory, name);
    json_t *table = input_exists(path) ? table_json(path, most) : NULL;
    free(path);
    return table;
}

static void add_table(json_t *tables, const char *directory, const char *name)
{
    json_t *table = find_table(directory, name, MAX_ROWS);
    if (table)
        json_put(tables, name, table);
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* Of --tables the listed tables that have a title, and what the experiments were run with. */
static json_t *tables_json(const struct options *options, const json_t *listed)
{
    json_t *tables = json_make("{}");
    for (size_t i = 0; options->tables && i < json_array_size(listed); i++)
        if (*text_of(json_array_get(listed, i), "title"))
            add_table(tables, options->tables, text_of(json_array_get(listed, i), "table"));
    if (options->tables)
        add_table(tables, options->tables, "options");
    return tables;
}

/* Copies DIR/figures/FIGURE.svg of the listed figures that have a caption; their names. */
static json_t *copy_figures(const struct options *options, const json_t *listed,
                            const struct output_directory *directory)
{
    json_t *names = json_make("[]");
    char *folder = NULL;
    for (size_t i = 0; options->tables && i < json_array_size(listed); i++) {
        const json_t *row = json_array_get(listed, i);
        char *name = format_string("%s.svg", text_of(row, "figure"));
        char *path = format_string("%s/figures/%s", options->tables, name);
        if (*text_of(row, "caption") && input_exists(path)) {
            folder = folder ? folder : output_directory_folder(directory, "figures");
            copy_file(path, folder, name);
            json_add(names, json_make("s", name));
        }
        free(path);
        free(name);
    }
    free(folder);
    return names;
}

/* ---- pages of traces ---- */

/*
 * The pages of trace-prompts as traces/1.html and so on, with links to this report: their names, and how many
 * prompts they have. Of a given page only the data is taken.
 */
static json_t *copy_traces(const struct options *options, const char *model_id,
                           const struct output_directory *directory)
{
    json_t *traces = json_make("[]");
    char *folder = options->traces.count ? output_directory_folder(directory, "traces") : NULL;
    for (size_t i = 0; i < options->traces.count; i++) {
        const char *path = options->traces.text[i], *slash = strrchr(path, '/');
        json_t *data = trace_page_data(path, model_id);
        char *page = format_string("%s/%zu.html", folder, i + 1);
        json_put(data, "report", json_make("s", "../"));
        page_write(output_open(page, OUTPUT_TEXT), EMBEDDED_SPAN(tools_trace_prompts_html), data, 5);
        json_add(traces, json_make("[o, I]", json_readable(slash ? slash + 1 : path),
                                   (json_int_t)json_array_size(json_object_get(data, "prompts"))));
        json_decref(data);
        free(page);
    }
    free(folder);
    return traces;
}

/* ---- overview ---- */

/* A section of the stream's header or trailer. */
static json_t *part(const json_t *object, const char *name)
{
    json_t *member = json_object_get(object, name);
    return member ? json_incref(member) : json_null();
}

/* What the trailer counts, without the CRC-32. */
static json_t *counts_json(const json_t *trailer)
{
    json_t *counts = json_make("{}");
    counts_add(counts, trailer);
    return counts;
}

static json_t *columns_json(const struct keyed_rows *rows)
{
    return rows->columns ? json_incref(rows->columns) : json_make("[]");
}

/* ---- main ---- */

struct report {
    const struct options *options;
    struct output_directory *directory;
    char *data; /* folder */
    struct stream_reader *reader;
    struct triggers_reader triggers;
    struct keyed_rows measures, annotations;
    size_t most_tops, most_bottoms;
};

static json_t *add_keys(struct report *report, const struct tokenizer *tokenizer)
{
    struct report_memories *memories =
        report_memories_new(report->data, tokenizer, report->triggers.shape.vocabulary,
                            (size_t)report->options->top);
    struct key_triggers key;
    while (triggers_next(&report->triggers, &key)) {
        if (!key.top)
            stream_fail(report->reader, "triggers without projected values: run project-values first");
        enum rank rank = triggers_rank(&report->triggers, &key);
        if (key.list)
            report_memories_add_list(memories, &key, rank);
        else
            report_memories_add(memories, &key, rank, keyed_rows_take(&report->measures, key.layer, key.cell),
                                keyed_rows_take(&report->annotations, key.layer, key.cell));
        report->most_tops = key.tops > report->most_tops ? key.tops : report->most_tops;
        report->most_bottoms = key.bottoms > report->most_bottoms ? key.bottoms : report->most_bottoms;
        key_triggers_free(&key);
        input_count(stream_input(report->reader), 1, "keys");
    }
    return report_memories_finish(memories);
}

/* The edges of the bins of coefficients that are nearer to 0. */
static json_t *edges_json(void)
{
    json_t *edges = json_make("[]");
    for (size_t bin = 0; bin < COEFFICIENT_BINS; bin++)
        json_add(edges, json_make("f", (double)coefficient_bin_edge(bin)));
    return edges;
}

static void write_overview(struct report *report, json_t *layers, const char *joint, size_t cases)
{
    const struct options *options = report->options;
    const json_t *header = stream_header(report->reader);
    json_t *overview = json_make("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "version", FFKV_VERSION, "model",
                                 part(header, "model"), "corpus", part(header, "corpus"), "tokenizer",
                                 part(header, "tokenizer"), "history", part(header, "history"), "rank",
                                 part(header, "rank"), "counts", counts_json(stream_trailer(report->reader)));
    const char *id = header_text(report->reader, "model", "id");
    json_put(overview, "name",
             options->name ? json_make("s", options->name) : model_name_json(options->model, id));
    json_put(overview, "prefixes", part(header, "prefixes"));
    json_put(overview, "layers", layers);
    bool counted = report->triggers.counted >> COUNTED_COEFFICIENTS & 1;
    json_put(overview, "edges", counted ? edges_json() : json_null());
    json_put(overview, "joint", json_make("s", joint));
    json_put(overview, "sizes",
             json_make("{s:I, s:I, s:I, s:I, s:i, s:i, s:I}", "top", (json_int_t)options->top, "found",
                       (json_int_t)report->triggers.top, "tops", (json_int_t)report->most_tops, "bottoms",
                       (json_int_t)report->most_bottoms, "piece", MEMORIES_A_PIECE, "postings",
                       POSTINGS_A_TOKEN, "cases", (json_int_t)cases));
    json_put(overview, "measures", columns_json(&report->measures));
    json_put(overview, "annotations", columns_json(&report->annotations));
    const struct span list = EMBEDDED_SPAN(pipelines_experiments_csv);
    json_t *listed = listed_results("experiments.csv", list.bytes, list.length);
    json_put(overview, "tables", tables_json(options, listed));
    json_put(overview, "published",
             options->published ? table_json(options->published, MAX_ROWS) : json_null());
    json_put(overview, "figures", copy_figures(options, listed, report->directory));
    json_put(overview, "listed", listed);
    json_put(overview, "traces", copy_traces(options, id, report->directory));
    json_put(overview, "date", options->date ? json_make("s", options->date) : json_null());
    page_data_write(report->data, "overview", overview);
}

/* The first cases of the last layer, which may be very many. Returns how many there are. */
static size_t write_cases(const struct report *report)
{
    json_t *cases =
        report->options->tables ? find_table(report->options->tables, "last-layer", MAX_CASES) : NULL;
    if (!cases)
        return 0;
    size_t count = (size_t)json_integer_value(json_object_get(cases, "count"));
    page_data_write(report->data, "last-layer", cases);
    return count;
}

/* A file whose absence should not be noticed only after the stream was read. */
static void check_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        die("%s: %s", path, strerror(errno));
    closedir(directory);
}

static void check_text(const char *option, const char *text)
{
    json_t *json = text ? json_string(text) : NULL;
    if (text && !json)
        die_usage("%s takes UTF-8", option);
    json_decref(json);
}

static void check_options(const struct options *options)
{
    if (!options->model)
        die_usage("--model DIR is needed");
    if (!options->output || !*options->output)
        die_usage("--output DIR is needed");
    check_text("--name", options->name);
    check_text("--date", options->date);
    if (options->tables)
        check_directory(options->tables);
}

static void run(const struct options *options, const char *path)
{
    struct report report = {.options = options, .reader = stream_open(path, "triggers")};
    stream_need_sentences(report.reader);
    report.triggers = triggers_open(report.reader);
    struct tokenizer *tokenizer = tokenizer_open(options->model, report.reader);
    const char *model_id = header_text(report.reader, "model", "id");
    report.measures = keyed_rows_read(&options->measures, options->measures != NULL, model_id);
    report.annotations = keyed_rows_read(&options->annotations, options->annotations != NULL, model_id);

    report.directory = output_directory_open(options->output);
    report.data = output_directory_folder(report.directory, "data");
    json_t *layers = add_keys(&report, tokenizer);
    write_overview(&report, layers, tokenizer_joint(tokenizer), write_cases(&report));
    write_file(output_directory_place(report.directory), "index.html",
               EMBEDDED_SPAN(tools_report_pages_html));
    write_file(output_directory_place(report.directory), "report.css", EMBEDDED_SPAN(tools_report_pages_css));
    write_file(output_directory_place(report.directory), "report.js", EMBEDDED_SPAN(tools_report_pages_js));
    output_directory_finish(report.directory);

    free(report.data);
    free(options->traces.text);
    keyed_rows_free(&report.measures);
    keyed_rows_free(&report.annotations);
    tokenizer_free(tokenizer);
    triggers_close(&report.triggers);
    stream_close(report.reader);
}

int main(int argc, char **argv)
{
    struct options options = {.top = 25};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {'o', "output", "DIR", "the directory to make, which appears only when complete", OPTION_TEXT,
         &options.output, 0, 0, NULL},
        {0, "name", "TEXT", "what the pages call the model (default: its folder's or file's name)",
         OPTION_TEXT, &options.name, 0, 0, NULL},
        {'t', "top", "N", "triggers shown of each memory (default 25)", OPTION_NUMBER, &options.top, 1,
         MAX_TRIGGERS, NULL},
        {0, "tables", "DIR", "show the tables and figures/*.svg of this directory, those that are there",
         OPTION_IN, &options.tables, 0, 0, NULL},
        {0, "measures", "FILE", "show with each memory its row of this table with the columns layer, cell",
         OPTION_IN, &options.measures, 0, 0, NULL},
        {0, "annotations", "FILE", "show with each memory the patterns that readers noted in this table",
         OPTION_IN, &options.annotations, 0, 0, NULL},
        {0, "published", "FILE", "show the published numbers of this table beside the model's", OPTION_IN,
         &options.published, 0, 0, NULL},
        {0, "trace", "FILE", "link to a copy of this page of trace-prompts; may be repeated", OPTION_TEXTS,
         &options.traces, 0, 0, NULL},
        {0, "date", "TEXT", "when the results were made, to be shown as it is", OPTION_TEXT, &options.date, 0,
         0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"report-pages", "Makes pages to browse: results, figures, and every memory.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    check_options(&options);
    run(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
