/* Families whose layers are gated and whose norms are Llama's, or nearly so. */
#include "model/family_rows.h"
#include "model/family_settings.h"

static const struct tensor_names gguf_llama_tensors = {GGUF_TENSORS, .layers = GGUF_ROTARY_LAYERS(PAIRED)};
static const struct tensor_names gguf_qwen_tensors = {GGUF_TENSORS, .layers = GGUF_ROTARY_LAYERS(PLAIN)};

static const struct tensor_names llama_tensors = {
    LLAMA_OUTSIDE,
    .layers = LLAMA_LAYERS,
};

#define QWEN_DEFAULTS \
    LLAMA_DEFAULTS, {"vocab_size", "151936"}, {"intermediate_size", "22016"}, {"num_key_value_heads", "32"}, \
    {"max_position_embeddings", "32768"}, {"use_sliding_window", "false"}, {"sliding_window", "4096"}, \
    {"max_window_layers", "28"}
/* A window that the metadata have is one of every layer. */
#define GGUF_QWEN \
    .metadata = METADATA(GGUF_ROTARY_ROWS, GGUF_WINDOW("sliding_window")), .tensors = &gguf_qwen_tensors, \
    .settings = SETTINGS( \
        {"hidden_act", "\"silu\""}, {"use_sliding_window", "true"}, {"max_window_layers", "0"})


/* Norms of LayerNorm's kind, with or without a bias; the block's own norm, or attention's. */
static const struct tensor_names stablelm_tensors = {
    LLAMA_OUTSIDE,
    .final_norm_bias = "norm.bias",
    .layers = TENSORS(
        NORM("layers.%zu.input_layernorm", attention_norm),
        LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
        WEIGHT("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0),
        NORM_WHERE("layers.%zu.input_layernorm", ffn_norm, SHARED),
        NORM_WHERE("layers.%zu.post_attention_layernorm", ffn_norm, SEQUENTIAL),
        GATED_BLOCK),
};

/* Neighbouring dimensions are rotated together. */
static const struct tensor_names cohere_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS),
        LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PAIRED, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PAIRED, 0, QKV_BIAS),
        LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
        TENSOR("layers.%zu.self_attn.q_norm.weight", query_norm_gain, QUERY, ONE, GAIN_PAIRED, 0, HEAD_NORMS),
        TENSOR("layers.%zu.self_attn.k_norm.weight", key_norm_gain, KEY_VALUE, ONE, GAIN_PAIRED, 0,
               HEAD_NORMS),
        LINEAR("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
        GAIN("layers.%zu.input_layernorm", ffn_norm_gain, D_MODEL, ALWAYS),
        GATED_BLOCK),
};

/* Norms behind the blocks only. */
static const struct tensor_names olmo2_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        GATED_ATTENTION,
        GAIN("layers.%zu.self_attn.q_norm", query_norm_gain, QUERY, ALWAYS),
        GAIN("layers.%zu.self_attn.k_norm", key_norm_gain, KEY_VALUE, ALWAYS),
        GAIN("layers.%zu.post_attention_layernorm", attention_out_norm_gain, D_MODEL, ALWAYS),
        GATED_BLOCK,
        GAIN("layers.%zu.post_feedforward_layernorm", ffn_out_norm_gain, D_MODEL, ALWAYS)),
};

/* Norms without gains, which no file has. */
static const struct tensor_names olmo_tensors = {
    .prefixes = NAMES("model.", ""), .embeddings = "embed_tokens.weight", .output = "lm_head.weight",
    .ignored = NAMES(".rotary_emb.inv_freq"),
    .layers = TENSORS(GATED_ATTENTION, GATED_BLOCK),
};

static const struct tensor_names phi3_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS),
        WEIGHTS_OF_ATTENTION("layers.%zu.self_attn.qkv_proj"),
        WEIGHT("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0),
        GAIN("layers.%zu.post_attention_layernorm", ffn_norm_gain, D_MODEL, ALWAYS),
        WEIGHT("layers.%zu.mlp.gate_up_proj", gates, D_FF, D_MODEL, STACKED, 0),
        WEIGHT("layers.%zu.mlp.gate_up_proj", keys, D_FF, D_MODEL, STACKED, 1),
        WEIGHT("layers.%zu.mlp.down_proj", values, D_MODEL, D_FF, PLAIN, 0)),
};

