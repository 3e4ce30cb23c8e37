#include "model/families.h"

#include "base/messages.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SETTINGS(...) ((const struct known_setting[]){__VA_ARGS__, {NULL, NULL}})
#define METADATA(...) ((const struct metadata_row[]){__VA_ARGS__, {NULL, NULL, METADATA_NUMBER}})

/* ---- tensors of the layers ---- */

#define TENSORS(...) \
    ((const struct tensor_row[]){ \
        __VA_ARGS__, {NULL, 0, SIZE_ONE, SIZE_ONE, LAYOUT_PLAIN, 0, PRESENCE_ALWAYS}})
#define TENSOR(name, field, rows, columns, layout, part, when) \
    {name, offsetof(struct model_layer, field), SIZE_##rows, SIZE_##columns, LAYOUT_##layout, part, \
     PRESENCE_##when}
#define GAIN(name, field, rows, when) TENSOR(name ".weight", field, rows, ONE, PLAIN, 0, when)
#define NORM(name, field) \
    GAIN(name, field##_gain, D_MODEL, ALWAYS), \
    TENSOR(name ".bias", field##_bias, D_MODEL, ONE, PLAIN, 0, ALWAYS)
#define LINEAR(name, field, rows, columns, layout, part, when) \
    TENSOR(name ".weight", field, rows, columns, layout, part, ALWAYS), \
    TENSOR(name ".bias", field##_bias, rows, ONE, layout, part, when)
/* One tensor for queries, keys and values. */
#define ALL_OF_ATTENTION(name, layout, when) \
    LINEAR(name, query, QUERY, D_MODEL, layout, 0, when), \
    LINEAR(name, key, KEY_VALUE, D_MODEL, layout, 1, when), \
    LINEAR(name, value, KEY_VALUE, D_MODEL, layout, 2, when)

#define FAIRSEQ_LAYERS TENSORS( \
    LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS), \
    NORM("layers.%zu.self_attn_layer_norm", attention_norm), \
    LINEAR("layers.%zu.fc1", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.fc2", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS), \
    NORM("layers.%zu.final_layer_norm", ffn_norm))

/* Queries and keys are paired where the GGUF architecture rotates neighbouring dimensions together. */
#define GGUF_ROTARY_LAYERS(layout) TENSORS( \
    GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS), \
    LINEAR("blk.%zu.attn_q", query, QUERY, D_MODEL, layout, 0, OPTIONAL), \
    LINEAR("blk.%zu.attn_k", key, KEY_VALUE, D_MODEL, layout, 0, OPTIONAL), \
    LINEAR("blk.%zu.attn_v", value, KEY_VALUE, D_MODEL, PLAIN, 0, OPTIONAL), \
    GAIN("blk.%zu.attn_q_norm", query_norm_gain, HEAD, OPTIONAL), \
    GAIN("blk.%zu.attn_k_norm", key_norm_gain, HEAD, OPTIONAL), \
    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, OPTIONAL), \
    GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS), \
    LINEAR("blk.%zu.ffn_gate", gates, D_FF, D_MODEL, PLAIN, 0, OPTIONAL), \
    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, OPTIONAL), \
    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, OPTIONAL))

/* ---- what several families share ---- */

#define GGUF_TENSORS \
    .prefixes = NAMES(""), .embeddings = "token_embd.weight", .output = "output.weight", \
    .final_norm_gain = "output_norm.weight"

static const struct tensor_names gguf_llama_tensors = {GGUF_TENSORS, .layers = GGUF_ROTARY_LAYERS(PAIRED)};
static const struct tensor_names gguf_qwen_tensors = {GGUF_TENSORS, .layers = GGUF_ROTARY_LAYERS(PLAIN)};

