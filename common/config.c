#include "config.h"

#include "messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Bounds that no model reaches; they keep products of sizes far from overflow. */
enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, MOST_VOCABULARY = 1 << 26, MOST_CLUSTERS = 16 };

/* A config while it is read; name is its source's, for messages. */
struct source {
    const char *name;
    json_t *json;
};

/* A setting for which only one value's arithmetic is known. */
struct fixed_setting {
    const char *key, *value; /* value: as JSON text */
    bool required;           /* else it may be missing, as files of another age leave it out */
};

/*
 * A family of models: how it calls its sizes, and what all of it has in common.
 * The names of its tensors are in model.c.
 */
struct family {
    const char *model_type;
    const char *layers, *d_model, *d_ff, *heads, *norm_epsilon, *activation;
    enum norm_kind norm;
    enum position_kind position;
    bool gated, final_norm;
    size_t position_offset;
    size_t d_ff_ratio;                 /* where d_ff may be missing or null: of d_model */
    const char *context;               /* length of the table of learned positions */
    const struct fixed_setting *fixed; /* a NULL key ends them */
    void (*read_more)(const struct source *source, struct model_config *config);
};

/* ---- single settings ---- */

static const json_t *get(const struct source *source, const char *key)
{
    const json_t *value = json_object_get(source->json, key);
    return json_is_null(value) ? NULL : value;
}

static size_t whole_number(const struct source *source, const char *key, size_t least, size_t most)
{
    const json_t *number = get(source, key);
    if (!json_is_integer(number) || json_integer_value(number) < (json_int_t)least
        || json_integer_value(number) > (json_int_t)most)
        die("%s: '%s' must be a whole number from %zu to %zu", source->name, key, least, most);
    return (size_t)json_integer_value(number);
}

static size_t whole_number_or(const struct source *source, const char *key, size_t least, size_t most,
                              size_t otherwise)
{
    return get(source, key) ? whole_number(source, key, least, most) : otherwise;
}

static double real_of(const struct source *source, const json_t *value, const char *key)
{
    double number = json_number_value(value);
    if (!(number > 0 && number < 1e9))
        die("%s: '%s' must be a positive number", source->name, key);
    return number;
}

static double real_or(const struct source *source, const char *key, double otherwise)
{
    return get(source, key) ? real_of(source, get(source, key), key) : otherwise;
}

static bool flag(const struct source *source, const char *key)
{
    const json_t *value = get(source, key);
    if (!json_is_boolean(value))
        die("%s: '%s' must be true or false", source->name, key);
    return json_is_true(value);
}

static bool flag_or(const struct source *source, const char *key, bool otherwise)
{
    return get(source, key) ? flag(source, key) : otherwise;
}

static _Noreturn void refuse(const struct source *source, const char *key, const json_t *value,
                             const char *known)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    die("%s: '%s' is %s; this program knows only %s", source->name, key, text ? text : "missing", known);
}

static void must_be(const struct source *source, const struct fixed_setting *setting)
{
    const json_t *value = get(source, setting->key);
    json_t *known = json_loads(setting->value, JSON_DECODE_ANY, NULL);
    if (value ? !json_equal(value, known) : setting->required)
        refuse(source, setting->key, value, setting->value);
    json_decref(known);
}

static enum activation activation_called(const struct source *source, const char *key, const char **name)
{
    static const struct {
        const char *name;
        enum activation activation;
    } known[] = {
        {"relu", ACTIVATION_RELU},          {"gelu", ACTIVATION_GELU},
        {"gelu_new", ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH}, {"gelu_accurate", ACTIVATION_GELU_TANH},
        {"silu", ACTIVATION_SILU},          {"swish", ACTIVATION_SILU},
    };
    const char *text = json_string_value(get(source, key));
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, text)) {
            *name = known[i].name;
            return known[i].activation;
        }
    refuse(source, key, get(source, key), "relu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, silu, swish");
}

static uint32_t token_or_none(const struct source *source, const char *key, size_t vocabulary)
{
    return get(source, key) ? (uint32_t)whole_number(source, key, 0, vocabulary - 1) : NO_TOKEN;
}

/* ---- rotary positions ---- */

