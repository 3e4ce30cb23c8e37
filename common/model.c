#include "model.h"

#include "hash.h"
#include "input.h"
#include "messages.h"
#include "safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds that no model reaches; they keep products of sizes far from overflow. */
enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, MOST_VOCABULARY = 1 << 26, MOST_CLUSTERS = 16 };

/* A tensor's name in the file, %zu being the layer, and where it goes. */
struct tensor_row {
    const char *name;
    size_t offset;        /* of the pointer in struct model_layer */
    enum size_name { NO_SIZE, D_MODEL, D_FF, THREE_D_MODEL } rows, columns;
    size_t part;          /* first row, in units of d_model: q, k and v share a matrix */
};

/* What a model type is called and made of: a further one is a further row. */
struct architecture {
    const char *model_type;
    const struct tensor_row *tensors; /* of each layer; a NULL name ends them */
    const char *embeddings;           /* names of cluster %zu's words */
    const char *projections;
    const char *cluster_keys;
};

#define FIELD(name) offsetof(struct model_layer, name)

static const struct tensor_row fairseq_tensors[] = {
    {"decoder.layers.%zu.self_attn_layer_norm.weight", FIELD(attention_norm_gain), D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.self_attn_layer_norm.bias", FIELD(attention_norm_bias), D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.self_attn.q_proj.weight", FIELD(query_key_value), THREE_D_MODEL, D_MODEL, 0},
    {"decoder.layers.%zu.self_attn.k_proj.weight", FIELD(query_key_value), THREE_D_MODEL, D_MODEL, 1},
    {"decoder.layers.%zu.self_attn.v_proj.weight", FIELD(query_key_value), THREE_D_MODEL, D_MODEL, 2},
    {"decoder.layers.%zu.self_attn.q_proj.bias", FIELD(query_key_value_bias), THREE_D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.self_attn.k_proj.bias", FIELD(query_key_value_bias), THREE_D_MODEL, NO_SIZE, 1},
    {"decoder.layers.%zu.self_attn.v_proj.bias", FIELD(query_key_value_bias), THREE_D_MODEL, NO_SIZE, 2},
    {"decoder.layers.%zu.self_attn.out_proj.weight", FIELD(attention_output), D_MODEL, D_MODEL, 0},
    {"decoder.layers.%zu.self_attn.out_proj.bias", FIELD(attention_output_bias), D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.final_layer_norm.weight", FIELD(ffn_norm_gain), D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.final_layer_norm.bias", FIELD(ffn_norm_bias), D_MODEL, NO_SIZE, 0},
    {"decoder.layers.%zu.fc1.weight", FIELD(keys), D_FF, D_MODEL, 0},
    {"decoder.layers.%zu.fc1.bias", FIELD(keys_bias), D_FF, NO_SIZE, 0},
    {"decoder.layers.%zu.fc2.weight", FIELD(values), D_MODEL, D_FF, 0},
    {"decoder.layers.%zu.fc2.bias", FIELD(values_bias), D_MODEL, NO_SIZE, 0},
    {NULL, 0, NO_SIZE, NO_SIZE, 0},
};

static const struct architecture architectures[] = {
    {"fairseq_transformer_lm", fairseq_tensors, "decoder.embed_tokens.embeddings.%zu.0.weight",
     "decoder.embed_tokens.embeddings.%zu.1.weight", "decoder.adaptive_softmax.head.class_proj.weight"},
};

static const struct architecture *find_architecture(const char *model_type)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (!strcmp(architectures[i].model_type, model_type))
            return &architectures[i];
    return NULL;
}

/* ---- config.json ---- */

/* config.json while it is read; path is for messages. */
struct config_file {
    char *path;
    json_t *json;
};

static size_t config_number(const struct config_file *file, const char *name, size_t least, size_t most)
{
    const json_t *number = json_object_get(file->json, name);
    if (!json_is_integer(number) || json_integer_value(number) < (json_int_t)least
        || json_integer_value(number) > (json_int_t)most)
        die("%s: '%s' must be a whole number from %zu to %zu", file->path, name, least, most);
    return (size_t)json_integer_value(number);
}

static float config_real(const struct config_file *file, const char *name)
{
    double number = json_number_value(json_object_get(file->json, name));
    if (!(number > 0 && number < 1e9))
        die("%s: '%s' must be a positive number", file->path, name);
    return (float)number;
}

static void config_must_be(const struct config_file *file, const char *name, const char *value)
{
    json_t *found = json_object_get(file->json, name);
    char *text = found ? json_dumps(found, JSON_ENCODE_ANY) : copy_string("missing");
    if (!text)
        die("out of memory");
    if (strcmp(text, value))
        die("%s: '%s' is %s; this program knows only %s", file->path, name, text, value);
    free(text);
}

