#include "model/model.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/checksums.h"
#include "model/families.h"
#include "model/gguf_config.h"
#include "model/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one tensor ---- */

/* A model while it is read. */
struct loading {
    struct model *model;
    const struct tensor_names *names;
    const char *prefix;
};

static size_t size_called(const struct model_config *config, enum size_name name)
{
    switch (name) {
    case SIZE_ONE:
        return 1;
    case SIZE_D_MODEL:
        return config->d_model;
    case SIZE_D_FF:
        return config->d_ff;
    case SIZE_QUERY:
        return config->heads * config->head_width;
    case SIZE_KEY_VALUE:
        return config->key_value_heads * config->head_width;
    case SIZE_HEAD:
        return config->head_width;
    }
    return 0;
}

/* Whether the file must have a tensor, and else may not. */
static bool is_expected(const struct loading *loading, const struct tensor_row *tensor, const char *name)
{
    const struct model_config *config = &loading->model->config;
    switch (tensor->presence) {
    case PRESENCE_ALWAYS:
        return true;
    case PRESENCE_OPTIONAL:
        return weights_has(loading->model->weights, name);
    case PRESENCE_QKV_BIAS:
        return config->query_key_value_bias;
    case PRESENCE_OUTPUT_BIAS:
        return config->output_bias;
    case PRESENCE_FFN_BIAS:
        return config->ffn_bias;
    case PRESENCE_HEAD_NORMS:
        return config->head_norms;
    }
    return true;
}

static float *new_tensor(struct model *model, size_t count)
{
    float *values = new_floats(count);
    model->owned = grow_array(model->owned, model->owned_count + 1, sizeof *model->owned);
    model->owned[model->owned_count++] = values;
    return values;
}

/* A tensor as it is in the file; columns 0: a vector. */
static const float *plain_tensor(struct model *model, const char *name, size_t rows, size_t columns)
{
    const float *mapped = weights_map(model->weights, name, rows, columns);
    if (mapped)
        return mapped;
    float *values = new_tensor(model, matrix_count(rows, columns ? columns : 1));
    weights_read(model->weights, name, rows, columns, values);
    return values;
}

/* The index in the file's matrix of element (row, column) of ours, rows x columns. */
static size_t index_in_file(const struct tensor_row *tensor, const struct model_config *config, size_t rows,
                            size_t columns, size_t row, size_t column)
{
    size_t width = config->head_width;
    switch (tensor->layout) {
    case LAYOUT_PLAIN:
        break;
    case LAYOUT_TRANSPOSED:
        return column * rows + row;
    case LAYOUT_STACKED:
        return (tensor->part * rows + row) * columns + column;
    case LAYOUT_STACKED_TRANSPOSED:
        return column * 3 * rows + tensor->part * rows + row;
    case LAYOUT_PAIRED:
        return (row / width * width + row % width % (width / 2) * 2 + row % width / (width / 2)) * columns
             + column;
    case LAYOUT_INTERLEAVED:
        return ((row / width * 3 + tensor->part) * width + row % width) * columns + column;
    }
    return row * columns + column;
}

static const float *arranged_tensor(struct model *model, const struct tensor_row *tensor, const char *name)
{
    const struct model_config *config = &model->config;
    size_t rows = size_called(config, tensor->rows), columns = size_called(config, tensor->columns);
    bool vector = tensor->columns == SIZE_ONE;
    bool one_of_three = tensor->layout == LAYOUT_STACKED || tensor->layout == LAYOUT_STACKED_TRANSPOSED
                     || tensor->layout == LAYOUT_INTERLEAVED;
    size_t file_rows = one_of_three ? 3 * rows : rows;
    bool transposed = tensor->layout == LAYOUT_TRANSPOSED || tensor->layout == LAYOUT_STACKED_TRANSPOSED;
    float *from = new_floats(matrix_count(file_rows, columns));
    float *to = new_tensor(model, matrix_count(rows, columns));
    if (vector)
        weights_read(model->weights, name, file_rows, 0, from);
    else if (transposed)
        weights_read(model->weights, name, columns, file_rows, from);
    else
        weights_read(model->weights, name, file_rows, columns, from);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            to[r * columns + c] = from[index_in_file(tensor, config, rows, columns, r, c)];
    free(from);
    return to;
}

