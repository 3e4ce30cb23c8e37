#include "model/model.h"

#include "base/input.h"
#include "base/messages.h"
#include "model/checksums.h"
#include "model/gguf_config.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum size_name { ONE, D_MODEL, D_FF, QUERY, KEY_VALUE, HEAD };

/* How a file lays out a matrix of ours, rows x columns, part being 0, 1 or 2. */
enum layout {
    PLAIN,
    TRANSPOSED,         /* columns x rows */
    STACKED,            /* part of three, one below the other */
    STACKED_TRANSPOSED, /* the same, transposed */
    INTERLEAVED,        /* part of three, of each head in turn */
    PAIRED,             /* each head's dimensions that are turned together stand side by side */
};

/* Whether files have a tensor: SOMETIMES as it happens, the others as the config says. */
enum presence { ALWAYS, SOMETIMES, QKV_BIAS, OUTPUT_BIAS, FFN_BIAS, HEAD_NORMS };

/* A tensor's name in the file, %zu being the layer, and where it goes. */
struct tensor_row {
    const char *name;
    size_t offset; /* in struct model_layer: of a struct matrix, or of a pointer where columns is ONE */
    enum size_name rows, columns;
    enum layout layout;
    size_t part;
    enum presence presence;
};

/* What a family calls its tensors. A further family is a further row. */
struct tensor_names {
    const char *model_type;
    const char *const *prefixes;      /* one of which all names begin with; NULL-terminated */
    const struct tensor_row *layers;  /* a NULL name ends them */
    const char *embeddings;           /* input words */
    const char *output;               /* untied output words, without a prefix */
    const char *positions;            /* NULL: none */
    const char *final_norm_gain, *final_norm_bias;
    const char *const *ignored;       /* endings of tensors that change nothing; NULL-terminated */
};

