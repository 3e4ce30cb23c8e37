/*
 * import-model: a fairseq language model's checkpoint as a model directory.
 * The checkpoint is read as data; the directory appears only when complete.
 */
#include "base/cli.h"
#include "base/hash.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/order.h"
#include "base/output.h"
#include "model/checksums.h"
#include "model/fairseq.h"
#include "text/dictionary.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *dictionary, *output;
};

/* A file of the directory while it is written, and its sum. */
struct model_file {
    const char *name;
    struct output *output;
    struct hash *hash;
};

/* The directory, and the list of its files' sums: checksums.h. */
struct model_directory {
    struct output_directory *directory;
    struct output *sums;
};

static struct output *open_in(const struct output_directory *directory, const char *name,
                              enum output_form form)
{
    char *path = format_string("%s/%s", output_directory_place(directory), name);
    struct output *output = output_open(path, form);
    free(path);
    return output;
}

static struct model_file open_file(const struct model_directory *model, const char *name,
                                   enum output_form form)
{
    return (struct model_file){name, open_in(model->directory, name, form), hash_new()};
}

static void write_file(struct model_file *file, const void *bytes, size_t size)
{
    hash_add(file->hash, bytes, size);
    output_write(file->output, bytes, size);
}

static void finish_file(struct model_file *file, const struct model_directory *model)
{
    char sum[HASH_CHARACTERS + 1];
    hash_finish(file->hash, sum);
    output_finish(file->output);
    char *line = checksums_line(file->name, sum);
    output_write(model->sums, line, strlen(line));
    free(line);
}

static void write_config(const struct model_directory *directory, const json_t *config)
{
    struct model_file file = open_file(directory, "config.json", OUTPUT_TEXT);
    char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
    if (!text)
        die("out of memory");
    write_file(&file, text, strlen(text));
    write_file(&file, "\n", 1);
    finish_file(&file, directory);
    free(text);
}

/* The dictionary as it is, decompressed where it is compressed. */
static void copy_dictionary(const struct model_directory *directory, const char *path)
{
    struct model_file file = open_file(directory, "dict.txt", OUTPUT_TEXT);
    struct input *input = input_open(path);
    char buffer[1 << 16];
    for (size_t got; (got = input_read(input, buffer, sizeof buffer)) > 0;)
        write_file(&file, buffer, got);
    input_close(input);
    finish_file(&file, directory);
}

/* ---- model.safetensors ---- */

/* Larger elements come first, so that every tensor is aligned to its elements. */
static int by_element_size(const void *a, const void *b)
{
    const struct fairseq_tensor *left = a, *right = b;
    int order = compare_numbers(right->tensor.element_bytes, left->tensor.element_bytes);
    return order ? order : strcmp(left->name, right->name);
}

/* The length of the header and the header, padded so that the data begin aligned. */
static void write_header(struct model_file *file, const struct fairseq_model *model)
{
    enum { ALIGNMENT = 8 };
    json_t *header = json_make("{s:{s:s}}", "__metadata__", "format", "pt");
    size_t begin = 0;
    for (size_t i = 0; i < model->count; i++) {
        const struct torch_tensor *tensor = &model->tensors[i].tensor;
        size_t end = begin + tensor->count * tensor->element_bytes;
        json_put(header, model->tensors[i].name,
                 json_make("{s:s, s:o, s:[I,I]}", "dtype", tensor->type, "shape",
                           json_list(tensor->shape, tensor->dimensions), "data_offsets",
                           (json_int_t)begin, (json_int_t)end));
        begin = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    if (!text)
        die("out of memory");
    size_t length = strlen(text), padding = (ALIGNMENT - length % ALIGNMENT) % ALIGNMENT;
    uint64_t bytes = length + padding; /* little endian, as the host is: stream_format.h */
    write_file(file, &bytes, sizeof bytes);
    write_file(file, text, length);
    write_file(file, "        ", padding);
    free(text);
    json_decref(header);
}

static void write_tensors(const struct model_directory *directory, struct torch_file *checkpoint,
                          struct fairseq_model *model)
{
    struct model_file file = open_file(directory, "model.safetensors", OUTPUT_BINARY);
    qsort(model->tensors, model->count, sizeof *model->tensors, by_element_size);
    write_header(&file, model);
    for (size_t i = 0; i < model->count; i++) {
        const struct torch_tensor *tensor = &model->tensors[i].tensor;
        void *elements = torch_tensor_read(checkpoint, tensor);
        write_file(&file, elements, tensor->count * tensor->element_bytes);
        free(elements);
    }
    finish_file(&file, directory);
}

/* ---- all ---- */

/* Ends the program for a dictionary of another model, as far as its size tells. */
static void check_dictionary(const char *path, const struct fairseq_model *model)
{
    uint32_t unknown = (uint32_t)json_integer_value(json_object_get(model->config, "unk_token_id"));
    dictionary_free(dictionary_read_file(path, model->vocabulary, unknown));
}

static void import_model(const char *checkpoint, const struct options *options)
{
    struct model_directory directory = {.directory = output_directory_open(options->output)};
    struct torch_file *file = torch_open(checkpoint);
    struct fairseq_model *model = fairseq_read(checkpoint, file);
    check_dictionary(options->dictionary, model);
    directory.sums = open_in(directory.directory, CHECKSUMS_NAME, OUTPUT_TEXT);
    write_config(&directory, model->config);
    copy_dictionary(&directory, options->dictionary);
    write_tensors(&directory, file, model);
    output_finish(directory.sums);
    output_directory_finish(directory.directory);
    fairseq_free(model);
    torch_close(file);
}

int main(int argc, char **argv)
{
    struct options options = {NULL, NULL};
    const struct option_spec specs[] = {
        {'d', "dictionary", "FILE", "the dict.txt that belongs to the checkpoint", OPTION_IN,
         &options.dictionary, 0, 0, NULL},
        {'o', "output", "DIR", "the model directory to make, which appears only when complete", OPTION_TEXT,
         &options.output, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"import-model", "Turns a fairseq checkpoint into a model directory.",
                              "CHECKPOINT", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (first == argc)
        die_usage("no checkpoint given; try '%s --help'", program_name());
    if (!options.dictionary || !options.output)
        die_usage("--dictionary and --output are needed; try '%s --help'", program_name());
    import_model(argv[first], &options);
    return STATUS_DONE;
}
