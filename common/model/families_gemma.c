/* Gemma's families: gains are stored less 1, and norms stand before and behind the blocks. */
#include "model/family_rows.h"
#include "model/family_settings.h"

static const struct tensor_names gemma_tensors = {LLAMA_OUTSIDE, .gain_offset = 1, .layers = LLAMA_LAYERS};

/* Norms on both sides of attention and of the block; heads are normed as the family says. */
#define GEMMA_LAYERS TENSORS( \
    GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS), \
    GATED_ATTENTION, \
    GAIN("layers.%zu.self_attn.q_norm", query_norm_gain, HEAD, HEAD_NORMS), \
    GAIN("layers.%zu.self_attn.k_norm", key_norm_gain, HEAD, HEAD_NORMS), \
    GAIN("layers.%zu.post_attention_layernorm", attention_out_norm_gain, D_MODEL, ALWAYS), \
    GAIN("layers.%zu.pre_feedforward_layernorm", ffn_norm_gain, D_MODEL, ALWAYS), \
    GATED_BLOCK, \
    GAIN("layers.%zu.post_feedforward_layernorm", ffn_out_norm_gain, D_MODEL, ALWAYS))

static const struct tensor_names gemma2_tensors = {LLAMA_OUTSIDE, .gain_offset = 1, .layers = GEMMA_LAYERS};

/* The language model of files that have one of images, too. */
static const struct tensor_names gemma3_tensors = {
    .prefixes = NAMES("model.language_model.", "language_model.model.", "model.", ""),
    .embeddings = "embed_tokens.weight",
    .output = "lm_head.weight",
    .final_norm_gain = "norm.weight",
    .gain_offset = 1,
    .layers = GEMMA_LAYERS,
    .other_parts = NAMES(
        "vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."),
};

/* In GGUF files gains are whole. */
static const struct tensor_names gguf_gemma_tensors = {GGUF_TENSORS, .layers = GGUF_ROTARY_LAYERS(PLAIN)};
static const struct tensor_names gguf_gemma2_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
        GGUF_ATTENTION(PLAIN),
        GAIN("blk.%zu.attn_q_norm", query_norm_gain, HEAD, HEAD_NORMS),
        GAIN("blk.%zu.attn_k_norm", key_norm_gain, HEAD, HEAD_NORMS),
        GAIN("blk.%zu.post_attention_norm", attention_out_norm_gain, D_MODEL, ALWAYS),
        GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS),
        GGUF_GATED_BLOCK,
        GAIN("blk.%zu.post_ffw_norm", ffn_out_norm_gain, D_MODEL, ALWAYS)),
};

#define GEMMA2_NAMES \
    USUAL_SIZES, ATTENTION_BIAS, .d_ff = "intermediate_size", .activation = "hidden_activation", \
    .norm_epsilon = "rms_norm_eps", .key_value_heads = "num_key_value_heads", .head_width = "head_dim", \
    .attention_width = "query_pre_attn_scalar", .logit_cap = "final_logit_softcapping"
#define GEMMA2_DEFAULTS \
    {"hidden_size", "2304"}, {"intermediate_size", "9216"}, {"num_hidden_layers", "26"}, \
    {"num_attention_heads", "8"}, {"num_key_value_heads", "4"}, {"head_dim", "256"}, \
    {"hidden_activation", "\"gelu_pytorch_tanh\""}, {"rms_norm_eps", "1e-6"}, {"bos_token_id", "2"}, \
    {"attention_bias", "false"}, {"query_pre_attn_scalar", "256"}, {"sliding_window", "4096"}
#define GEMMA3 \
    LLAMA_ARITHMETIC, \
    .window = WINDOW_PATTERN, \
    .rotary_layers = ROTARY_TWO_KINDS, \
    .rotary_base = 1e6, \
    .head_norm = HEAD_NORM_SHARED, \
    .embed_scale_root = true, \
    .names = {GEMMA2_NAMES}, \
    .defaults = SETTINGS( \
        GEMMA2_DEFAULTS, {"vocab_size", "262208"}, {"max_position_embeddings", "131072"}, \
        {"sliding_window_pattern", "6"}), \
    .tied = true