static void read_layer_tensor(struct loading *loading, const struct tensor_row *tensor, size_t index)
{
    struct model *model = loading->model;
    void *field = (char *)&model->layer[index] + tensor->offset;
    bool vector = tensor->columns == SIZE_ONE;
    size_t rows = size_called(&model->config, tensor->rows);
    size_t columns = size_called(&model->config, tensor->columns);
    char name[MAX_TENSOR_NAME];
    tensor_name(name, loading->prefix, tensor->name, index);
    if (!is_expected(loading, tensor, name))
        return;
    bool plain = tensor->layout == LAYOUT_PLAIN || (tensor->layout == LAYOUT_TRANSPOSED && vector);
    const float *values = plain ? plain_tensor(model, name, rows, vector ? 0 : columns)
                                : arranged_tensor(model, tensor, name);
    if (vector)
        *(const float **)field = values;
    else
        *(struct matrix *)field = matrix_of(values, rows, columns);
}

/* A tensor outside of the layers; index fills a %zu in its name. */
static const float *named_tensor(struct loading *loading, const char *prefix, const char *format,
                                 size_t index, size_t rows, size_t columns)
{
    char name[MAX_TENSOR_NAME];
    tensor_name(name, prefix, format, index);
    return plain_tensor(loading->model, name, rows, columns);
}

static struct matrix named_matrix(struct loading *loading, const char *prefix, const char *format,
                                  size_t index, size_t rows, size_t columns)
{
    return matrix_of(named_tensor(loading, prefix, format, index, rows, columns), rows, columns);
}

/* ---- embeddings ---- */

/* A projection to a cluster, which the softmax stores as width x d_model, the transpose of the input's. */
static struct matrix tail_projection(struct loading *loading, size_t tail, size_t width)
{
    const struct adaptive_names *adaptive = loading->names->adaptive;
    size_t d_model = loading->model->config.d_model;
    const float *stored = named_tensor(loading, "", adaptive->tail_projection, tail, width, d_model);
    float *transposed = new_tensor(loading->model, d_model * width);
    for (size_t r = 0; r < d_model; r++)
        for (size_t c = 0; c < width; c++)
            transposed[r * width + c] = stored[c * d_model + r];
    return matrix_of(transposed, d_model, width);
}

/* What the adaptive softmax does not share with the input. */
static void read_adaptive_softmax(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    const struct adaptive_names *adaptive = loading->names->adaptive;
    size_t tails = config->clusters - 1, d_model = config->d_model;
    if (config->tied) {
        model->cluster_keys = named_matrix(loading, "", adaptive->cluster_keys, 0, tails, d_model);
    } else { /* the head's words, and below them the clusters */
        size_t words = model->cluster[0].size;
        const float *head = named_tensor(loading, "", adaptive->head, 0, words + tails, d_model);
        model->cluster[0].output = matrix_of(head, words, d_model);
        model->cluster_keys = matrix_of(head + words * d_model, tails, d_model);
    }
    for (size_t i = 1; i <= tails; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        if (!config->tied)
            cluster->output = named_matrix(loading, "", adaptive->tail_words, i - 1, cluster->size,
                                           cluster->width);
        if (!config->tied || !config->tied_projections)
            cluster->output_projection = tail_projection(loading, i - 1, cluster->width);
    }
}

static void read_clusters(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    const struct adaptive_names *adaptive = loading->names->adaptive;
    size_t first = 0, width = config->d_model;
    for (size_t i = 0; i < config->clusters; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        *cluster = (struct model_cluster){.first = first, .size = config->cutoffs[i] - first, .width = width};
        cluster->input = named_matrix(loading, "", adaptive->input_words, i, cluster->size, width);
        cluster->input_projection = named_matrix(loading, "", adaptive->input_projection, i, config->d_model,
                                                 width);
        cluster->output = cluster->input;
        if (i) /* the head's words are as wide as the model and have no projection */
            cluster->output_projection = cluster->input_projection;
        first = config->cutoffs[i];
        width /= config->factor;
    }
    read_adaptive_softmax(loading);
}

