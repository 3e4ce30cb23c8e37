#include "model/config.h"

#include "base/messages.h"
#include "model/families.h"
#include "model/settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum activation activation_called(const struct settings *settings, const char *key, const char **name)
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
    const char *text = json_string_value(setting(settings, key));
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, text)) {
            *name = known[i].name;
            return known[i].activation;
        }
    setting_refuse(settings, key,
                   "relu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, silu, swish");
}

static uint32_t token_or_none(const struct settings *settings, const char *key, size_t vocabulary)
{
    return setting(settings, key) ? (uint32_t)setting_size(settings, key, 0, vocabulary - 1) : NO_TOKEN;
}

/* ---- rotary positions ---- */

/* The object of the rotary positions called key, or one in which nothing is stated. */
static struct settings rotary_object(const struct settings *settings, const char *key, const char *part)
{
    json_t *object = setting(settings, key);
    if (object && !json_is_object(object))
        setting_refuse(settings, key, "an object");
    return settings_open(settings->name, part, object);
}

/*
 * A number that may be stated several times, and then must agree: the value of
 * key, or so_far where it is missing. so_far 0: nothing has stated it yet.
 */
static double agreed_real(const struct settings *settings, const char *key, double so_far)
{
    double value = setting_real_or(settings, key, so_far);
    if (so_far > 0 && (value < so_far || value > so_far))
        die("%s: '%s%s' is %g, where %g is stated or follows from the others", settings->name, settings->part,
            key, value, so_far);
    return value;
}

/* Default, linear or llama3. */
static const char *rotary_kind(const struct settings *rotary)
{
    const json_t *type = setting(rotary, "rope_type"), *old = setting(rotary, "type");
    if (type && old && !json_equal(type, old))
        setting_refuse(rotary, "type", "what rope_type says");
    const char *kind = type || old ? json_string_value(type ? type : old) : "default";
    if (!kind || (strcmp(kind, "default") && strcmp(kind, "linear") && strcmp(kind, "llama3")))
        setting_refuse(rotary, type ? "rope_type" : "type", "default, linear, llama3");
    return kind;
}

/*
 * Llama 3's scaling: long waves are slowed by factor, short ones kept, those
 * between are mixed. (Meta's reference code; waves are measured in positions.)
 */
static double llama3_frequency(const struct settings *rotary, double length, double frequency)
{
    const double turn = 6.283185307179586;
    double factor = setting_real(rotary, "factor");
    double low = setting_real(rotary, "low_freq_factor");
    double high = setting_real(rotary, "high_freq_factor");
    double wave = turn / frequency;
    if (wave < length / high)
        return frequency;
    if (wave > length / low)
        return frequency / factor;
    double share = (length / wave - low) / (high - low);
    return (1 - share) * frequency / factor + share * frequency;
}

static void set_frequencies(const struct settings *settings, const struct settings *rotary,
                            struct model_config *config, double base)
{
    const char *kind = rotary_kind(rotary);
    bool linear = !strcmp(kind, "linear"), llama3 = !strcmp(kind, "llama3");
    double length = !llama3 ? 0
                  : setting(rotary, "original_max_position_embeddings")
                      ? setting_real(rotary, "original_max_position_embeddings")
                      : setting_real(settings, "max_position_embeddings");
    config->rotary_frequency = new_array(config->rotary_width / 2, sizeof *config->rotary_frequency);
    for (size_t k = 0; k < config->rotary_width / 2; k++) {
        double frequency = pow(base, -2.0 * (double)k / (double)config->rotary_width);
        config->rotary_frequency[k] = linear ? frequency / setting_real(rotary, "factor")
                                    : llama3 ? llama3_frequency(rotary, length, frequency) : frequency;
    }
}

/* Checks rope_parameters where rope_scaling counts: it may say its type, and what is true in any case. */
static void check_replaced(const struct settings *replaced, const struct settings *rotary, double base,
                           double part)
{
    static const char *const *const none_ignored[] = {NULL};
    const char *key;
    json_t *value;
    agreed_real(replaced, "rope_theta", base);
    agreed_real(replaced, "partial_rotary_factor", part);
    json_object_foreach(replaced->json, key, value) {
        const char *text = json_string_value(value);
        bool type = !strcmp(key, "rope_type") || !strcmp(key, "type");
        if (json_equal(value, json_object_get(rotary->json, key))
            || (type && text && !strcmp(text, "default")))
            setting(replaced, key);
    }
    settings_refuse_unread(replaced, none_ignored);
}

/*
 * Reads the frequencies. base and part, of a head's dimensions that are rotated, are what is stated
 * outside of rope_parameters, or 0; otherwise_part, where nothing states it. As transformers 5 has it,
 * rope_scaling, of before, counts instead of rope_parameters where both are there.
 */