static void read_cutoffs(const struct config_file *file, struct model_config *config)
{
    const json_t *cutoffs = json_object_get(file->json, "adaptive_input_cutoffs");
    size_t count = json_array_size(cutoffs);
    if (!json_is_array(cutoffs) || count < 1 || count >= MOST_CLUSTERS)
        die("%s: 'adaptive_input_cutoffs' must be a list of 1 to %d numbers", file->path, MOST_CLUSTERS - 1);
    if (!json_equal(cutoffs, json_object_get(file->json, "adaptive_softmax_cutoffs")))
        die("%s: 'adaptive_softmax_cutoffs' differ from 'adaptive_input_cutoffs', but the weights are tied",
            file->path);
    config->clusters = count + 1;
    config->cutoffs = new_array(config->clusters, sizeof *config->cutoffs);
    for (size_t i = 0; i < config->clusters; i++) {
        json_int_t cutoff = i < count ? json_integer_value(json_array_get(cutoffs, i))
                                      : (json_int_t)config->vocabulary;
        if (cutoff <= (i ? (json_int_t)config->cutoffs[i - 1] : 0)
            || cutoff > (json_int_t)config->vocabulary)
            die("%s: 'adaptive_input_cutoffs' must rise from 1 to less than vocab_size %zu", file->path,
                config->vocabulary);
        config->cutoffs[i] = (size_t)cutoff;
    }
    config->factor = config_number(file, "adaptive_input_factor", 1, MOST_WIDTH);
    if (config_number(file, "adaptive_softmax_factor", 1, MOST_WIDTH) != config->factor)
        die("%s: 'adaptive_softmax_factor' differs from 'adaptive_input_factor', but the weights are tied",
            file->path);
    size_t width = config->d_model;
    for (size_t i = 0; i < count; i++)
        width /= config->factor;
    if (width == 0)
        die("%s: 'adaptive_input_factor' leaves the last of %zu clusters without dimensions", file->path,
            config->clusters);
}

struct model_config model_config_read(const char *directory)
{
    struct config_file file = {format_string("%s/config.json", directory), NULL};
    json_error_t error;
    file.json = json_load_file(file.path, JSON_REJECT_DUPLICATES, &error);
    if (!file.json && error.line < 0)
        die("%s: %s; --model takes a model directory", file.path, error.text);
    if (!json_is_object(file.json))
        die("%s: line %d: not a JSON object: %s", file.path, error.line, file.json ? "another value" : error.text);

    const char *model_type = json_string_value(json_object_get(file.json, "model_type"));
    const struct architecture *architecture = find_architecture(model_type ? model_type : "");
    if (!architecture)
        die("%s: model_type '%s' is not known; '%s' is", file.path, model_type ? model_type : "(none)",
            architectures[0].model_type);
    config_must_be(&file, "activation_function", "\"relu\"");
    config_must_be(&file, "normalize_before", "true");
    config_must_be(&file, "final_norm", "false");
    config_must_be(&file, "position_embedding", "\"sinusoidal\"");
    config_must_be(&file, "tie_adaptive_weights", "true");
    config_must_be(&file, "tie_adaptive_proj", "true");

    struct model_config config = {
        .directory = copy_string(directory),
        .architecture = architecture->model_type,
        .activation = "relu",
        .layers = config_number(&file, "num_hidden_layers", 1, MOST_LAYERS),
        .d_model = config_number(&file, "hidden_size", 1, MOST_WIDTH),
        .d_ff = config_number(&file, "intermediate_size", 1, MOST_WIDTH),
        .heads = config_number(&file, "num_attention_heads", 1, MOST_WIDTH),
        .vocabulary = config_number(&file, "vocab_size", 2, MOST_VOCABULARY),
        .position_offset = config_number(&file, "position_offset", 0, MOST_WIDTH),
        .embed_scale = config_real(&file, "embed_scale"),
        .norm_epsilon = config_real(&file, "layer_norm_eps"),
    };
    config.bos = (uint32_t)config_number(&file, "bos_token_id", 0, config.vocabulary - 1);
    config.unknown = (uint32_t)config_number(&file, "unk_token_id", 0, config.vocabulary - 1);
    if (config.d_model % config.heads)
        die("%s: hidden_size %zu is not a multiple of num_attention_heads %zu", file.path, config.d_model,
            config.heads);
    read_cutoffs(&file, &config);
    json_decref(file.json);
    free(file.path);
    return config;
}

void model_config_free(struct model_config *config)
{
    free(config->directory);
    free(config->cutoffs);
}