/* rope_parameters, or rope_scaling of before; NULL where neither is. */
static const json_t *rotary_settings(const struct source *source)
{
    const json_t *settings = get(source, "rope_parameters");
    if (!settings)
        settings = get(source, "rope_scaling");
    if (settings && !json_is_object(settings))
        refuse(source, "rope_scaling", settings, "an object");
    return settings;
}

static double rotary_real(const struct source *source, const json_t *settings, const char *key)
{
    return real_of(source, json_object_get(settings, key), key);
}

/*
 * Llama 3's scaling: long waves are slowed by factor, short ones kept, those
 * between are mixed. (Meta's reference code; waves are measured in positions.)
 */
static double llama3_frequency(const struct source *source, const json_t *settings, double frequency)
{
    const double turn = 6.283185307179586;
    double factor = rotary_real(source, settings, "factor");
    double low = rotary_real(source, settings, "low_freq_factor");
    double high = rotary_real(source, settings, "high_freq_factor");
    double length = rotary_real(source, settings, "original_max_position_embeddings");
    double wave = turn / frequency;
    if (wave < length / high)
        return frequency;
    if (wave > length / low)
        return frequency / factor;
    double share = (length / wave - low) / (high - low);
    return (1 - share) * frequency / factor + share * frequency;
}

static void read_rotary(const struct source *source, struct model_config *config, double base, double part)
{
    const json_t *settings = rotary_settings(source);
    const json_t *type = json_object_get(settings, "rope_type");
    if (!type)
        type = json_object_get(settings, "type");
    const char *kind = type ? json_string_value(type) : "default";
    if (!kind || (strcmp(kind, "default") && strcmp(kind, "linear") && strcmp(kind, "llama3")))
        refuse(source, "rope_type", type, "default, linear, llama3");
    if (json_object_get(settings, "rope_theta"))
        base = rotary_real(source, settings, "rope_theta");
    if (json_object_get(settings, "partial_rotary_factor"))
        part = rotary_real(source, settings, "partial_rotary_factor");
    config->rotary_width = (size_t)((double)config->head_width * part);
    if (config->rotary_width < 2 || config->rotary_width % 2 || config->rotary_width > config->head_width)
        die("%s: %zu of a head's %zu dimensions would be turned; an even number of them can be", source->name,
            config->rotary_width, config->head_width);
    config->rotary_frequency = new_array(config->rotary_width / 2, sizeof *config->rotary_frequency);
    for (size_t k = 0; k < config->rotary_width / 2; k++) {
        double frequency = pow(base, -2.0 * (double)k / (double)config->rotary_width);
        if (!strcmp(kind, "linear"))
            frequency /= rotary_real(source, settings, "factor");
        else if (!strcmp(kind, "llama3"))
            frequency = llama3_frequency(source, settings, frequency);
        config->rotary_frequency[k] = frequency;
    }
}

/* ---- families ---- */

static void read_cutoffs(const struct source *source, struct model_config *config)
{
    const json_t *cutoffs = get(source, "adaptive_input_cutoffs");
    size_t count = json_array_size(cutoffs);
    if (!json_is_array(cutoffs) || count < 1 || count >= MOST_CLUSTERS)
        die("%s: 'adaptive_input_cutoffs' must be a list of 1 to %d numbers", source->name, MOST_CLUSTERS - 1);
    if (!json_equal(cutoffs, get(source, "adaptive_softmax_cutoffs")))
        die("%s: 'adaptive_softmax_cutoffs' must be those of the input, 'adaptive_input_cutoffs'", source->name);
    free(config->cutoffs);
    config->clusters = count + 1;
    config->cutoffs = new_array(config->clusters, sizeof *config->cutoffs);
    for (size_t i = 0; i < config->clusters; i++) {
        json_int_t cutoff = i < count ? json_integer_value(json_array_get(cutoffs, i))
                                      : (json_int_t)config->vocabulary;
        if (cutoff <= (i ? (json_int_t)config->cutoffs[i - 1] : 0)
            || cutoff > (json_int_t)config->vocabulary)
            die("%s: 'adaptive_input_cutoffs' must rise from 1 to less than vocab_size %zu", source->name,
                config->vocabulary);
        config->cutoffs[i] = (size_t)cutoff;
    }
    config->factor = whole_number(source, "adaptive_input_factor", 1, MOST_WIDTH);
    if (whole_number(source, "adaptive_softmax_factor", 1, MOST_WIDTH) != config->factor)
        die("%s: 'adaptive_softmax_factor' must be that of the input, 'adaptive_input_factor'", source->name);
    size_t width = config->d_model;
    for (size_t i = 0; i < count; i++)
        width /= config->factor;
    if (width == 0)
        die("%s: 'adaptive_input_factor' leaves the last of %zu clusters without dimensions", source->name,
            config->clusters);
}