static const struct tensor_names gguf_stablelm_tensors = {
    GGUF_TENSORS,
    .final_norm_bias = "output_norm.bias",
    .layers = TENSORS(
        NORM("blk.%zu.attn_norm", attention_norm),
        GGUF_ATTENTION(PLAIN),
        NORM_WHERE("blk.%zu.attn_norm", ffn_norm, SHARED),
        NORM_WHERE("blk.%zu.ffn_norm", ffn_norm, SEQUENTIAL),
        GGUF_GATED_BLOCK),
};

static const struct tensor_names gguf_cohere_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
        GGUF_ATTENTION(PAIRED),
        GAIN("blk.%zu.attn_norm", ffn_norm_gain, D_MODEL, ALWAYS),
        GGUF_GATED_BLOCK),
};

static const struct tensor_names gguf_olmo2_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GGUF_ATTENTION(PLAIN),
        GAIN("blk.%zu.attn_q_norm", query_norm_gain, QUERY, ALWAYS),
        GAIN("blk.%zu.attn_k_norm", key_norm_gain, KEY_VALUE, ALWAYS),
        GAIN("blk.%zu.post_attention_norm", attention_out_norm_gain, D_MODEL, ALWAYS),
        GGUF_GATED_BLOCK,
        GAIN("blk.%zu.post_ffw_norm", ffn_out_norm_gain, D_MODEL, ALWAYS)),
};

static const struct tensor_names gguf_phi3_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
        WEIGHTS_OF_ATTENTION("blk.%zu.attn_qkv"),
        WEIGHT("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0),
        GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS),
        WEIGHT("blk.%zu.ffn_up", gates, D_FF, D_MODEL, STACKED, 0),
        WEIGHT("blk.%zu.ffn_up", keys, D_FF, D_MODEL, STACKED, 1),
        WEIGHT("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0)),
};

#define COHERE_DEFAULTS \
    {"vocab_size", "256000"}, {"hidden_size", "8192"}, {"intermediate_size", "22528"}, \
    {"logit_scale", "0.0625"}, {"num_hidden_layers", "40"}, {"num_attention_heads", "64"}, \
    {"hidden_act", "\"silu\""}, {"max_position_embeddings", "8192"}, {"layer_norm_eps", "1e-5"}, \
    {"bos_token_id", "5"}, {"attention_bias", "false"}
#define OLMO_DEFAULTS \
    {"vocab_size", "50304"}, {"hidden_size", "4096"}, {"intermediate_size", "11008"}, \
    {"num_hidden_layers", "32"}, {"num_attention_heads", "32"}, {"hidden_act", "\"silu\""}, \
    {"max_position_embeddings", "2048"}, {"attention_bias", "false"}