/* ---- tensors ---- */

static size_t rows_of(const struct model_config *config, enum size_name size)
{
    return size == D_MODEL ? config->d_model : size == D_FF ? config->d_ff
         : size == THREE_D_MODEL ? 3 * config->d_model : 0;
}

static float *read_tensor(const struct safetensors *file, const char *name, size_t rows, size_t columns)
{
    float *values = new_floats(rows * columns);
    safetensors_read(file, name, rows, columns, values);
    return values;
}

static void read_layer(const struct safetensors *file, const struct architecture *architecture,
                       const struct model_config *config, size_t index, struct model_layer *layer)
{
    for (const struct tensor_row *row = architecture->tensors; row->name; row++) {
        float **tensor = (float **)(void *)((char *)layer + row->offset);
        size_t columns = rows_of(config, row->columns);
        size_t rows = rows_of(config, row->rows);
        size_t width = columns ? columns : 1;
        if (!*tensor)
            *tensor = new_floats(rows * width);
        if (row->rows == THREE_D_MODEL)
            rows = config->d_model; /* the file has the three parts apart */
        char name[128];
        snprintf(name, sizeof name, row->name, index);
        safetensors_read(file, name, rows, columns, *tensor + row->part * rows * width);
    }
}

/* A config with too few layers would give results, but of another model. */
static void refuse_further_layers(const struct safetensors *file, const char *path,
                                  const struct architecture *architecture, const struct model_config *config)
{
    for (const struct tensor_row *row = architecture->tensors; row->name; row++) {
        char name[128];
        snprintf(name, sizeof name, row->name, config->layers);
        if (safetensors_has(file, name))
            die("%s: there is a tensor '%s', but config.json has num_hidden_layers %zu, counted from 0", path, name,
                config->layers);
    }
}

static void read_clusters(const struct safetensors *file, const struct architecture *architecture,
                          struct model *model)
{
    const struct model_config *config = &model->config;
    size_t first = 0, width = config->d_model;
    model->cluster = new_array(config->clusters, sizeof *model->cluster);
    for (size_t i = 0; i < config->clusters; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        char name[128];
        cluster->first = first;
        cluster->size = config->cutoffs[i] - first;
        cluster->width = width;
        snprintf(name, sizeof name, architecture->embeddings, i);
        cluster->words = read_tensor(file, name, cluster->size, width);
        snprintf(name, sizeof name, architecture->projections, i);
        cluster->projection = read_tensor(file, name, config->d_model, width);
        first = config->cutoffs[i];
        width /= config->factor;
    }
    model->cluster_keys = read_tensor(file, architecture->cluster_keys, config->clusters - 1, config->d_model);
}

/* The id names the arithmetic and the weights, whatever the directory is called. */
static void set_id(struct model *model, const struct safetensors *file, const char *config_path)
{
    struct hash *hash = hash_new();
    struct input *config = input_open(config_path);
    char buffer[4096];
    for (size_t got; (got = input_read(config, buffer, sizeof buffer)) > 0;)
        hash_add(hash, buffer, got);
    input_close(config);
    size_t size;
    const void *bytes = safetensors_bytes(file, &size);
    hash_add(hash, bytes, size);
    hash_finish(hash, model->id);
}

struct model *model_load(const char *directory)
{
    struct model *model = new_array(1, sizeof *model);
    model->config = model_config_read(directory);
    const struct architecture *architecture = find_architecture(model->config.architecture);
    char *config_path = format_string("%s/config.json", directory);
    char *tensors_path = format_string("%s/model.safetensors", directory);
    struct safetensors *file = safetensors_open(tensors_path);
    set_id(model, file, config_path);
    read_clusters(file, architecture, model);
    model->layer = new_array(model->config.layers, sizeof *model->layer);
    for (size_t i = 0; i < model->config.layers; i++)
        read_layer(file, architecture, &model->config, i, &model->layer[i]);
    refuse_further_layers(file, tensors_path, architecture, &model->config);
    safetensors_close(file);
    free(tensors_path);
    free(config_path);
    return model;
}

void model_free(struct model *model)
{
    const struct architecture *architecture = find_architecture(model->config.architecture);
    for (size_t i = 0; i < model->config.layers; i++)
        for (const struct tensor_row *row = architecture->tensors; row->name; row++)
            if (row->part == 0)
                free(*(float **)(void *)((char *)&model->layer[i] + row->offset));
    for (size_t i = 0; i < model->config.clusters; i++) {
        free(model->cluster[i].words);
        free(model->cluster[i].projection);
    }
    free(model->cluster);
    free(model->cluster_keys);
    free(model->layer);
    model_config_free(&model->config);
    free(model);
}
