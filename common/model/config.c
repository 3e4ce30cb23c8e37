#include "model/config.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/expert_settings.h"
#include "model/families.h"
#include "model/layer_attention.h"
#include "model/neutral_settings.h"
#include "model/rotary.h"
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

static bool flag_or_none(const struct settings *settings, const char *key)
{
    return key && setting_flag(settings, key);
}

/* A positive number that may be missing or null; also where a family does not have it, and key is NULL. */
static float float_or(const struct settings *settings, const char *key, float otherwise)
{
    return key && setting(settings, key) ? setting_float(settings, key) : otherwise;
}

/* What products of queries and keys are multiplied by: 1 / sqrt(width), unless the model says another. */
static void read_attention_scale(const struct settings *settings, const struct family *family,
                                 struct model_config *config)
{
    const struct setting_names *names = &family->names;
    config->attention_scale = family->attention_scale > 0 ? family->attention_scale
                                                          : 1.0f / sqrtf((float)config->head_width);
    if (names->attention_width)
        config->attention_scale =
            1.0f / sqrtf(float_or(settings, names->attention_width, (float)config->head_width));
    config->attention_scale = float_or(settings, names->attention_scale, config->attention_scale);
    config->attention_cap = float_or(settings, names->attention_cap, 0);
    config->clip = float_or(settings, names->clip, 0);
}

static void read_attention(const struct settings *settings, const struct family *family,
                           struct model_config *config)
{
    const struct setting_names *names = &family->names;
    bool parallel = !names->parallel || setting_flag(settings, names->parallel);
    config->block_norm = parallel ? family->block_norm : BLOCK_NORM_SEQUENTIAL;
    config->query_key_value_bias = family->query_key_value_bias
                                || flag_or_none(settings, names->query_key_value_bias);
    config->output_bias = flag_or_none(settings, names->output_bias);
    config->ffn_bias = flag_or_none(settings, names->ffn_bias);
    config->head_norm = !names->head_norm || setting_flag(settings, names->head_norm) ? family->head_norm
                                                                                      : HEAD_NORM_NONE;
    if (names->key_value_heads)
        read_grouped_heads(settings, names, config);
    read_attention_scale(settings, family, config);
    if (family->read)
        family->read(settings, config);
    if (config->position == POSITION_ROTARY)
        rotary_read(settings, config);
    layer_attention_read(settings, config);
}

/* ---- scales of the residual and of what is read from it ---- */

static void read_scales(const struct settings *settings, const struct family *family,
                        struct model_config *config)
{
    const struct setting_names *names = &family->names;
    config->embed_scale = family->embed_scale_root ? sqrtf((float)config->d_model)
                        : names->embed_scale       ? setting_float(settings, names->embed_scale) : 1;
    config->residual_scale = float_or(settings, names->residual_scale, 1);
    config->logit_scale = float_or(settings, names->logit_scale, 1);
    config->logit_scale /= float_or(settings, names->logit_divisor, 1);
    config->logit_cap = float_or(settings, names->logit_cap, 0);
}

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

/*
 * The token that is read before each sentence, where the tokenizer does not say; of a list the first. A
 * family's default that is beyond the vocabulary is none.
 */
static uint32_t read_bos(const struct settings *settings, bool stated, size_t vocabulary)
{
    const json_t *list = setting(settings, "bos_token_id");
    if (json_array_size(list))
        json_put(settings->json, "bos_token_id", json_incref(json_array_get(list, 0)));
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
        .normed_sums = names->normed_inputs && !setting_flag(settings, names->normed_inputs),
        .gated = family->gated,
        .position = family->position,
        .position_offset = names->position_offset
            ? setting_size(settings, names->position_offset, 0, MAX_WIDTH) : family->position_offset,
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
    config.word_width = config.d_model;
    if (names->word_width)
        config.word_width = setting_size_or(settings, names->word_width, 1, config.d_model, config.d_model);
    if (config.d_model % config.heads
        && !(names->head_width && json_is_integer(json_object_get(settings->json, names->head_width))))
        die("%s: %s %zu is not a multiple of %s %zu", settings->name, names->d_model, config.d_model,
            names->heads, config.heads);
    return config;
}

/* Ends the program where a setting is missing that has no default. */
static void check_needed(const struct settings *settings, const struct family *family)
{
    for (const char *const *needed = family->needed; needed && *needed; needed++)
        if (!setting(settings, *needed))
            die("%s: '%s' must be there", settings->name, *needed);
}

/* Settings by another name get the family's; one that is stated by both must be the same. */
static void rename_aliases(const struct settings *settings, const struct known_setting *aliases)
{
    for (; aliases && aliases->key; aliases++) {
        json_t *value = setting(settings, aliases->key), *named = setting(settings, aliases->value);
        if (value && named && !json_equal(value, named))
            die("%s: '%s' differs from '%s', its other name", settings->name, aliases->key, aliases->value);
        if (value)
            json_put(settings->json, aliases->value, json_incref(value));
    }
}

/* The language model's settings, and what else is stated beside them; the words are tied as that says. */
static void take_text_config(json_t *json, const struct family *family, const char *name)
{
    json_t *text = json_object_get(json, family->text_config), *value;
    const char *key;
    if (text && !json_is_object(text))
        die("%s: '%s' must be an object", name, family->text_config);
    const json_t *bos = json_object_get(json, "bos_token_id"), *own = json_object_get(text, "bos_token_id");
    if (json_is_integer(bos) && own && !json_equal(bos, own))
        die("%s: 'bos_token_id' differs from that of '%s'", name, family->text_config);
    json_incref(text);
    json_object_del(json, family->text_config);
    json_object_foreach(text, key, value)
        if (strcmp(key, "model_type") && strcmp(key, "tie_word_embeddings"))
            json_put(json, key, json_incref(value));
    json_decref(text);
}

struct model_config config_parse(const char *path, json_t *json, const char *name)
{
    struct settings settings = settings_open(name, "", json);
    const struct family *family = find_family(&settings);
    if (family->text_config)
        take_text_config(json, family, name);
    rename_aliases(&settings, family->aliases);
    bool bos_stated = setting_stated(&settings, "bos_token_id");
    settings_default(&settings, family->defaults);
    settings_must_be(&settings, family->stated, true);
    settings_must_be(&settings, family->fixed, false);
    struct model_config config = read_common(&settings, family);
    config.path = copy_string(path);
    config.bos = read_bos(&settings, bos_stated, config.vocabulary);
    check_needed(&settings, family);
    read_scales(&settings, family, &config);
    read_attention(&settings, family, &config);
    expert_settings_read(&settings, &config);
    if (family->tensors->adaptive)
        read_adaptive(&settings, &config);
    settings_refuse_unknown(&settings, family->ignored);
    settings_close(&settings);
    json_decref(json);
    return config;
}

void config_free(struct model_config *config)
{
    free(config->path);
    rotary_free(config);
    free(config->attention);
    free(config->has_experts);
    free(config->alibi_slope);
    free(config->cutoffs);
    *config = (struct model_config){0};
}
