#include "model/family_settings.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/neutral_settings.h"

#include <math.h>
#include <string.h>

/* ---- ALiBi's slopes (Press et al. 2022) ---- */

/* 2^(-8 i / n) for the largest power of 2 that is no more than heads; what is left has those between. */
static void set_slopes(struct model_config *config)
{
    size_t heads = config->heads, power = 1;
    while (power * 2 <= heads)
        power *= 2;
    config->alibi_slope = new_array(heads, sizeof *config->alibi_slope);
    for (size_t i = 0; i < heads; i++) {
        double exponent = i < power ? 8.0 * (double)(i + 1) : 4.0 * (double)(2 * (i - power) + 1);
        config->alibi_slope[i] = (float)exp2(-exponent / (double)power);
    }
}

/* The same of MPT: 2^(-8 i / n) for the next power of 2; where there are fewer heads, every second first. */
static void set_mpt_slopes(struct model_config *config)
{
    size_t heads = config->heads, power = 1;
    while (power < heads)
        power *= 2;
    config->alibi_slope = new_array(heads, sizeof *config->alibi_slope);
    for (size_t i = 0; i < heads; i++) {
        size_t index = power == heads ? i : i < power / 2 ? 2 * i + 1 : 2 * (i - power / 2);
        config->alibi_slope[i] = (float)exp2(-8.0 * (double)(index + 1) / (double)power);
    }
}

/* ---- the families ---- */

void read_bloom(const struct settings *settings, struct model_config *config)
{
    (void)settings;
    set_slopes(config);
}

/* Where norms are of sums, the last layer's norm is the last. */
void read_opt(const struct settings *settings, struct model_config *config)
{
    bool removed = setting_flag(settings, "_remove_final_layer_norm");
    config->final_norm = !config->normed_sums && !removed;
}

/* gelu is what files of before call the approximation. */
void read_gemma(const struct settings *settings, struct model_config *config)
{
    (void)settings;
    if (!strcmp(config->activation_name, "gelu")) {
        config->activation = ACTIVATION_GELU_TANH;
        config->activation_name = "gelu_pytorch_tanh";
    }
}

/* Falcon's block has one norm or two of the layer's input, or, after attention, its own. */
static void read_falcon_norms(const struct settings *settings, struct model_config *config, bool grouped)
{
    bool parallel = setting_flag(settings, "parallel_attn");
    size_t norms = setting_size_or(settings, "num_ln_in_parallel_attn", 1, 2, grouped ? 2 : 1);
    if (grouped && !parallel)
        setting_refuse(settings, "parallel_attn", "true, where new_decoder_architecture is true");
    if (!grouped && norms == 2)
        setting_refuse(settings, "num_ln_in_parallel_attn", "1, where new_decoder_architecture is false");
    config->block_norm = !parallel    ? BLOCK_NORM_SEQUENTIAL
                       : norms == 2 ? BLOCK_NORM_PARALLEL : BLOCK_NORM_SHARED;
}

void read_falcon(const struct settings *settings, struct model_config *config)
{
    bool grouped = setting_flag(settings, "new_decoder_architecture");
    bool one = setting_flag(settings, "multi_query") && !grouped;
    size_t heads = setting_size_or(settings, "num_kv_heads", 1, MAX_WIDTH, config->heads);
    if (config->heads % heads || (!grouped && !one && heads != config->heads))
        die("%s: 'num_kv_heads' %zu does not go with num_attention_heads %zu", settings->name, heads,
            config->heads);
    config->key_value_heads = one ? 1 : heads;
    read_falcon_norms(settings, config, grouped);
    if (!setting_flag(settings, "alibi"))
        return;
    config->position = POSITION_ALIBI;
    config->alibi_16_bits = true;
    set_slopes(config);
    setting(settings, "rope_parameters"); /* not used; transformers writes it in any case */
    setting(settings, "rope_theta");
}

/* A window without the flag is none; with it, it is one of every layer. */
void read_qwen3_moe(const struct settings *settings, struct model_config *config)
{
    (void)config;
    if (!setting_flag(settings, "use_sliding_window"))
        json_put(settings->json, "sliding_window", json_null());
}

/* What says that files have blocks of MXFP4; their tensors show it. */
static void read_quantization(const struct settings *settings)
{
    static const struct known_setting known[] = {{"quant_method", "\"mxfp4\""}, {NULL, NULL}};
    static const char *const ignored[] = {"modules_to_not_convert", "dequantize", NULL};
    static const char *const *const lists[] = {ignored, NULL};
    json_t *object = setting(settings, "quantization_config");
    if (!object)
        return;
    struct settings quantization = settings_open(settings->name, "quantization_config.", object);
    settings_must_be(&quantization, known, true);
    settings_refuse_unread(&quantization, lists);
    settings_close(&quantization);
}

/* The activation is not what hidden_act says, but x sigmoid(1.702 x); positions are scaled by default. */
void read_gpt_oss(const struct settings *settings, struct model_config *config)
{
    config->activation = ACTIVATION_QUICK_GELU;
    config->activation_name = "quick_gelu";
    read_quantization(settings);
    if (!setting(settings, "rope_parameters") && !setting(settings, "rope_scaling"))
        json_put(settings->json, "rope_parameters",
                 json_make("{s:s, s:f, s:f, s:f, s:b, s:i}", "rope_type", "yarn", "factor", 32.0, "beta_fast",
                           32.0, "beta_slow", 1.0, "truncate", 0, "original_max_position_embeddings", 4096));
}

/* Another alibi_bias_max has other slopes in MPT's own code, and the same in transformers: it is refused. */
void read_mpt(const struct settings *settings, struct model_config *config)
{
    static const struct known_setting fixed[] = {
        {"alibi", "true"}, {"alibi_bias_max", "8"}, {"attn_type", "\"multihead_attention\""},
        {"attn_uses_sequence_id", "false"}, {"prefix_lm", "false"}, {"qk_ln", "false"}, {NULL, NULL}};
    static const char *const ignored[] = {"attn_pdrop", "attn_impl", "model_type", NULL};
    json_t *object = setting(settings, "attn_config");
    if (object && !json_is_object(object))
        setting_refuse(settings, "attn_config", "an object");
    struct settings attention = settings_open(settings->name, "attn_config.", object);
    settings_must_be(&attention, fixed, false);
    config->clip = setting(&attention, "clip_qkv") ? setting_float(&attention, "clip_qkv") : 0;
    if (setting(&attention, "softmax_scale"))
        config->attention_scale = setting_float(&attention, "softmax_scale");
    set_mpt_slopes(config);
    settings_refuse_unknown(&attention, ignored);
    settings_close(&attention);
}