static void read_fairseq(const struct source *source, struct model_config *config)
{
    config->final_norm = flag(source, "final_norm");
    config->position_offset = whole_number(source, "position_offset", 0, MOST_WIDTH);
    config->embed_scale = (float)real_of(source, get(source, "embed_scale"), "embed_scale");
    if (config->bos == NO_TOKEN || token_or_none(source, "unk_token_id", config->vocabulary) == NO_TOKEN)
        die("%s: 'bos_token_id' and 'unk_token_id' must be there", source->name);
    if (!get(source, "adaptive_input_cutoffs") && !get(source, "adaptive_softmax_cutoffs"))
        return; /* one matrix of embeddings, one softmax */
    config->tied = flag(source, "tie_adaptive_weights");
    config->tied_projections = flag(source, "tie_adaptive_proj");
    read_cutoffs(source, config);
}

static void read_opt(const struct source *source, struct model_config *config)
{
    if (whole_number_or(source, "word_embed_proj_dim", 1, MOST_WIDTH, config->d_model) != config->d_model)
        die("%s: 'word_embed_proj_dim' differs from 'hidden_size'; a projection between them is not known",
            source->name);
}

static void read_neox(const struct source *source, struct model_config *config)
{
    config->parallel = flag_or(source, "use_parallel_residual", true);
    read_rotary(source, config, real_or(source, "rotary_emb_base", 10000), real_or(source, "rotary_pct", 0.25));
}

/* Attention over a window is full attention for sentences that fit in it; longer ones are refused. */
static void read_window(const struct source *source, struct model_config *config)
{
    if (get(source, "sliding_window") && flag_or(source, "use_sliding_window", true))
        config->context = whole_number(source, "sliding_window", 1, INT32_MAX);
}

static void read_llama(const struct source *source, struct model_config *config)
{
    config->key_value_heads = whole_number_or(source, "num_key_value_heads", 1, MOST_WIDTH, config->heads);
    config->head_width = whole_number_or(source, "head_dim", 1, MOST_WIDTH, config->head_width);
    if (whole_number_or(source, "value_length", 1, MOST_WIDTH, config->head_width) != config->head_width)
        die("%s: 'value_length' differs from the width of keys, %zu", source->name, config->head_width);
    if (config->heads % config->key_value_heads)
        die("%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu", source->name,
            config->heads, config->key_value_heads);
    read_window(source, config);
    /* GGUF files may state how many dimensions are turned */
    size_t turned = whole_number_or(source, "rope_dimension_count", 1, config->head_width, config->head_width);
    read_rotary(source, config, real_or(source, "rope_theta", 10000), (double)turned / (double)config->head_width);
}

static const struct fixed_setting fairseq_fixed[] = {
    {"normalize_before", "true", true}, {"position_embedding", "\"sinusoidal\"", true}, {NULL, NULL, false}};
static const struct fixed_setting gpt2_fixed[] = {
    {"scale_attn_weights", "true", false}, {"scale_attn_by_inverse_layer_idx", "false", false},
    {"add_cross_attention", "false", false}, {NULL, NULL, false}};
static const struct fixed_setting opt_fixed[] = {
    {"do_layer_norm_before", "true", false}, {"_remove_final_layer_norm", "false", false},
    {"enable_bias", "true", false}, {"layer_norm_elementwise_affine", "true", false}, {NULL, NULL, false}};
static const struct fixed_setting none_fixed[] = {{NULL, NULL, false}};

#define LLAMA_FAMILY(name) \
    {name, "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps", \
     "hidden_act", NORM_RMS, POSITION_ROTARY, true, true, 0, 0, NULL, none_fixed, read_llama}