/*
 * Whether the file has output words that differ from the input's, though the config ties them. As
 * transformers does, those of the file count then.
 */
static bool has_other_output(const struct loading *loading)
{
    struct weights *weights = loading->model->weights;
    const char *output = loading->names->output;
    char *input = format_string("%s%s", loading->prefix, loading->names->embeddings);
    bool other = weights_has(weights, output) && !weights_equal(weights, input, output);
    if (other)
        message_warn(
            "%s: the config ties the output to the input's words (tie_word_embeddings), but tensor '%s'"
            " differs from '%s'; it is used, as transformers does",
            weights_file(weights, output), output, input);
    free(input);
    return other;
}

/* One matrix of words, as wide as the model, and perhaps another for the output. */
static void read_words(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    struct model_cluster *all = &model->cluster[0];
    *all = (struct model_cluster){.size = config->vocabulary, .width = config->d_model};
    all->input = named_matrix(loading, loading->prefix, loading->names->embeddings, 0, all->size, all->width);
    all->output = all->input;
    if (!config->tied || has_other_output(loading))
        all->output = named_matrix(loading, "", loading->names->output, 0, all->size, all->width);
}

/* ---- the whole ---- */

/* Ends the program when the embeddings are there under the name that another program's wrapper gave them. */
static void refuse_wrapped(struct weights *weights, const char *embeddings)
{
    static const struct {
        const char *prefix, *origin, *advice;
    } wrappers[] = {
        {"_orig_mod.", "torch.compile", "save the module that was compiled, model._orig_mod"},
        {"module.", "DataParallel", "save model.module"},
        {"base_model.model.", "PEFT", "save model.merge_and_unload()"},
    };
    const char *name = weights_find(weights, embeddings);
    for (size_t i = 0; name && i < sizeof wrappers / sizeof *wrappers; i++)
        if (!strncmp(name, wrappers[i].prefix, strlen(wrappers[i].prefix)))
            die("%s: the names of its tensors begin with '%s', which %s puts there (as '%s'); %s, or rename"
                " them", weights_file(weights, name), wrappers[i].prefix, wrappers[i].origin, name,
                wrappers[i].advice);
}

/* The prefix with which this file's names begin: some files leave the outer one out. */
static const char *find_prefix(struct weights *weights, const struct tensor_names *names)
{
    for (const char *const *prefix = names->prefixes; *prefix; prefix++) {
        char name[MAX_TENSOR_NAME];
        tensor_name(name, *prefix, names->embeddings, 0);
        if (weights_has(weights, name))
            return *prefix;
    }
    refuse_wrapped(weights, names->embeddings);
    return names->prefixes[0];
}

static void refuse_unused(const struct model *model, const struct tensor_names *names)
{
    const char *unused = weights_unused(model->weights, names->ignored);
    if (unused)
        die("%s: config.json of a %s model with %zu layers has no place for tensor '%s'",
            weights_file(model->weights, unused), model->config.family->model_type, model->config.layers,
            unused);
}

static void hash_file(struct hash *hash, const char *path)
{
    struct input *file = input_open(path);
    char buffer[4096];
    for (size_t got; (got = input_read(file, buffer, sizeof buffer)) > 0;)
        hash_add(hash, buffer, got);
    input_close(file);
}

/* The id names the arithmetic and the weights, whichever files have them. */
static void set_id(struct model *model)
{
    struct hash *hash = hash_new();
    if (!weights_gguf(model->weights)) {
        char *config_path = format_string("%s/config.json", model->config.path);
        hash_file(hash, config_path);
        free(config_path);
    }
    weights_hash(model->weights, hash);
    hash_finish(hash, model->id);
}