static void read_rotary(const struct settings *settings, struct model_config *config, double base,
                        double part, double otherwise_part)
{
    static const char *const *const none_ignored[] = {NULL};
    struct settings scaling = rotary_object(settings, "rope_scaling", "rope_scaling.");
    struct settings parameters = rotary_object(settings, "rope_parameters", "rope_parameters.");
    bool replaced = json_object_size(scaling.json) > 0;
    const struct settings *rotary = replaced ? &scaling : &parameters;
    base = agreed_real(rotary, "rope_theta", base);
    part = agreed_real(rotary, "partial_rotary_factor", part);
    base = base > 0 ? base : 10000;
    part = part > 0 ? part : otherwise_part;
    config->rotary_width = (size_t)((double)config->head_width * part);
    if (config->rotary_width < 2 || config->rotary_width % 2 || config->rotary_width > config->head_width)
        die("%s: %zu of a head's %zu dimensions would be rotated; an even number of them can be",
            settings->name, config->rotary_width, config->head_width);
    set_frequencies(settings, rotary, config, base);
    settings_refuse_unread(rotary, none_ignored);
    if (replaced)
        check_replaced(&parameters, rotary, base, part);
    settings_close(&scaling);
    settings_close(&parameters);
}

/* ---- the adaptive input and softmax ---- */

static void read_cutoffs(const struct settings *settings, struct model_config *config)
{
    const json_t *cutoffs = setting(settings, "adaptive_input_cutoffs");
    size_t count = json_array_size(cutoffs);
    if (!json_is_array(cutoffs) || count < 1 || count >= MAX_CLUSTERS)
        die("%s: 'adaptive_input_cutoffs' must be a list of 1 to %d numbers", settings->name,
            MAX_CLUSTERS - 1);
    if (!json_equal(cutoffs, setting(settings, "adaptive_softmax_cutoffs")))
        die("%s: 'adaptive_softmax_cutoffs' must be those of the input, 'adaptive_input_cutoffs'",
            settings->name);
    free(config->cutoffs);
    config->clusters = count + 1;
    config->cutoffs = new_array(config->clusters, sizeof *config->cutoffs);
    for (size_t i = 0; i < config->clusters; i++) {
        json_int_t cutoff = i < count ? json_integer_value(json_array_get(cutoffs, i))
                                      : (json_int_t)config->vocabulary;
        if (cutoff <= (i ? (json_int_t)config->cutoffs[i - 1] : 0)
            || cutoff > (json_int_t)config->vocabulary)
            die("%s: 'adaptive_input_cutoffs' must rise from 1 to less than vocab_size %zu", settings->name,
                config->vocabulary);
        config->cutoffs[i] = (size_t)cutoff;
    }
    config->factor = setting_size(settings, "adaptive_input_factor", 1, MAX_WIDTH);
    if (setting_size(settings, "adaptive_softmax_factor", 1, MAX_WIDTH) != config->factor)
        die("%s: 'adaptive_softmax_factor' must be that of the input, 'adaptive_input_factor'",
            settings->name);
    size_t width = config->d_model;
    for (size_t i = 0; i < count; i++)
        width /= config->factor;
    if (width == 0)
        die("%s: 'adaptive_input_factor' leaves the last of %zu clusters without dimensions", settings->name,
            config->clusters);
}

static void read_adaptive(const struct settings *settings, struct model_config *config)
{
    if (!setting(settings, "adaptive_input_cutoffs") && !setting(settings, "adaptive_softmax_cutoffs"))
        return; /* one matrix of embeddings, one softmax */
    config->tied = setting_flag(settings, "tie_adaptive_weights");
    config->tied_projections = setting_flag(settings, "tie_adaptive_proj");
    read_cutoffs(settings, config);
}

/* ---- attention ---- */

/* Attention over a window is full attention for sentences that fit in it; longer ones are refused. */
static void read_window(const struct settings *settings, struct model_config *config)
{
    if (setting(settings, "sliding_window"))
        config->context = setting_size(settings, "sliding_window", 1, INT32_MAX);
}

/* Whether any layer of a Qwen model attends over the window: beyond max_window_layers, or by layer_types. */
static bool has_window_layer(const struct settings *settings, const struct model_config *config)
{
    const json_t *types = setting(settings, "layer_types"), *type;
    size_t full_layers = setting_size(settings, "max_window_layers", 0, INT32_MAX), index;
    if (!types)
        return full_layers < config->layers;
    if (json_array_size(types) != config->layers)
        die("%s: 'layer_types' must be a list of %zu layers' types", settings->name, config->layers);
    bool found = false;
    json_array_foreach(types, index, type) {
        const char *name = json_string_value(type);
        found = found || (name && !strcmp(name, "sliding_attention"));
        if (!name || (strcmp(name, "sliding_attention") && strcmp(name, "full_attention")))
            setting_refuse(settings, "layer_types", "full_attention, sliding_attention");
    }
    return found;
}