/* Masks and frequencies that older files carry are ignored. */
static const struct tensor_names llama_tensors = {
    .prefixes = NAMES("model.", ""),
    .layers = TENSORS(
        GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS),
        LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
        GAIN("layers.%zu.self_attn.q_norm", query_norm_gain, HEAD, HEAD_NORMS),
        GAIN("layers.%zu.self_attn.k_norm", key_norm_gain, HEAD, HEAD_NORMS),
        LINEAR("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
        GAIN("layers.%zu.post_attention_layernorm", ffn_norm_gain, D_MODEL, ALWAYS),
        LINEAR("layers.%zu.mlp.gate_proj", gates, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
        LINEAR("layers.%zu.mlp.up_proj", keys, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
        LINEAR("layers.%zu.mlp.down_proj", values, D_MODEL, D_FF, PLAIN, 0, FFN_BIAS)),
    .embeddings = "embed_tokens.weight",
    .output = "lm_head.weight",
    .final_norm_gain = "norm.weight",
    .ignored = NAMES(".rotary_emb.inv_freq"),
};

#define LLAMA_ARITHMETIC .norm = NORM_RMS, .position = POSITION_ROTARY, .gated = true
#define USUAL_SIZES .layers = "num_hidden_layers", .d_model = "hidden_size", .heads = "num_attention_heads"
#define LLAMA_NAMES \
    USUAL_SIZES, .d_ff = "intermediate_size", .activation = "hidden_act", .norm_epsilon = "rms_norm_eps", \
    .key_value_heads = "num_key_value_heads", .head_width = "head_dim"
#define LLAMA_DEFAULTS \
    {"hidden_size", "4096"}, {"num_hidden_layers", "32"}, {"num_attention_heads", "32"}, \
    {"hidden_act", "\"silu\""}, {"rms_norm_eps", "1e-6"}
#define QWEN_DEFAULTS \
    LLAMA_DEFAULTS, {"vocab_size", "151936"}, {"intermediate_size", "22016"}, {"num_key_value_heads", "32"}, \
    {"max_position_embeddings", "32768"}, {"use_sliding_window", "false"}, {"sliding_window", "4096"}, \
    {"max_window_layers", "28"}
#define ROTARY_IGNORED NAMES("max_position_embeddings") /* nothing ends there */

#define GGUF_LLAMA_METADATA METADATA( \
    {"embedding_length", "hidden_size", METADATA_NEEDED_NUMBER}, \
    {"block_count", "num_hidden_layers", METADATA_NEEDED_NUMBER}, \
    {"feed_forward_length", "intermediate_size", METADATA_NEEDED_NUMBER}, \
    {"attention.head_count", "num_attention_heads", METADATA_NEEDED_NUMBER}, \
    {"attention.head_count_kv", "num_key_value_heads", METADATA_NUMBER}, \
    {"attention.key_length", "head_dim", METADATA_NUMBER}, \
    {"attention.value_length", "attention.value_length", METADATA_NUMBER}, \
    {"rope.dimension_count", "rope.dimension_count", METADATA_NUMBER}, \
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", METADATA_NEEDED_REAL}, \
    {"rope.freq_base", "rope_theta", METADATA_NONZERO_REAL}, \
    {"attention.sliding_window", "sliding_window", METADATA_NONZERO_NUMBER})
/* A window that the metadata have is one of every layer. */
#define GGUF_QWEN \
    .metadata = GGUF_LLAMA_METADATA, .tensors = &gguf_qwen_tensors, \
    .settings = SETTINGS( \
        {"hidden_act", "\"silu\""}, {"use_sliding_window", "true"}, {"max_window_layers", "0"})

/* ---- the families ---- */

static const struct family families[] = {
    {
        .model_type = "fairseq_transformer_lm", /* as import-model writes it */
        .norm = NORM_LAYER,
        .position = POSITION_SINUSOIDAL,
        .names = {
            USUAL_SIZES, .d_ff = "intermediate_size", .activation = "activation_function",
            .norm_epsilon = "layer_norm_eps", .position_offset = "position_offset",
            .final_norm = "final_norm", .embed_scale = "embed_scale",
        },
        .tied = true,
        .stated = SETTINGS({"normalize_before", "true"}, {"position_embedding", "\"sinusoidal\""}),
        .needed = NAMES("bos_token_id", "unk_token_id"),
        .ignored = NAMES("tie_adaptive_proj", "tie_adaptive_weights"), /* where there are no clusters */
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("decoder."),
            .layers = FAIRSEQ_LAYERS,
            .embeddings = "embed_tokens.weight",
            .output = "decoder.output_projection.weight",
            .final_norm_gain = "layer_norm.weight",
            .final_norm_bias = "layer_norm.bias",
            .ignored = NAMES(".version", "._float_tensor"),
            .adaptive = &(const struct adaptive_names){
                .input_words = "decoder.embed_tokens.embeddings.%zu.0.weight",
                .input_projection = "decoder.embed_tokens.embeddings.%zu.1.weight",
                .head = "decoder.adaptive_softmax.head.weight",
                .cluster_keys = "decoder.adaptive_softmax.head.class_proj.weight",
                .tail_projection = "decoder.adaptive_softmax.tail.%zu.0.weight",
                .tail_words = "decoder.adaptive_softmax.tail.%zu.2.weight",
            },
        },
        .word_list = true,
    },
    {
        .model_type = "gpt2",
        .norm = NORM_LAYER,
        .position = POSITION_LEARNED,
        .names = {
            .layers = "n_layer", .d_model = "n_embd", .d_ff = "n_inner", .heads = "n_head",
            .activation = "activation_function", .norm_epsilon = "layer_norm_epsilon",
            .context = "n_positions",
        },
        .defaults = SETTINGS(
            {"vocab_size", "50257"}, {"n_positions", "1024"}, {"n_embd", "768"}, {"n_layer", "12"},
            {"n_head", "12"}, {"activation_function", "\"gelu_new\""}, {"layer_norm_epsilon", "1e-5"},
            {"bos_token_id", "50256"}),
        .tied = true,
        .d_ff_ratio = 4,
        .fixed = SETTINGS(
            {"scale_attn_weights", "true"}, {"scale_attn_by_inverse_layer_idx", "false"},
            {"add_cross_attention", "false"}),
        .ignored = NAMES("n_ctx"), /* n_positions counts */
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                NORM("h.%zu.ln_1", attention_norm),
                ALL_OF_ATTENTION("h.%zu.attn.c_attn", STACKED_TRANSPOSED, ALWAYS),
                LINEAR("h.%zu.attn.c_proj", attention_output, D_MODEL, QUERY, TRANSPOSED, 0, ALWAYS),
                NORM("h.%zu.ln_2", ffn_norm),
                LINEAR("h.%zu.mlp.c_fc", keys, D_FF, D_MODEL, TRANSPOSED, 0, ALWAYS),
                LINEAR("h.%zu.mlp.c_proj", values, D_MODEL, D_FF, TRANSPOSED, 0, ALWAYS)),
            .embeddings = "wte.weight",
            .output = "lm_head.weight",
            .positions = "wpe.weight",
            .final_norm_gain = "ln_f.weight",
            .final_norm_bias = "ln_f.bias",
            .ignored = NAMES(".attn.bias", ".attn.masked_bias"), /* masks that older files carry */
        },
        .gguf = {
            .architecture = "gpt2",
            .metadata = METADATA(
                {"embedding_length", "n_embd", METADATA_NEEDED_NUMBER},
                {"block_count", "n_layer", METADATA_NEEDED_NUMBER},
                {"feed_forward_length", "n_inner", METADATA_NUMBER},
                {"attention.head_count", "n_head", METADATA_NEEDED_NUMBER},
                {"context_length", "n_positions", METADATA_NEEDED_NUMBER},
                {"attention.layer_norm_epsilon", "layer_norm_epsilon", METADATA_NEEDED_REAL}),
            .settings = SETTINGS({"activation_function", "\"gelu_new\""}),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    NORM("blk.%zu.attn_norm", attention_norm),
                    ALL_OF_ATTENTION("blk.%zu.attn_qkv", STACKED, ALWAYS),
                    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
                    NORM("blk.%zu.ffn_norm", ffn_norm),
                    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
                .positions = "position_embd.weight",
                .final_norm_bias = "output_norm.bias",
            },
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {
        .model_type = "opt",
        .norm = NORM_LAYER,
        .position = POSITION_LEARNED,
        .position_offset = 2,
        .names = {
            USUAL_SIZES, .d_ff = "ffn_dim", .activation = "activation_function",
            .context = "max_position_embeddings", .embedding_width = "word_embed_proj_dim",
        },
        .defaults = SETTINGS(
            {"vocab_size", "50272"}, {"hidden_size", "768"}, {"num_hidden_layers", "12"}, {"ffn_dim", "3072"},
            {"max_position_embeddings", "2048"}, {"num_attention_heads", "12"},
            {"activation_function", "\"relu\""}, {"bos_token_id", "2"}),
        .tied = true,
        .fixed = SETTINGS(
            {"do_layer_norm_before", "true"}, {"_remove_final_layer_norm", "false"}, {"enable_bias", "true"},
            {"layer_norm_elementwise_affine", "true"}),
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("model.decoder.", "decoder."),
            .layers = FAIRSEQ_LAYERS,
            .embeddings = "embed_tokens.weight",
            .output = "lm_head.weight",
            .positions = "embed_positions.weight",
            .final_norm_gain = "final_layer_norm.weight",
            .final_norm_bias = "final_layer_norm.bias",
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {
        .model_type = "gpt_neox",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .rotary_part = 0.25,
        .names = {
            USUAL_SIZES, .d_ff = "intermediate_size", .activation = "hidden_act",
            .norm_epsilon = "layer_norm_eps", .rotary_base = "rotary_emb_base", .rotary_part = "rotary_pct",
            .parallel = "use_parallel_residual",
            .query_key_value_bias = "attention_bias", .output_bias = "attention_bias",
        },
        .defaults = SETTINGS(
            {"vocab_size", "50432"}, {"hidden_size", "6144"}, {"num_hidden_layers", "44"},
            {"num_attention_heads", "64"}, {"intermediate_size", "24576"}, {"hidden_act", "\"gelu\""},
            {"max_position_embeddings", "2048"}, {"layer_norm_eps", "1e-5"}, {"bos_token_id", "0"},
            {"use_parallel_residual", "true"}, {"attention_bias", "true"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("gpt_neox.", ""),
            .layers = TENSORS(
                NORM("layers.%zu.input_layernorm", attention_norm),
                ALL_OF_ATTENTION("layers.%zu.attention.query_key_value", INTERLEAVED, QKV_BIAS),
                LINEAR("layers.%zu.attention.dense", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
                NORM("layers.%zu.post_attention_layernorm", ffn_norm),
                LINEAR("layers.%zu.mlp.dense_h_to_4h", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("layers.%zu.mlp.dense_4h_to_h", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
            .embeddings = "embed_in.weight",
            .output = "embed_out.weight",
            .final_norm_gain = "final_layer_norm.weight",
            .final_norm_bias = "final_layer_norm.bias",
            .ignored = NAMES(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        },
        .tokenizer_class = "GPTNeoXTokenizer",
    },
    {
        .model_type = "llama",
        LLAMA_ARITHMETIC,
        .window = WINDOW_ALL_LAYERS, /* of Mistral, which GGUF files call llama */
        .names = {
            LLAMA_NAMES, .query_key_value_bias = "attention_bias", .output_bias = "attention_bias",
            .ffn_bias = "mlp_bias",
        },
        .defaults = SETTINGS(
            LLAMA_DEFAULTS, {"vocab_size", "32000"}, {"intermediate_size", "11008"},
            {"max_position_embeddings", "2048"}, {"bos_token_id", "1"}, {"attention_bias", "false"},
            {"mlp_bias", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .gguf = {
            .architecture = "llama", .metadata = GGUF_LLAMA_METADATA, .tensors = &gguf_llama_tensors,
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "mistral",
        LLAMA_ARITHMETIC,
        .window = WINDOW_ALL_LAYERS,
        .names = {LLAMA_NAMES},
        .defaults = SETTINGS(
            LLAMA_DEFAULTS, {"vocab_size", "32000"}, {"intermediate_size", "14336"},
            {"num_key_value_heads", "8"}, {"max_position_embeddings", "131072"}, {"bos_token_id", "1"},
            {"sliding_window", "4096"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
    },
    {
        .model_type = "qwen2",
        LLAMA_ARITHMETIC,
        .query_key_value_bias = true,
        .window = WINDOW_SOME_LAYERS,
        .names = {LLAMA_NAMES},
        .defaults = SETTINGS(QWEN_DEFAULTS),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .gguf = {.architecture = "qwen2", GGUF_QWEN},
        .tokenizer_class = "Qwen2Tokenizer",
        .tokenizer_class_forced = true,
    },
    {
        .model_type = "qwen3",
        LLAMA_ARITHMETIC,
        .head_norms = true,
        .window = WINDOW_SOME_LAYERS,
        .names = {LLAMA_NAMES, .query_key_value_bias = "attention_bias", .output_bias = "attention_bias"},
        .defaults = SETTINGS(QWEN_DEFAULTS, {"head_dim", "128"}, {"attention_bias", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .gguf = {.architecture = "qwen3", GGUF_QWEN},
        .tokenizer_class = "Qwen2Tokenizer",
    },
};
enum { FAMILIES = sizeof families / sizeof *families };

/* ---- looking them up ---- */

static const char *directory_name(const struct family *family)
{
    return family->model_type;
}

static const char *gguf_name(const struct family *family)
{
    return family->gguf.architecture;
}

/* The family that has this name, of those that have one. */
static const struct family *find(const char *(*name_of)(const struct family *), const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (name_of(&families[i]) && !strcmp(name_of(&families[i]), name))
            return &families[i];
    return NULL;
}

static char *list(const char *(*name_of)(const struct family *))
{
    char *names = copy_string("");
    for (size_t i = 0; i < FAMILIES; i++) {
        if (!name_of(&families[i]))
            continue;
        char *longer = format_string("%s%s%s", names, *names ? ", " : "", name_of(&families[i]));
        free(names);
        names = longer;
    }
    return names;
}

const struct family *family_find(const char *model_type)
{
    return find(directory_name, model_type);
}

const struct family *family_find_gguf(const char *architecture)
{
    return find(gguf_name, architecture);
}

char *family_list(void)
{
    return list(directory_name);
}

char *family_list_gguf(void)
{
    return list(gguf_name);
}

void tensor_name(char to[MAX_TENSOR_NAME], const char *prefix, const char *name, size_t index)
{
    char format[MAX_TENSOR_NAME];
    snprintf(format, sizeof format, "%s%s", prefix, name);
    snprintf(to, MAX_TENSOR_NAME, format, index);
}