static struct model_config read_gguf_config(const char *path)
{
    struct gguf *file = gguf_open(path);
    struct model_config config = config_parse(path, gguf_config(file, path), path);
    gguf_close(file);
    return config;
}

/* Llama 3's scaling of positions, as GGUF files carry it: a divisor for each frequency. */
static void scale_frequencies(struct model *model)
{
    static const char name[] = "rope_freqs.weight";
    size_t count = model->config.rotary_width / 2;
    if (!weights_gguf(model->weights) || model->config.position != POSITION_ROTARY
        || !weights_has(model->weights, name))
        return;
    float *divisors = new_floats(count);
    weights_read(model->weights, name, count, 0, divisors);
    for (size_t k = 0; k < count; k++) {
        if (divisors[k] <= 0)
            die("%s: tensor '%s' has an element that is not above 0", model->config.path, name);
        model->config.rotary_frequency[k] /= (double)divisors[k];
    }
    free(divisors);
}

/* Ends the program for an adapter's folder, be a model in it too: transformers would load both together. */
static void refuse_adapter(const char *path)
{
    char *name = format_string("%s/adapter_config.json", path);
    if (input_exists(name))
        die("%s: the folder of an adapter (LoRA), not of a model; merge it into its model and save that, with"
            " PEFT: AutoPeftModelForCausalLM.from_pretrained(\"%s\").merge_and_unload()"
            ".save_pretrained(\"NEW\")", name, path);
    free(name);
}

struct model_config model_config_read(const char *path)
{
    if (is_gguf(path))
        return read_gguf_config(path);
    refuse_adapter(path);
    char *name = format_string("%s/config.json", path);
    if (!input_exists(name))
        die("%s: unable to open %s: %s; --model takes a model directory or a GGUF file", name, name,
            strerror(errno));
    json_t *json = json_read_object(name, "model's", "a model's settings: {\"model_type\": \"gpt2\"}");
    checksums_check_file(path, "config.json");
    struct model_config config = config_parse(path, json, name);
    free(name);
    return config;
}

/* Learned positions and the final norm. */
static void read_outside_of_layers(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    const struct tensor_names *names = loading->names;
    const char *prefix = loading->prefix;
    if (names->positions)
        model->positions = named_tensor(loading, prefix, names->positions, 0,
                                        config->position_offset + config->context, config->d_model);
    if (config->final_norm)
        model->final_norm_gain = named_tensor(loading, prefix, names->final_norm_gain, 0, config->d_model, 0);
    if (config->final_norm && names->final_norm_bias)
        model->final_norm_bias = named_tensor(loading, prefix, names->final_norm_bias, 0, config->d_model, 0);
}

struct model *model_load(const char *path)
{
    struct model *model = new_array(1, sizeof *model);
    model->config = model_config_read(path);
    model->weights = weights_open(path);
    set_id(model);

    const struct model_config *config = &model->config;
    const struct family *family = config->family;
    const struct tensor_names *names = weights_gguf(model->weights) ? family->gguf.tensors : family->tensors;
    struct loading loading = {.model = model, .names = names};
    loading.prefix = find_prefix(model->weights, names);
    model->cluster = new_array(config->clusters, sizeof *model->cluster);
    if (config->clusters > 1)
        read_clusters(&loading);
    else
        read_words(&loading);
    scale_frequencies(model);
    read_outside_of_layers(&loading);
    model->layer = new_array(config->layers, sizeof *model->layer);
    for (size_t i = 0; i < config->layers; i++)
        for (const struct tensor_row *row = names->layers; row->name; row++)
            read_layer_tensor(&loading, row, i);
    refuse_unused(model, names);
    return model;
}

void model_free(struct model *model)
{
    for (size_t i = 0; i < model->owned_count; i++)
        free(model->owned[i]);
    free(model->owned);
    free(model->cluster);
    free(model->layer);
    weights_close(model->weights);
    config_free(&model->config);
    free(model);
}