const struct family llama_families[] = {
    {
        .model_type = "llama",
        LLAMA_ARITHMETIC,
        .window = WINDOW_ALL_LAYERS, /* of Mistral, which GGUF files call llama */
        .names = {
            LLAMA_NAMES, ATTENTION_BIAS, .ffn_bias = "mlp_bias", .window = "attention.sliding_window",
        },
        .defaults = SETTINGS(
            LLAMA_DEFAULTS, {"vocab_size", "32000"}, {"intermediate_size", "11008"},
            {"max_position_embeddings", "2048"}, {"bos_token_id", "1"}, {"attention_bias", "false"},
            {"mlp_bias", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .gguf = {
            .architecture = "llama", .tensors = &gguf_llama_tensors,
            .metadata = METADATA(GGUF_ROTARY_ROWS, GGUF_WINDOW("attention.sliding_window")),
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
        .window = WINDOW_LATER_LAYERS,
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
        .head_norm = HEAD_NORM_SHARED,
        .window = WINDOW_LATER_LAYERS,
        .names = {LLAMA_NAMES, ATTENTION_BIAS},
        .defaults = SETTINGS(QWEN_DEFAULTS, {"head_dim", "128"}, {"attention_bias", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .gguf = {.architecture = "qwen3", GGUF_QWEN},
        .tokenizer_class = "Qwen2Tokenizer",
    },
    {
        .model_type = "smollm3",
        LLAMA_ARITHMETIC,
        .window = WINDOW_UNROTATED_LAYERS,
        .rotary_layers = ROTARY_LISTED_LAYERS,
        .rotary_base = 2e6,
        .names = {LLAMA_NAMES, ATTENTION_BIAS, .ffn_bias = "mlp_bias"},
        .defaults = SETTINGS(
            {"vocab_size", "128256"}, {"hidden_size", "2048"}, {"intermediate_size", "11008"},
            {"num_hidden_layers", "36"}, {"num_attention_heads", "16"}, {"num_key_value_heads", "4"},
            {"hidden_act", "\"silu\""}, {"rms_norm_eps", "1e-6"}, {"max_position_embeddings", "32768"},
            {"bos_token_id", "128000"}, {"use_sliding_window", "false"}, {"no_rope_layer_interval", "4"},
            {"attention_bias", "false"}, {"mlp_bias", "false"}),
        .tied = true,
        .ignored = NAMES("max_position_embeddings", "max_window_layers"),
        .tensors = &llama_tensors,
    },
    {
        .model_type = "granite",
        LLAMA_ARITHMETIC,
        .names = {
            LLAMA_NAMES, ATTENTION_BIAS, .ffn_bias = "mlp_bias", .attention_scale = "attention_multiplier",
            .embed_scale = "embedding_multiplier", .residual_scale = "residual_multiplier",
            .logit_divisor = "logits_scaling",
        },
        .defaults = SETTINGS(
            LLAMA_DEFAULTS, {"vocab_size", "32000"}, {"intermediate_size", "11008"},
            {"max_position_embeddings", "2048"}, {"bos_token_id", "1"}, {"attention_bias", "false"},
            {"mlp_bias", "false"}, {"embedding_multiplier", "1"}, {"residual_multiplier", "1"},
            {"attention_multiplier", "1"}, {"logits_scaling", "1"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &llama_tensors,
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
        .gguf = {
            .architecture = "granite", .tensors = &gguf_llama_tensors,
            .metadata = METADATA(
                GGUF_ROTARY_ROWS, {"attention.scale", "attention_multiplier", METADATA_NEEDED_REAL},
                {"embedding_scale", "embedding_multiplier", METADATA_NEEDED_REAL},
                {"residual_scale", "residual_multiplier", METADATA_NEEDED_REAL},
                {"logit_scale", "logits_scaling", METADATA_NEEDED_REAL}),
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "olmo",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .gated = true,
        .plain_norms = true,
        .names = {GATED_NAMES, ATTENTION_BIAS, .clip = "clip_qkv"},
        .defaults = SETTINGS(OLMO_DEFAULTS),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &olmo_tensors,
        .tokenizer_class = "GPTNeoXTokenizer",
    },
    {
        .model_type = "olmo2",
        LLAMA_ARITHMETIC,
        .head_norm = HEAD_NORM_WHOLE,
        .names = {LLAMA_NAMES, ATTENTION_BIAS},
        .defaults = SETTINGS(OLMO_DEFAULTS, {"rms_norm_eps", "1e-5"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &olmo2_tensors,
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
        .gguf = {
            .architecture = "olmo2", .metadata = METADATA(GGUF_ROTARY_ROWS), .tensors = &gguf_olmo2_tensors,
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "phi3",
        LLAMA_ARITHMETIC,
        .window = WINDOW_ALL_LAYERS,
        .rotary_part = 1,
        .names = {LLAMA_NAMES},
        .defaults = SETTINGS(
            {"vocab_size", "32064"}, {"hidden_size", "3072"}, {"intermediate_size", "8192"},
            {"num_hidden_layers", "32"}, {"num_attention_heads", "32"}, {"hidden_act", "\"silu\""},
            {"max_position_embeddings", "4096"}, {"original_max_position_embeddings", "4096"},
            {"rms_norm_eps", "1e-5"}, {"bos_token_id", "1"}),
        .tied = false,
        .ignored = NAMES("max_position_embeddings", "original_max_position_embeddings", "attention_bias"),
        .tensors = &phi3_tensors,
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
        .gguf = {
            .architecture = "phi3", .tensors = &gguf_phi3_tensors,
            .metadata = METADATA(GGUF_ROTARY_ROWS, GGUF_WINDOW("sliding_window")),
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "stablelm",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .gated = true,
        .rotary_part = 0.25,
        .block_norm = BLOCK_NORM_SHARED,
        .names = {
            GATED_NAMES, .norm_epsilon = "layer_norm_eps", .parallel = "use_parallel_residual",
            .query_key_value_bias = "use_qkv_bias",
        },
        .defaults = SETTINGS(
            {"vocab_size", "50304"}, {"hidden_size", "2560"}, {"intermediate_size", "6912"},
            {"num_hidden_layers", "32"}, {"num_attention_heads", "32"}, {"num_key_value_heads", "32"},
            {"hidden_act", "\"silu\""}, {"max_position_embeddings", "4096"}, {"layer_norm_eps", "1e-5"},
            {"use_qkv_bias", "false"}, {"use_parallel_residual", "false"}, {"bos_token_id", "0"}),
        .tied = false,
        .fixed = SETTINGS({"qk_layernorm", "false"}),
        .ignored = ROTARY_IGNORED,
        .tensors = &stablelm_tensors,
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
        .gguf = {
            .architecture = "stablelm", .tensors = &gguf_stablelm_tensors,
            .metadata = METADATA(
                GGUF_SIZES, GGUF_LAYER_NORM("layer_norm_eps"),
                {"use_parallel_residual", "use_parallel_residual", METADATA_NEEDED_FLAG}),
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "cohere",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .gated = true,
        .rotary_base = 500000,
        .block_norm = BLOCK_NORM_SHARED,
        .head_norm = HEAD_NORM_OWN,
        .names = {
            GATED_NAMES, ATTENTION_BIAS, .norm_epsilon = "layer_norm_eps", .head_norm = "use_qk_norm",
            .logit_scale = "logit_scale",
        },
        .defaults = SETTINGS(COHERE_DEFAULTS, {"use_qk_norm", "false"}),
        .tied = true,
        .ignored = NAMES("max_position_embeddings", "model_max_length"),
        .tensors = &cohere_tensors,
        .tokenizer_class = "CohereTokenizer",
        .gguf = {
            .architecture = "command-r", .tensors = &gguf_cohere_tensors,
            .metadata = METADATA(
                GGUF_SIZES, GGUF_LAYER_NORM("layer_norm_eps"),
                {"logit_scale", "logit_scale", METADATA_NEEDED_REAL}),
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
    },
    {
        .model_type = "cohere2",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .gated = true,
        .block_norm = BLOCK_NORM_SHARED,
        .window = WINDOW_PATTERN,
        .rotary_layers = ROTARY_WINDOW_LAYERS,
        .names = {
            USUAL_SIZES, .d_ff = "intermediate_size", .activation = "hidden_act",
            .key_value_heads = "num_key_value_heads", ATTENTION_BIAS, .norm_epsilon = "layer_norm_eps",
            .logit_scale = "logit_scale",
        },
        .defaults = SETTINGS(
            COHERE_DEFAULTS, {"sliding_window", "4096"}, {"sliding_window_pattern", "4"}),
        .tied = true,
        .fixed = SETTINGS({"use_qk_norm", "false"}),
        .ignored = NAMES(
            "max_position_embeddings", "head_dim", "cache_implementation", "layer_switch",
            "order_of_interleaved_layers", "position_embedding_type", "rotary_pct", "use_embedding_sharing",
            "use_gated_activation", "use_parallel_block", "use_parallel_embedding"),
        .tensors = &cohere_tensors,
        .tokenizer_class = "CohereTokenizer",
    },
    {.model_type = NULL},
};