static void read_window_of_some(const struct settings *settings, struct model_config *config)
{
    bool used = setting_flag(settings, "use_sliding_window"), layer = has_window_layer(settings, config);
    if (setting(settings, "sliding_window") && used && layer)
        read_window(settings, config);
    else if (layer && setting(settings, "layer_types"))
        die("%s: 'layer_types' has sliding_attention, but 'use_sliding_window' and 'sliding_window' have no"
            " window", settings->name);
}

/* Key-value heads fewer than heads, and heads of a width of their own. */
static void read_grouped_heads(const struct settings *settings, const struct setting_names *names,
                               struct model_config *config)
{
    config->key_value_heads = setting_size_or(settings, names->key_value_heads, 1, MAX_WIDTH, config->heads);
    if (names->head_width)
        config->head_width = setting_size_or(settings, names->head_width, 1, MAX_WIDTH, config->head_width);
    size_t width = config->head_width;
    if (setting_size_or(settings, "attention.value_length", 1, MAX_WIDTH, width) != width)
        die("%s: 'attention.value_length' differs from the width of keys, %zu", settings->name, width);
    if (config->heads % config->key_value_heads)
        die("%s: %s %zu is not a multiple of %s %zu", settings->name, names->heads, config->heads,
            names->key_value_heads, config->key_value_heads);
}

/* What is stated outside of rope_parameters, in files of some ages twice; then the frequencies. */
static void read_positions(const struct settings *settings, const struct family *family,
                           struct model_config *config)
{
    const struct setting_names *names = &family->names;
    double base = names->rotary_base ? setting_real_or(settings, names->rotary_base, 0) : 0, part = 0;
    if (names->rotary_part)
        part = setting_real_or(settings, names->rotary_part, 0);
    if (!(family->rotary_part > 0)) { /* GGUF files may state how many dimensions are rotated */
        size_t width = config->head_width;
        part = (double)setting_size_or(settings, "rope.dimension_count", 1, width, width) / (double)width;
    }
    base = agreed_real(settings, "rope_theta", base);
    part = agreed_real(settings, "partial_rotary_factor", part);
    read_rotary(settings, config, base, part, family->rotary_part);
}

static bool flag_or_none(const struct settings *settings, const char *key)
{
    return key && setting_flag(settings, key);
}

static void read_attention(const struct settings *settings, const struct family *family,
                           struct model_config *config)
{
    const struct setting_names *names = &family->names;
    config->parallel = flag_or_none(settings, names->parallel);
    config->query_key_value_bias = family->query_key_value_bias
                                || flag_or_none(settings, names->query_key_value_bias);
    config->output_bias = flag_or_none(settings, names->output_bias);
    config->ffn_bias = flag_or_none(settings, names->ffn_bias);
    config->head_norms = family->head_norms;
    if (family->window == WINDOW_ALL_LAYERS)
        read_window(settings, config);
    if (family->window == WINDOW_SOME_LAYERS)
        read_window_of_some(settings, config);
    if (names->key_value_heads)
        read_grouped_heads(settings, names, config);
    if (family->position == POSITION_ROTARY)
        read_positions(settings, family, config);
}

/* ---- settings that change nothing, of whatever family ---- */

/* Where the model came from, how it is stored, what program is to read it. */
static const char *const origin_ignored[] = {
    "_name_or_path", "architectures", "auto_map", "dtype", "is_llama_config", "tokenizer_class",
    "torch_dtype", "transformers.js_config", "transformers_version", "unsloth_fixed", "unsloth_version",
    NULL};

/* Training: what is dropped at random, and the numbers that it began with. */
static const char *const training_ignored[] = {
    "activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop",
    "classifier_dropout", "dropout", "embd_pdrop", "gradient_checkpointing", "hidden_dropout",
    "hidden_dropout_prob", "init_std", "initializer_range", "layerdrop", "resid_pdrop", NULL};

/* The same numbers by another way, or more of them given back. */
static const char *const means_ignored[] = {
    "_attn_implementation", "_attn_implementation_autoset", "chunk_size_feed_forward", "is_decoder",
    "output_attentions", "output_hidden_states", "output_past", "pretraining_tp", "reorder_and_upcast_attn",
    "return_dict", "use_cache", NULL};

/* Tasks other than the next token's distribution. */
static const char *const tasks_ignored[] = {
    "_num_labels", "finetuning_task", "id2label", "label2id", "num_labels", "prefix", "problem_type",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "task_specific_params", NULL};