const struct family gemma_families[] = {
    {
        .model_type = "gemma",
        LLAMA_ARITHMETIC,
        .embed_scale_root = true,
        .names = {LLAMA_NAMES, ATTENTION_BIAS},
        .defaults = SETTINGS(
            {"vocab_size", "256000"}, {"hidden_size", "3072"}, {"intermediate_size", "24576"},
            {"num_hidden_layers", "28"}, {"num_attention_heads", "16"}, {"num_key_value_heads", "16"},
            {"head_dim", "256"}, {"hidden_act", "\"gelu_pytorch_tanh\""}, {"rms_norm_eps", "1e-6"},
            {"max_position_embeddings", "8192"}, {"bos_token_id", "2"}, {"attention_bias", "false"}),
        .tied = true,
        .fixed = SETTINGS({"hidden_activation", "\"gelu_pytorch_tanh\""}),
        .ignored = ROTARY_IGNORED,
        .read = read_gemma,
        .tensors = &gemma_tensors,
        .tokenizer_class = "GemmaTokenizer",
        .gguf = {
            .architecture = "gemma", .metadata = METADATA(GGUF_ROTARY_ROWS), .tensors = &gguf_gemma_tensors,
        },
    },
    {
        .model_type = "gemma2",
        LLAMA_ARITHMETIC,
        .window = WINDOW_PATTERN,
        .window_pattern = 2,
        .embed_scale_root = true,
        .names = {GEMMA2_NAMES, .attention_cap = "attn_logit_softcapping"},
        .defaults = SETTINGS(
            GEMMA2_DEFAULTS, {"vocab_size", "256000"}, {"max_position_embeddings", "8192"},
            {"final_logit_softcapping", "30"}, {"attn_logit_softcapping", "50"}),
        .tied = true,
        .ignored = NAMES(
            "max_position_embeddings", "hidden_act", "cache_implementation", "sliding_window_size"),
        .tensors = &gemma2_tensors,
        .tokenizer_class = "GemmaTokenizer",
        .gguf = {
            .architecture = "gemma2",
            .metadata = METADATA(
                GGUF_ROTARY_ROWS, GGUF_WINDOW("sliding_window"),
                {"attn_logit_softcapping", "attn_logit_softcapping", METADATA_NEEDED_REAL},
                {"final_logit_softcapping", "final_logit_softcapping", METADATA_NEEDED_REAL}),
            .tensors = &gguf_gemma2_tensors,
            .wide_layers = 46,
        },
    },
    {
        .model_type = "gemma3_text",
        GEMMA3,
        .ignored = NAMES("max_position_embeddings", "cache_implementation", "_sliding_window_pattern"),
        .tensors = &gemma2_tensors,
        .tokenizer_class = "GemmaTokenizer",
        .gguf = {
            .architecture = "gemma3",
            .metadata = METADATA(
                GGUF_ROTARY_ROWS, GGUF_WINDOW("sliding_window"),
                {"final_logit_softcapping", "final_logit_softcapping", METADATA_NONZERO_REAL},
                {"rope.freq_base_swa", "rope_local_base_freq", METADATA_NONZERO_REAL}),
            .tensors = &gguf_gemma2_tensors,
            .wide_layers = 62,
        },
    },
    {
        .model_type = "gemma3",
        GEMMA3,
        .text_config = "text_config",
        .ignored = NAMES(
            "max_position_embeddings", "cache_implementation", "_sliding_window_pattern", "vision_config",
            "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index",
            "boi_token_id", "eoi_token_id", "image_token_id"),
        .tensors = &gemma3_tensors,
        .tokenizer_class = "GemmaTokenizer",
    },
    {.model_type = NULL},
};