#define FIELD(name) offsetof(struct model_layer, name)
#define NORM(name, field, when) \
    {name ".weight", FIELD(field##_gain), D_MODEL, ONE, PLAIN, 0, ALWAYS}, \
    {name ".bias", FIELD(field##_bias), D_MODEL, ONE, PLAIN, 0, when}
#define LINEAR(name, field, rows, columns, layout, part, when) \
    {name ".weight", FIELD(field), rows, columns, layout, part, ALWAYS}, \
    {name ".bias", FIELD(field##_bias), rows, ONE, layout, part, when}
#define NO_MORE {NULL, 0, ONE, ONE, PLAIN, 0, ALWAYS}

static const struct tensor_row fairseq_layers[] = {
    NORM("layers.%zu.self_attn_layer_norm", attention_norm, ALWAYS),
    LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("layers.%zu.self_attn.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
    NORM("layers.%zu.final_layer_norm", ffn_norm, ALWAYS),
    LINEAR("layers.%zu.fc1", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("layers.%zu.fc2", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS),
    NO_MORE,
};

static const struct tensor_row gpt2_layers[] = {
    NORM("h.%zu.ln_1", attention_norm, ALWAYS),
    LINEAR("h.%zu.attn.c_attn", query, QUERY, D_MODEL, STACKED_TRANSPOSED, 0, ALWAYS),
    LINEAR("h.%zu.attn.c_attn", key, KEY_VALUE, D_MODEL, STACKED_TRANSPOSED, 1, ALWAYS),
    LINEAR("h.%zu.attn.c_attn", value, KEY_VALUE, D_MODEL, STACKED_TRANSPOSED, 2, ALWAYS),
    LINEAR("h.%zu.attn.c_proj", attention_output, D_MODEL, QUERY, TRANSPOSED, 0, ALWAYS),
    NORM("h.%zu.ln_2", ffn_norm, ALWAYS),
    LINEAR("h.%zu.mlp.c_fc", keys, D_FF, D_MODEL, TRANSPOSED, 0, ALWAYS),
    LINEAR("h.%zu.mlp.c_proj", values, D_MODEL, D_FF, TRANSPOSED, 0, ALWAYS),
    NO_MORE,
};

static const struct tensor_row neox_layers[] = {
    NORM("layers.%zu.input_layernorm", attention_norm, ALWAYS),
    LINEAR("layers.%zu.attention.query_key_value", query, QUERY, D_MODEL, INTERLEAVED, 0, QKV_BIAS),
    LINEAR("layers.%zu.attention.query_key_value", key, KEY_VALUE, D_MODEL, INTERLEAVED, 1, QKV_BIAS),
    LINEAR("layers.%zu.attention.query_key_value", value, KEY_VALUE, D_MODEL, INTERLEAVED, 2, QKV_BIAS),
    LINEAR("layers.%zu.attention.dense", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
    NORM("layers.%zu.post_attention_layernorm", ffn_norm, ALWAYS),
    LINEAR("layers.%zu.mlp.dense_h_to_4h", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("layers.%zu.mlp.dense_4h_to_h", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS),
    NO_MORE,
};

static const struct tensor_row llama_layers[] = {
    {"layers.%zu.input_layernorm.weight", FIELD(attention_norm_gain), D_MODEL, ONE, PLAIN, 0, ALWAYS},
    LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, QKV_BIAS),
    LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
    LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
    {"layers.%zu.self_attn.q_norm.weight", FIELD(query_norm_gain), HEAD, ONE, PLAIN, 0, HEAD_NORMS},
    {"layers.%zu.self_attn.k_norm.weight", FIELD(key_norm_gain), HEAD, ONE, PLAIN, 0, HEAD_NORMS},
    LINEAR("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
    {"layers.%zu.post_attention_layernorm.weight", FIELD(ffn_norm_gain), D_MODEL, ONE, PLAIN, 0, ALWAYS},
    LINEAR("layers.%zu.mlp.gate_proj", gates, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
    LINEAR("layers.%zu.mlp.up_proj", keys, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
    LINEAR("layers.%zu.mlp.down_proj", values, D_MODEL, D_FF, PLAIN, 0, FFN_BIAS),
    NO_MORE,
};

/* GGUF files: names of their own; llama's queries and keys are rearranged for another way of turning. */
#define GGUF_ROTARY_LAYERS(layout) \
    {"blk.%zu.attn_norm.weight", FIELD(attention_norm_gain), D_MODEL, ONE, PLAIN, 0, ALWAYS}, \
    LINEAR("blk.%zu.attn_q", query, QUERY, D_MODEL, layout, 0, SOMETIMES), \
    LINEAR("blk.%zu.attn_k", key, KEY_VALUE, D_MODEL, layout, 0, SOMETIMES), \
    LINEAR("blk.%zu.attn_v", value, KEY_VALUE, D_MODEL, PLAIN, 0, SOMETIMES), \
    {"blk.%zu.attn_q_norm.weight", FIELD(query_norm_gain), HEAD, ONE, PLAIN, 0, SOMETIMES}, \
    {"blk.%zu.attn_k_norm.weight", FIELD(key_norm_gain), HEAD, ONE, PLAIN, 0, SOMETIMES}, \
    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, SOMETIMES), \
    {"blk.%zu.ffn_norm.weight", FIELD(ffn_norm_gain), D_MODEL, ONE, PLAIN, 0, ALWAYS}, \
    LINEAR("blk.%zu.ffn_gate", gates, D_FF, D_MODEL, PLAIN, 0, SOMETIMES), \
    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, SOMETIMES), \
    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, SOMETIMES), \
    NO_MORE

static const struct tensor_row gguf_llama_layers[] = {GGUF_ROTARY_LAYERS(PAIRED)};
static const struct tensor_row gguf_qwen_layers[] = {GGUF_ROTARY_LAYERS(PLAIN)};

static const struct tensor_row gguf_gpt2_layers[] = {
    NORM("blk.%zu.attn_norm", attention_norm, ALWAYS),
    LINEAR("blk.%zu.attn_qkv", query, QUERY, D_MODEL, STACKED, 0, ALWAYS),
    LINEAR("blk.%zu.attn_qkv", key, KEY_VALUE, D_MODEL, STACKED, 1, ALWAYS),
    LINEAR("blk.%zu.attn_qkv", value, KEY_VALUE, D_MODEL, STACKED, 2, ALWAYS),
    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
    NORM("blk.%zu.ffn_norm", ffn_norm, ALWAYS),
    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS),
    NO_MORE,
};

static const char *const no_prefixes[] = {"", NULL};
static const char *const fairseq_prefixes[] = {"decoder.", NULL};
static const char *const gpt2_prefixes[] = {"transformer.", "", NULL};
static const char *const opt_prefixes[] = {"model.decoder.", "decoder.", NULL};
static const char *const neox_prefixes[] = {"gpt_neox.", "", NULL};
static const char *const llama_prefixes[] = {"model.", "", NULL};

/* Masks and frequencies that older files carry; an output embedding that is tied may be there again. */
static const char *const fairseq_ignored[] = {".version", "._float_tensor", NULL};
static const char *const gpt2_ignored[] = {".attn.bias", ".attn.masked_bias", NULL};
static const char *const neox_ignored[] = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq", NULL};
static const char *const llama_ignored[] = {".rotary_emb.inv_freq", NULL};
static const char *const none_ignored[] = {NULL};

/* The adaptive input and softmax, as fairseq calls their parts; %zu is a cluster, of tails from 0. */
static const char INPUT_WORDS[] = "decoder.embed_tokens.embeddings.%zu.0.weight";
static const char INPUT_PROJECTION[] = "decoder.embed_tokens.embeddings.%zu.1.weight";
static const char CLUSTER_KEYS[] = "decoder.adaptive_softmax.head.class_proj.weight";
static const char SOFTMAX_HEAD[] = "decoder.adaptive_softmax.head.weight";
static const char TAIL_PROJECTION[] = "decoder.adaptive_softmax.tail.%zu.0.weight";
static const char TAIL_WORDS[] = "decoder.adaptive_softmax.tail.%zu.2.weight";

#define LLAMA_NAMES(model_type) \
    {model_type, llama_prefixes, llama_layers, "embed_tokens.weight", "lm_head.weight", NULL, "norm.weight", \
     NULL, llama_ignored}

static const struct tensor_names all_names[] = {
    {"fairseq_transformer_lm", fairseq_prefixes, fairseq_layers, "embed_tokens.weight",
     "decoder.output_projection.weight", NULL, "layer_norm.weight", "layer_norm.bias", fairseq_ignored},
    {"gpt2", gpt2_prefixes, gpt2_layers, "wte.weight", "lm_head.weight", "wpe.weight", "ln_f.weight",
     "ln_f.bias", gpt2_ignored},
    {"opt", opt_prefixes, fairseq_layers, "embed_tokens.weight", "lm_head.weight",
     "embed_positions.weight", "final_layer_norm.weight", "final_layer_norm.bias", none_ignored},
    {"gpt_neox", neox_prefixes, neox_layers, "embed_in.weight", "embed_out.weight", NULL,
     "final_layer_norm.weight", "final_layer_norm.bias", neox_ignored},
    LLAMA_NAMES("llama"),
    LLAMA_NAMES("mistral"),
    LLAMA_NAMES("qwen2"),
    LLAMA_NAMES("qwen3"),
};

#define GGUF_NAMES(model_type, layers, positions, final_norm_bias) \
    {model_type, no_prefixes, layers, "token_embd.weight", "output.weight", positions, \
     "output_norm.weight", final_norm_bias, none_ignored}

static const struct tensor_names gguf_names[] = {
    GGUF_NAMES("llama", gguf_llama_layers, NULL, NULL),
    GGUF_NAMES("qwen2", gguf_qwen_layers, NULL, NULL),
    GGUF_NAMES("qwen3", gguf_qwen_layers, NULL, NULL),
    GGUF_NAMES("gpt2", gguf_gpt2_layers, "position_embd.weight", "output_norm.bias"),
};

/* The row of a family, or the program ends: a family of config.c without one is a fault of this program. */
static const struct tensor_names *find_names(const char *model_type, bool gguf)
{
    const struct tensor_names *names = gguf ? gguf_names : all_names;
    size_t count = gguf ? sizeof gguf_names / sizeof *gguf_names : sizeof all_names / sizeof *all_names;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(names[i].model_type, model_type))
            return &names[i];
    die("the tensors of a %s model%s have no names in this program: please report it", model_type,
        gguf ? " in a GGUF file" : "");
}

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
    case ONE:
        return 1;
    case D_MODEL:
        return config->d_model;
    case D_FF:
        return config->d_ff;
    case QUERY:
        return config->heads * config->head_width;
    case KEY_VALUE:
        return config->key_value_heads * config->head_width;
    case HEAD:
        return config->head_width;
    }
    return 0;
}

/* Whether the file must have a tensor, and else may not. */
static bool is_expected(const struct loading *loading, const struct tensor_row *tensor, const char *name)
{
    const struct model_config *config = &loading->model->config;
    switch (tensor->presence) {
    case ALWAYS:
        return true;
    case SOMETIMES:
        return weights_has(loading->model->weights, name);
    case QKV_BIAS:
        return config->query_key_value_bias;
    case OUTPUT_BIAS:
        return config->output_bias;
    case FFN_BIAS:
        return config->ffn_bias;
    case HEAD_NORMS:
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

/* Where element (row, column) of our matrix, rows x columns, stands in the file's. */
static size_t place_in_file(const struct tensor_row *tensor, const struct model_config *config, size_t rows,
                            size_t columns, size_t row, size_t column)
{
    size_t width = config->head_width;
    switch (tensor->layout) {
    case PLAIN:
        break;
    case TRANSPOSED:
        return column * rows + row;
    case STACKED:
        return (tensor->part * rows + row) * columns + column;
    case STACKED_TRANSPOSED:
        return column * 3 * rows + tensor->part * rows + row;
    case PAIRED:
        return (row / width * width + row % width % (width / 2) * 2 + row % width / (width / 2)) * columns + column;
    case INTERLEAVED:
        return ((row / width * 3 + tensor->part) * width + row % width) * columns + column;
    }
    return row * columns + column;
}

static const float *arranged_tensor(struct model *model, const struct tensor_row *tensor, const char *name)
{
    const struct model_config *config = &model->config;
    size_t rows = size_called(config, tensor->rows), columns = size_called(config, tensor->columns);
    bool vector = tensor->columns == ONE;
    bool one_of_three = tensor->layout == STACKED || tensor->layout == STACKED_TRANSPOSED
                     || tensor->layout == INTERLEAVED;
    size_t file_rows = one_of_three ? 3 * rows : rows;
    bool transposed = tensor->layout == TRANSPOSED || tensor->layout == STACKED_TRANSPOSED;
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
            to[r * columns + c] = from[place_in_file(tensor, config, rows, columns, r, c)];
    free(from);
    return to;
}

static void read_layer_tensor(struct loading *loading, const struct tensor_row *tensor, size_t index)
{
    struct model *model = loading->model;
    void *field = (char *)&model->layer[index] + tensor->offset;
    bool vector = tensor->columns == ONE;
    size_t rows = size_called(&model->config, tensor->rows), columns = size_called(&model->config, tensor->columns);
    char format[128], name[128];
    snprintf(format, sizeof format, "%s%s", loading->prefix, tensor->name);
    snprintf(name, sizeof name, format, index);
    if (!is_expected(loading, tensor, name))
        return;
    bool plain = tensor->layout == PLAIN || (tensor->layout == TRANSPOSED && vector);
    const float *values = plain ? plain_tensor(model, name, rows, vector ? 0 : columns)
                                : arranged_tensor(model, tensor, name);
    if (vector)
        *(const float **)field = values;
    else
        *(struct matrix *)field = matrix_of(values, rows, columns);
}

/* A tensor outside of the layers; index fills a %zu in its name. */
static const float *named_tensor(struct loading *loading, const char *prefix, const char *format, size_t index,
                                 size_t rows, size_t columns)
{
    char whole[128], name[128];
    snprintf(whole, sizeof whole, "%s%s", prefix, format);
    snprintf(name, sizeof name, whole, index);
    return plain_tensor(loading->model, name, rows, columns);
}

static struct matrix named_matrix(struct loading *loading, const char *prefix, const char *format, size_t index,
                                  size_t rows, size_t columns)
{
    return matrix_of(named_tensor(loading, prefix, format, index, rows, columns), rows, columns);
}

/* ---- embeddings ---- */

/* A projection to a cluster, which the softmax stores as width x d_model: the other way round than the input's. */
static struct matrix tail_projection(struct loading *loading, size_t tail, size_t width)
{
    size_t d_model = loading->model->config.d_model;
    const float *stored = named_tensor(loading, "", TAIL_PROJECTION, tail, width, d_model);
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
    size_t tails = config->clusters - 1, d_model = config->d_model;
    if (config->tied) {
        model->cluster_keys = named_matrix(loading, "", CLUSTER_KEYS, 0, tails, d_model);
    } else { /* the head's words, and below them the clusters */
        size_t words = model->cluster[0].size;
        const float *head = named_tensor(loading, "", SOFTMAX_HEAD, 0, words + tails, d_model);
        model->cluster[0].output = matrix_of(head, words, d_model);
        model->cluster_keys = matrix_of(head + words * d_model, tails, d_model);
    }
    for (size_t i = 1; i <= tails; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        if (!config->tied)
            cluster->output = named_matrix(loading, "", TAIL_WORDS, i - 1, cluster->size, cluster->width);
        if (!config->tied || !config->tied_projections)
            cluster->output_projection = tail_projection(loading, i - 1, cluster->width);
    }
}

static void read_clusters(struct loading *loading)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    size_t first = 0, width = config->d_model;
    for (size_t i = 0; i < config->clusters; i++) {
        struct model_cluster *cluster = &model->cluster[i];
        *cluster = (struct model_cluster){.first = first, .size = config->cutoffs[i] - first, .width = width};
        cluster->input = named_matrix(loading, "", INPUT_WORDS, i, cluster->size, width);
        cluster->input_projection = named_matrix(loading, "", INPUT_PROJECTION, i, config->d_model, width);
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
        warn("%s: the config ties the output to the input's words (tie_word_embeddings), but tensor '%s'"
             " differs from '%s'; it is used, as transformers does", weights_file(weights, output), output, input);
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
        char format[128], name[128];
        snprintf(format, sizeof format, "%s%s", *prefix, names->embeddings);
        snprintf(name, sizeof name, format, (size_t)0);
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
            weights_file(model->weights, unused), model->config.architecture, model->config.layers, unused);
}

static void hash_file(struct hash *hash, const char *path)
{
    struct input *file = input_open(path);
    char buffer[4096];
    for (size_t got; (got = input_read(file, buffer, sizeof buffer)) > 0;)
        hash_add(hash, buffer, got);
    input_close(file);
}

/* The id names the arithmetic and the weights, wherever they lie. */
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
            " PEFT: AutoPeftModelForCausalLM.from_pretrained(\"%s\").merge_and_unload().save_pretrained(\"NEW\")",
            name, path);
    free(name);
}

struct model_config model_config_read(const char *path)
{
    if (is_gguf(path))
        return read_gguf_config(path);
    refuse_adapter(path);
    char *name = format_string("%s/config.json", path);
    json_error_t error;
    json_t *json = json_load_file(name, JSON_REJECT_DUPLICATES, &error);
    if (!json && error.line < 0)
        die("%s: %s; --model takes a model directory or a GGUF file", name, error.text);
    if (!json_is_object(json))
        die("%s: line %d: not a JSON object: %s", name, error.line, json ? "another value" : error.text);
    checksums_check_file(path, "config.json");
    struct model_config config = config_parse(path, json, name);
    free(name);
    return config;
}

struct model *model_load(const char *path)
{
    struct model *model = new_array(1, sizeof *model);
    model->config = model_config_read(path);
    model->weights = weights_open(path);
    set_id(model);

    const struct model_config *config = &model->config;
    struct loading loading = {.model = model, .names = find_names(config->architecture, weights_gguf(model->weights))};
    const struct tensor_names *names = loading.names;
    loading.prefix = find_prefix(model->weights, names);
    model->cluster = new_array(config->clusters, sizeof *model->cluster);
    if (config->clusters > 1)
        read_clusters(&loading);
    else
        read_words(&loading);
    scale_frequencies(model);
    if (names->positions)
        model->positions = named_tensor(&loading, loading.prefix, names->positions, 0,
                                        config->position_offset + config->context, config->d_model);
    if (config->final_norm) {
        model->final_norm_gain = named_tensor(&loading, loading.prefix, names->final_norm_gain, 0, config->d_model, 0);
        if (names->final_norm_bias)
            model->final_norm_bias = named_tensor(&loading, loading.prefix, names->final_norm_bias, 0, config->d_model, 0);
    }
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
