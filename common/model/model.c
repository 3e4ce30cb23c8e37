#include "model/model.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/checksums.h"
#include "model/families.h"
#include "model/gguf_config.h"
#include "model/loading.h"
#include "model/weights.h"
#include "numeric/activation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A tensor outside of the layers; index fills a %zu in its name. */
static const float *named_tensor(struct loading *loading, const char *prefix, const char *format,
                                 size_t index, size_t rows, size_t columns)
{
    char name[MAX_TENSOR_NAME];
    tensor_name(name, prefix, format, index, 0);
    return plain_tensor(loading, name, (struct tensor_shape){.rows = rows, .columns = columns});
}

static struct matrix named_matrix(struct loading *loading, const char *prefix, const char *format,
                                  size_t index, size_t rows, size_t columns)
{
    char name[MAX_TENSOR_NAME];
    tensor_name(name, prefix, format, index, 0);
    return plain_matrix(loading, name, rows, columns);
}

static struct matrix named_words(struct loading *loading, const char *prefix, const char *format,
                                 size_t index, size_t rows, size_t columns, enum words words)
{
    char name[MAX_TENSOR_NAME];
    tensor_name(name, prefix, format, index, 0);
    return word_matrix(loading, name, rows, columns, words);
}

/* ---- embeddings ---- */

/* A projection to words, which the file stores as width x d_model, the transpose of the input's. */
static struct matrix transposed_projection(struct loading *loading, const char *prefix, const char *format,
                                           size_t index, size_t width)
{
    size_t d_model = loading->model->config.d_model;
    struct mark mark = mark_tensors(loading);
    const float *stored = named_tensor(loading, prefix, format, index, width, d_model);
    loading->bytes.copied += d_model * width * sizeof *stored;
    if (!stored)
        return (struct matrix){0};
    float *transposed = new_tensor(loading, d_model * width);
    for (size_t r = 0; r < d_model; r++)
        for (size_t c = 0; c < width; c++)
            transposed[r * width + c] = stored[c * d_model + r];
    struct matrix matrix = new_matrix(loading, transposed, d_model, width);
    drop_tensors(loading, mark);
    return matrix;
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
        struct mark mark = mark_tensors(loading);
        const float *head = named_tensor(loading, "", adaptive->head, 0, words + tails, d_model);
        model->cluster[0].output = new_matrix(loading, head, words, d_model);
        model->cluster_keys = new_matrix(loading, head ? head + words * d_model : NULL, tails, d_model);
        drop_tensors(loading, mark);
    }
    for (size_t i = 1; i <= tails; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        if (!config->tied)
            cluster->output = named_words(loading, "", adaptive->tail_words, i - 1, cluster->size,
                                          cluster->width, WORDS_OUT);
        if (!config->tied || !config->tied_projections)
            cluster->output_projection = transposed_projection(loading, "", adaptive->tail_projection, i - 1,
                                                               cluster->width);
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
        cluster->input = named_words(loading, "", adaptive->input_words, i, cluster->size, width,
                                     config->tied ? WORDS_IN_AND_OUT : WORDS_IN);
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
    const struct tensor_names *names = loading->names;
    struct model_cluster *all = &model->cluster[0];
    size_t width = config->word_width;
    *all = (struct model_cluster){.size = config->vocabulary, .width = width};
    all->input = named_words(loading, loading->prefix, names->embeddings, 0, all->size, width,
                             config->tied ? WORDS_IN_AND_OUT : WORDS_IN);
    all->output = all->input;
    if (!config->tied || has_other_output(loading))
        all->output = named_words(loading, "", names->output, 0, all->size, width, WORDS_OUT);
    if (width != config->d_model) {
        all->input_projection = named_matrix(loading, loading->prefix, names->words_in, 0, config->d_model,
                                             width);
        all->output_projection = transposed_projection(loading, loading->prefix, names->words_out, 0, width);
    }
    if (names->output_bias)
        model->output_bias = named_tensor(loading, "", names->output_bias, 0, config->vocabulary, 0);
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
        tensor_name(name, *prefix, names->embeddings, 0, 0);
        if (weights_has(weights, name))
            return *prefix;
    }
    refuse_wrapped(weights, names->embeddings);
    return names->prefixes[0];
}