static const struct family families[] = {
    {"fairseq_transformer_lm", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
     "layer_norm_eps", "activation_function", NORM_LAYER, POSITION_SINUSOIDAL, false, true, 0, 0, NULL,
     fairseq_fixed, read_fairseq},
    {"gpt2", "n_layer", "n_embd", "n_inner", "n_head", "layer_norm_epsilon", "activation_function", NORM_LAYER,
     POSITION_LEARNED, false, true, 0, 4, "n_positions", gpt2_fixed, NULL},
    {"opt", "num_hidden_layers", "hidden_size", "ffn_dim", "num_attention_heads", NULL, "activation_function",
     NORM_LAYER, POSITION_LEARNED, false, true, 2, 0, "max_position_embeddings", opt_fixed, read_opt},
    {"gpt_neox", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
     "layer_norm_eps", "hidden_act", NORM_LAYER, POSITION_ROTARY, false, true, 0, 0, NULL, none_fixed, read_neox},
    LLAMA_FAMILY("llama"),
    LLAMA_FAMILY("mistral"),
    LLAMA_FAMILY("qwen2"),
    LLAMA_FAMILY("qwen3"),
};
enum { FAMILIES = sizeof families / sizeof *families };

static const struct family *find_family(const struct source *source)
{
    const char *model_type = json_string_value(get(source, "model_type"));
    char known[256] = "";
    for (size_t i = 0; i < FAMILIES; i++) {
        if (model_type && !strcmp(families[i].model_type, model_type))
            return &families[i];
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, families[i].model_type, sizeof known - strlen(known) - 1);
    }
    die("%s: model_type '%s' is not known; these are: %s", source->name, model_type ? model_type : "(none)", known);
}

static bool ties_embeddings(const struct source *source, const struct family *family)
{
    /* transformers' default, which old files leave out, is true; that of its Llama classes and NeoX false */
    bool otherwise = family->position != POSITION_ROTARY;
    return flag_or(source, "tie_word_embeddings", otherwise);
}

bool model_is_gguf(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

struct model_config config_parse(const char *path, json_t *json, const char *name)
{
    const struct source source = {name, json};
    const struct family *family = find_family(&source);
    for (const struct fixed_setting *setting = family->fixed; setting->key; setting++)
        must_be(&source, setting);

    struct model_config config = {
        .path = copy_string(path),
        .architecture = family->model_type,
        .layers = whole_number(&source, family->layers, 1, MOST_LAYERS),
        .d_model = whole_number(&source, family->d_model, 1, MOST_WIDTH),
        .heads = whole_number(&source, family->heads, 1, MOST_WIDTH),
        .vocabulary = whole_number(&source, "vocab_size", 2, MOST_VOCABULARY),
        .norm = family->norm,
        .norm_epsilon = 1e-5f,
        .final_norm = family->final_norm,
        .gated = family->gated,
        .position = family->position,
        .position_offset = family->position_offset,
        .embed_scale = 1,
        .clusters = 1,
        .factor = 1,
    };
    config.d_ff = family->d_ff_ratio
        ? whole_number_or(&source, family->d_ff, 1, MOST_WIDTH, family->d_ff_ratio * config.d_model)
        : whole_number(&source, family->d_ff, 1, MOST_WIDTH);
    if (family->norm_epsilon)
        config.norm_epsilon = (float)real_of(&source, get(&source, family->norm_epsilon), family->norm_epsilon);
    if (family->context)
        config.context = whole_number(&source, family->context, 1, INT32_MAX);
    config.activation = activation_called(&source, family->activation, &config.activation_name);
    config.bos = token_or_none(&source, "bos_token_id", config.vocabulary);
    config.unknown = token_or_none(&source, "unk_token_id", config.vocabulary);
    config.tied = ties_embeddings(&source, family);
    config.cutoffs = new_array(1, sizeof *config.cutoffs);
    config.cutoffs[0] = config.vocabulary;
    config.key_value_heads = config.heads;
    config.head_width = config.d_model / config.heads;
    if (config.d_model % config.heads && !get(&source, "head_dim"))
        die("%s: %s %zu is not a multiple of %s %zu", name, family->d_model, config.d_model, family->heads,
            config.heads);
    if (family->read_more)
        family->read_more(&source, &config);
    json_decref(json);
    return config;
}

void config_free(struct model_config *config)
{
    free(config->path);
    free(config->rotary_frequency);
    free(config->cutoffs);
    *config = (struct model_config){0};
}