/* How text is generated from the distributions, and tokens that only this and training use. */
static const char *const generation_ignored[] = {
    "begin_suppress_tokens", "bad_words_ids", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "pad_token_id", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id",
    "suppress_tokens", "temperature", "top_k", "top_p", "typical_p", NULL};

/* ---- the whole ---- */

static const struct family *find_family(const struct settings *settings)
{
    const char *model_type = json_string_value(setting(settings, "model_type"));
    const struct family *family = model_type ? family_find(model_type) : NULL;
    if (!family)
        die("%s: model_type '%s' is not known; these are: %s", settings->name,
            model_type ? model_type : "(none)", family_list());
    return family;
}

/* The token that is read before each sentence. A family's default that is beyond the vocabulary is none. */
static uint32_t read_bos(const struct settings *settings, bool stated, size_t vocabulary)
{
    json_int_t bos = json_integer_value(setting(settings, "bos_token_id"));
    if (!stated && bos >= (json_int_t)vocabulary)
        return NO_TOKEN;
    return token_or_none(settings, "bos_token_id", vocabulary);
}

/* Takes what all families have. */
static struct model_config read_common(const struct settings *settings, const struct family *family)
{
    const struct setting_names *names = &family->names;
    struct model_config config = {
        .family = family,
        .layers = setting_size(settings, names->layers, 1, MAX_LAYERS),
        .d_model = setting_size(settings, names->d_model, 1, MAX_WIDTH),
        .heads = setting_size(settings, names->heads, 1, MAX_WIDTH),
        .vocabulary = setting_size(settings, "vocab_size", 2, MAX_VOCABULARY),
        .norm = family->norm,
        .norm_epsilon = names->norm_epsilon ? setting_float(settings, names->norm_epsilon) : 1e-5f,
        .final_norm = !names->final_norm || setting_flag(settings, names->final_norm),
        .gated = family->gated,
        .position = family->position,
        .position_offset = names->position_offset
            ? setting_size(settings, names->position_offset, 0, MAX_WIDTH) : family->position_offset,
        .embed_scale = names->embed_scale ? setting_float(settings, names->embed_scale) : 1,
        .clusters = 1,
        .factor = 1,
    };
    config.d_ff = family->d_ff_ratio
        ? setting_size_or(settings, names->d_ff, 1, MAX_WIDTH, family->d_ff_ratio * config.d_model)
        : setting_size(settings, names->d_ff, 1, MAX_WIDTH);
    if (names->context)
        config.context = setting_size(settings, names->context, 1, INT32_MAX);
    config.activation = activation_called(settings, names->activation, &config.activation_name);
    config.unknown = token_or_none(settings, "unk_token_id", config.vocabulary);
    config.tied = setting_stated(settings, "tie_word_embeddings")
        ? setting_flag(settings, "tie_word_embeddings") : family->tied;
    config.cutoffs = new_array(1, sizeof *config.cutoffs);
    config.cutoffs[0] = config.vocabulary;
    config.key_value_heads = config.heads;
    config.head_width = config.d_model / config.heads;
    if (config.d_model % config.heads
        && !(names->head_width && json_is_integer(json_object_get(settings->json, names->head_width))))
        die("%s: %s %zu is not a multiple of %s %zu", settings->name, names->d_model, config.d_model,
            names->heads, config.heads);
    return config;
}

/* Ends the program where a setting is missing, or is of arithmetic that is not known. */
static void check_settings(const struct settings *settings, const struct family *family,
                           const struct model_config *config)
{
    const char *width = family->names.embedding_width; /* from which a projection would lead to d_model */
    for (const char *const *needed = family->needed; needed && *needed; needed++)
        if (!setting(settings, *needed))
            die("%s: '%s' must be there", settings->name, *needed);
    if (width && setting_size_or(settings, width, 1, MAX_WIDTH, config->d_model) != config->d_model)
        die("%s: '%s' differs from '%s'; a projection between them is not known", settings->name, width,
            family->names.d_model);
}

struct model_config config_parse(const char *path, json_t *json, const char *name)
{
    struct settings settings = settings_open(name, "", json);
    const struct family *family = find_family(&settings);
    const char *const *const ignored[] = {origin_ignored, training_ignored, means_ignored, tasks_ignored,
                                          generation_ignored, family->ignored, NULL};
    bool bos_stated = setting_stated(&settings, "bos_token_id");
    settings_default(&settings, family->defaults);
    settings_must_be(&settings, family->stated, true);
    settings_must_be(&settings, family->fixed, false);
    struct model_config config = read_common(&settings, family);
    config.path = copy_string(path);
    config.bos = read_bos(&settings, bos_stated, config.vocabulary);
    check_settings(&settings, family, &config);
    read_attention(&settings, family, &config);
    if (family->tensors->adaptive)
        read_adaptive(&settings, &config);
    settings_refuse_unread(&settings, ignored);
    settings_close(&settings);
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