static void refuse_unused(const struct model *model, const struct tensor_names *names)
{
    const char *unused = weights_unused(model->weights, names->ignored, names->other_parts);
    const char *described = weights_gguf(model->weights) ? "what the metadata say" : "config.json";
    if (unused)
        die("%s: %s of a %s model with %zu layers has no place for tensor '%s'",
            weights_file(model->weights, unused), described, model->config.family->model_type,
            model->config.layers, unused);
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

/*
 * Llama 3's scaling of positions, as GGUF files carry it: a divisor for each frequency. LongRoPE's came with
 * the config.
 */
static void scale_frequencies(struct model *model)
{
    static const char name[] = "rope_freqs.weight";
    if (!weights_gguf(model->weights) || model->config.position != POSITION_ROTARY)
        return;
    weights_has(model->weights, GGUF_SHORT_FACTORS);
    weights_has(model->weights, GGUF_LONG_FACTORS);
    if (!weights_has(model->weights, name))
        return;
    size_t count = model->config.rotary[0].width / 2;
    float *divisors = new_floats(count);
    weights_read(model->weights, name, (struct tensor_shape){.rows = count}, divisors);
    for (size_t k = 0; k < count; k++) {
        if (divisors[k] <= 0)
            die("%s: tensor '%s' has an element that is not above 0", model->config.path, name);
        model->config.rotary[0].frequency[k] /= (double)divisors[k];
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

/* A vector of d_model numbers outside of the layers; NULL where the family has no name for it. */
static const float *named_vector(struct loading *loading, const char *name)
{
    return name ? named_tensor(loading, loading->prefix, name, 0, loading->model->config.d_model, 0) : NULL;
}

/* The gains of norms that have none. */
static const float *new_ones(struct loading *loading)
{
    size_t d_model = loading->model->config.d_model;
    float *ones = new_tensor(loading, d_model);
    for (size_t i = 0; i < d_model; i++)
        ones[i] = 1;
    return ones;
}

static const float *with_offset(struct loading *loading, const float *gain)
{
    size_t d_model = loading->model->config.d_model;
    if (!gain || !(loading->names->gain_offset > 0))
        return gain;
    float *sum = new_tensor(loading, d_model);
    for (size_t i = 0; i < d_model; i++)
        sum[i] = gain[i] + loading->names->gain_offset;
    return sum;
}

/* Learned positions, and the norms of the words and of the model's output. */
static void read_outside_of_layers(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    const struct tensor_names *names = loading->names;
    if (names->positions)
        model->positions = named_tensor(loading, loading->prefix, names->positions, 0,
                                        config->position_offset + config->context, config->d_model);
    model->embedding_norm_gain = named_vector(loading, names->embedding_norm_gain);
    model->embedding_norm_bias = named_vector(loading, names->embedding_norm_bias);
    if (!config->final_norm)
        return;
    model->final_norm_gain = with_offset(loading, named_vector(loading, names->final_norm_gain));
    model->final_norm_bias = named_vector(loading, names->final_norm_bias);
}

static void open_layers(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    model->layer = new_array(config->layers, sizeof *model->layer);
    model->layers = layers_open(loading);
    if (!config->family->plain_norms)
        return;
    const float *ones = new_ones(loading);
    for (size_t i = 0; i < config->layers; i++)
        model->layer[i].attention_norm_gain = model->layer[i].ffn_norm_gain = ones;
    model->final_norm_gain = ones;
}

/* Copies what the down projection has of a cell. */
static void copy_value(const struct model_config *config, const struct model_layer *layer, size_t cell,
                       float *value)
{
    size_t expert = layer->experts ? cell / config->expert_width : 0;
    if (!layer->experts)
        matrix_column(&layer->values, cell, value);
    else if (expert < config->experts)
        matrix_column(&layer->experts[expert].values, cell % config->expert_width, value);
    else
        matrix_column(&layer->shared.values, cell - config->experts * config->expert_width, value);
}

void model_value(const struct model *model, size_t layer, size_t cell, float *value)
{
    const float *gain = model->layer[layer].ffn_out_norm_gain;
    model_layer_ready(model, layer, LAYER_VALUES);
    copy_value(&model->config, &model->layer[layer], cell, value);
    model_layer_release(model, layer);
    if (gain)
        multiply_floats(value, gain, model->config.d_model);
}

static struct model *model_open(const char *path, bool described)
{
    struct model *model = new_array(1, sizeof *model);
    model->config = model_config_read(path);
    model->weights = weights_open(path);
    if (!described)
        set_id(model);
    matrix_settle(weights_have_bfloats(model->weights));

    const struct model_config *config = &model->config;
    const struct family *family = config->family;
    const struct tensor_names *names = weights_gguf(model->weights) ? family->gguf.tensors : family->tensors;
    struct loading loading = {.model = model, .names = names, .described = described, .to = &model->owned};
    loading.prefix = find_prefix(model->weights, names);
    model->cluster = new_array(config->clusters, sizeof *model->cluster);
    if (config->clusters > 1)
        read_clusters(&loading);
    else
        read_words(&loading);
    scale_frequencies(model);
    read_outside_of_layers(&loading);
    model->outer = loading.bytes;
    model->output = loading.output;
    open_layers(&loading);
    refuse_unused(model, names);
    return model;
}

struct model *model_load(const char *path)
{
    return model_open(path, false);
}

struct model *model_describe(const char *path)
{
    return model_open(path, true);
}

void model_free(struct model *model)
{
    layers_close(model->layers);
    tensors_free(&model->owned);
    free(model->cluster);
    free(model->layer);
    weights_close(model->weights);
    config_free(&model->config);
    free(model);
}
