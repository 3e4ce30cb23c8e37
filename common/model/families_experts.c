/* Families whose layers are mixtures of experts, and otherwise as Llama's, or nearly so. */
#include "model/family_rows.h"
#include "model/family_settings.h"

#define EXPERTS(...) ((const struct expert_names[]){__VA_ARGS__, {.router = NULL}})

/* The form in which transformers 5 has a layer's experts, and the same of a tensor an expert. */
#define PACKED_EXPERTS \
    {.router = "layers.%zu.mlp.gate.weight", .gates_and_keys = "layers.%zu.mlp.experts.gate_up_proj", \
     .values = "layers.%zu.mlp.experts.down_proj", .packed = true}
#define SINGLE_EXPERTS \
    {.router = "layers.%zu.mlp.gate.weight", .gates = "layers.%zu.mlp.experts.%zu.gate_proj.weight", \
     .keys = "layers.%zu.mlp.experts.%zu.up_proj.weight", \
     .values = "layers.%zu.mlp.experts.%zu.down_proj.weight"}
#define GGUF_EXPERTS \
    .experts = EXPERTS( \
        {.router = "blk.%zu.ffn_gate_inp.weight", .gates = "blk.%zu.ffn_gate_exps.weight", \
         .keys = "blk.%zu.ffn_up_exps.weight", .values = "blk.%zu.ffn_down_exps.weight", .packed = true})

/* The block of layers that have no experts, where some have. */
#define PLAIN_BLOCK \
    TENSOR("layers.%zu.mlp.gate_proj.weight", gates, D_FF, D_MODEL, PLAIN, 0, NO_EXPERTS), \
    TENSOR("layers.%zu.mlp.up_proj.weight", keys, D_FF, D_MODEL, PLAIN, 0, NO_EXPERTS), \
    TENSOR("layers.%zu.mlp.down_proj.weight", values, D_MODEL, D_FF, PLAIN, 0, NO_EXPERTS)
/* The expert that all positions have; names of its three matrices and of its router. */
#define SHARED_EXPERT(gate_name, up_name, down_name, router_name) \
    TENSOR(gate_name, shared.gates, SHARED, D_MODEL, PLAIN, 0, EXPERTS), \
    TENSOR(up_name, shared.keys, SHARED, D_MODEL, PLAIN, 0, EXPERTS), \
    TENSOR(down_name, shared.values, D_MODEL, SHARED, PLAIN, 0, EXPERTS), \
    TENSOR(router_name, shared_router, ONE, D_MODEL, PLAIN, 0, EXPERTS)

static const struct tensor_names mixtral_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(LLAMA_ATTENTION),
    .experts = EXPERTS(
        {.router = "layers.%zu.block_sparse_moe.gate.weight",
         .gates = "layers.%zu.block_sparse_moe.experts.%zu.w1.weight",
         .keys = "layers.%zu.block_sparse_moe.experts.%zu.w3.weight",
         .values = "layers.%zu.block_sparse_moe.experts.%zu.w2.weight"},
        PACKED_EXPERTS),
};

static const struct tensor_names olmoe_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS),
        GATED_ATTENTION,
        GAIN("layers.%zu.self_attn.q_norm", query_norm_gain, QUERY, ALWAYS),
        GAIN("layers.%zu.self_attn.k_norm", key_norm_gain, KEY_VALUE, ALWAYS),
        GAIN("layers.%zu.post_attention_layernorm", ffn_norm_gain, D_MODEL, ALWAYS)),
    .experts = EXPERTS(SINGLE_EXPERTS, PACKED_EXPERTS),
};

static const struct tensor_names qwen2_moe_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        LLAMA_ATTENTION,
        PLAIN_BLOCK,
        SHARED_EXPERT("layers.%zu.mlp.shared_expert.gate_proj.weight",
                      "layers.%zu.mlp.shared_expert.up_proj.weight",
                      "layers.%zu.mlp.shared_expert.down_proj.weight",
                      "layers.%zu.mlp.shared_expert_gate.weight")),
    .experts = EXPERTS(SINGLE_EXPERTS, PACKED_EXPERTS),
};

static const struct tensor_names qwen3_moe_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(LLAMA_ATTENTION, PLAIN_BLOCK),
    .experts = EXPERTS(SINGLE_EXPERTS, PACKED_EXPERTS),
};

static const struct tensor_names gguf_mixtral_tensors = {
    GGUF_TENSORS, .layers = TENSORS(GGUF_ROTARY_ATTENTION(PAIRED)), GGUF_EXPERTS};

static const struct tensor_names gguf_olmoe_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
        GGUF_ATTENTION(PLAIN),
        GAIN("blk.%zu.attn_q_norm", query_norm_gain, QUERY, ALWAYS),
        GAIN("blk.%zu.attn_k_norm", key_norm_gain, KEY_VALUE, ALWAYS),
        GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS)),
    GGUF_EXPERTS,
};

static const struct tensor_names gguf_qwen2_moe_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GGUF_ROTARY_ATTENTION(PLAIN),
        SHARED_EXPERT("blk.%zu.ffn_gate_shexp.weight", "blk.%zu.ffn_up_shexp.weight",
                      "blk.%zu.ffn_down_shexp.weight", "blk.%zu.ffn_gate_inp_shexp.weight")),
    GGUF_EXPERTS,
};

static const struct tensor_names gguf_qwen3_moe_tensors = {
    GGUF_TENSORS, .layers = TENSORS(GGUF_ROTARY_ATTENTION(PLAIN)), GGUF_EXPERTS};

#define GPT_OSS_EXPERTS \
    .router = "layers.%zu.mlp.router.weight", .router_bias = "layers.%zu.mlp.router.bias", \
    .gates_and_keys_bias = "layers.%zu.mlp.experts.gate_up_proj_bias", \
    .values_bias = "layers.%zu.mlp.experts.down_proj_bias", .packed = true, .interleaved = true

static const struct tensor_names gpt_oss_tensors = {
    LLAMA_OUTSIDE,
    .layers = TENSORS(
        LLAMA_ATTENTION, TENSOR("layers.%zu.self_attn.sinks", sinks, HEADS, ONE, PLAIN, 0, ALWAYS)),
    .experts = EXPERTS(
        {GPT_OSS_EXPERTS, .gates_and_keys = "layers.%zu.mlp.experts.gate_up_proj",
         .values = "layers.%zu.mlp.experts.down_proj", .transposed = true},
        {GPT_OSS_EXPERTS, .gates_and_keys = "layers.%zu.mlp.experts.gate_up_proj_blocks",
         .gates_and_keys_scales = "layers.%zu.mlp.experts.gate_up_proj_scales",
         .values = "layers.%zu.mlp.experts.down_proj_blocks",
         .values_scales = "layers.%zu.mlp.experts.down_proj_scales"}),
};

static const struct tensor_names gguf_gpt_oss_tensors = {
    GGUF_TENSORS,
    .layers = TENSORS(
        GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
        GGUF_ATTENTION(PLAIN),
        TENSOR("blk.%zu.attn_sinks.weight", sinks, HEADS, ONE, PLAIN, 0, ALWAYS),
        GAIN("blk.%zu.post_attention_norm", ffn_norm_gain, D_MODEL, ALWAYS)),
    .experts = EXPERTS(
        {.router = "blk.%zu.ffn_gate_inp.weight", .router_bias = "blk.%zu.ffn_gate_inp.bias",
         .gates = "blk.%zu.ffn_gate_exps.weight", .gates_bias = "blk.%zu.ffn_gate_exps.bias",
         .keys = "blk.%zu.ffn_up_exps.weight", .keys_bias = "blk.%zu.ffn_up_exps.bias",
         .values = "blk.%zu.ffn_down_exps.weight", .values_bias = "blk.%zu.ffn_down_exps.bias",
         .packed = true}),
};

#define QWEN_EXPERT_NAMES \
    .experts = "num_experts", .chosen_experts = "num_experts_per_tok", \
    .expert_width = "moe_intermediate_size", .experts_normalized = "norm_topk_prob", \
    .expert_step = "decoder_sparse_step", .plain_layers = "mlp_only_layers"
#define QWEN_EXPERT_DEFAULTS \
    {"vocab_size", "151936"}, {"hidden_size", "2048"}, {"num_hidden_layers", "24"}, \
    {"hidden_act", "\"silu\""}, {"max_position_embeddings", "32768"}, {"rms_norm_eps", "1e-6"}, \
    {"use_sliding_window", "false"}, {"sliding_window", "4096"}, {"decoder_sparse_step", "1"}, \
    {"norm_topk_prob", "false"}
#define GGUF_EXPERT_ROWS \
    GGUF_ROTARY_ROWS, {"expert_count", "num_experts", METADATA_NEEDED_NUMBER}, \
    {"expert_used_count", "num_experts_per_tok", METADATA_NEEDED_NUMBER}
#define GGUF_QWEN_EXPERT_ROWS \
    GGUF_EXPERT_ROWS, {"expert_feed_forward_length", "moe_intermediate_size", METADATA_NEEDED_NUMBER}
/* What no metadata say: as llama.cpp has it. */
#define GGUF_EXPERT_SETTINGS(normalized) {"hidden_act", "\"silu\""}, {"norm_topk_prob", normalized}
#define GGUF_QWEN_EXPERT_SETTINGS(normalized) \
    GGUF_EXPERT_SETTINGS(normalized), {"decoder_sparse_step", "1"}, {"use_sliding_window", "false"}

const struct family expert_families[] = {
    {
        .model_type = "mixtral",
        LLAMA_ARITHMETIC,
        .window = WINDOW_ALL_LAYERS,
        .rotary_base = 1e6,
        .names = {LLAMA_NAMES, .experts = "num_local_experts", .chosen_experts = "num_experts_per_tok"},
        .aliases = SETTINGS({"num_experts", "num_local_experts"}),
        .defaults = SETTINGS(
            {"rms_norm_eps", "1e-5"}, LLAMA_DEFAULTS, {"vocab_size", "32000"}, {"intermediate_size", "14336"},
            {"num_key_value_heads", "8"}, {"max_position_embeddings", "131072"}, {"bos_token_id", "1"},
            {"num_local_experts", "8"}, {"num_experts_per_tok", "2"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &mixtral_tensors,
        .gguf = {
            .architecture = "llama", .tensors = &gguf_mixtral_tensors,
            .metadata = METADATA(
                GGUF_EXPERT_ROWS, GGUF_WINDOW("sliding_window"),
                {"rope.freq_base", "rope_theta", METADATA_NEEDED_REAL}),
            .settings = SETTINGS({"hidden_act", "\"silu\""}),
        },
        .tokenizer_class = "TokenizersBackend",
        .tokenizer_class_forced = true,
    },
    {
        .model_type = "olmoe",
        LLAMA_ARITHMETIC,
        .head_norm = HEAD_NORM_WHOLE,
        .names = {
            LLAMA_NAMES, ATTENTION_BIAS, .clip = "clip_qkv", .experts = "num_experts",
            .chosen_experts = "num_experts_per_tok", .experts_normalized = "norm_topk_prob",
        },
        .aliases = SETTINGS({"num_local_experts", "num_experts"}),
        .defaults = SETTINGS(
            {"vocab_size", "50304"}, {"hidden_size", "2048"}, {"intermediate_size", "2048"},
            {"num_hidden_layers", "16"}, {"num_attention_heads", "16"}, {"hidden_act", "\"silu\""},
            {"max_position_embeddings", "4096"}, {"rms_norm_eps", "1e-5"}, {"attention_bias", "false"},
            {"num_experts", "64"}, {"num_experts_per_tok", "8"}, {"norm_topk_prob", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &olmoe_tensors,
        .gguf = {
            .architecture = "olmoe", .metadata = METADATA(GGUF_EXPERT_ROWS), .tensors = &gguf_olmoe_tensors,
            .settings = SETTINGS(GGUF_EXPERT_SETTINGS("false")),
        },
        .tokenizer_class = "GPTNeoXTokenizer",
    },
    {
        .model_type = "qwen2_moe",
        LLAMA_ARITHMETIC,
        .window = WINDOW_EARLY_LAYERS,
        .names = {
            LLAMA_NAMES, QWEN_EXPERT_NAMES, .query_key_value_bias = "qkv_bias",
            .shared_width = "shared_expert_intermediate_size",
        },
        .defaults = SETTINGS(
            QWEN_EXPERT_DEFAULTS, {"intermediate_size", "5632"}, {"num_attention_heads", "16"},
            {"num_key_value_heads", "16"}, {"max_window_layers", "28"}, {"moe_intermediate_size", "1408"},
            {"shared_expert_intermediate_size", "5632"}, {"num_experts_per_tok", "4"}, {"num_experts", "60"},
            {"qkv_bias", "true"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &qwen2_moe_tensors,
        .gguf = {
            .architecture = "qwen2moe", .tensors = &gguf_qwen2_moe_tensors,
            .metadata = METADATA(
                GGUF_QWEN_EXPERT_ROWS,
                {"expert_shared_feed_forward_length", "shared_expert_intermediate_size",
                 METADATA_NEEDED_NUMBER}),
            .settings = SETTINGS(
                GGUF_QWEN_EXPERT_SETTINGS("false"), {"max_window_layers", "0"}, {"qkv_bias", "true"}),
        },
        .tokenizer_class = "Qwen2Tokenizer",
    },
    {
        .model_type = "qwen3_moe",
        LLAMA_ARITHMETIC,
        .head_norm = HEAD_NORM_SHARED,
        .window = WINDOW_ALL_LAYERS,
        .names = {LLAMA_NAMES, ATTENTION_BIAS, QWEN_EXPERT_NAMES},
        .aliases = SETTINGS({"num_local_experts", "num_experts"}),
        .defaults = SETTINGS(
            QWEN_EXPERT_DEFAULTS, {"intermediate_size", "6144"}, {"num_attention_heads", "32"},
            {"num_key_value_heads", "4"}, {"attention_bias", "false"}, {"moe_intermediate_size", "768"},
            {"num_experts_per_tok", "8"}, {"num_experts", "128"}),
        .tied = false,
        .ignored = NAMES("max_position_embeddings", "max_window_layers"),
        .read = read_qwen3_moe,
        .tensors = &qwen3_moe_tensors,
        .gguf = {
            .architecture = "qwen3moe", .metadata = METADATA(GGUF_QWEN_EXPERT_ROWS),
            .tensors = &gguf_qwen3_moe_tensors,
            .settings = SETTINGS(GGUF_QWEN_EXPERT_SETTINGS("true"), {"attention_bias", "false"}),
        },
        .tokenizer_class = "Qwen2Tokenizer",
    },
    {
        .model_type = "gpt_oss",
        LLAMA_ARITHMETIC,
        .window = WINDOW_PATTERN,
        .window_pattern = 2,
        .rotary_base = 150000,
        .names = {
            LLAMA_NAMES, ATTENTION_BIAS, .experts = "num_local_experts",
            .chosen_experts = "num_experts_per_tok", .gate_limit = "swiglu_limit",
        },
        .aliases = SETTINGS(
            {"num_experts", "num_local_experts"}, {"experts_per_token", "num_experts_per_tok"}),
        .defaults = SETTINGS(
            {"vocab_size", "201088"}, {"hidden_size", "2880"}, {"intermediate_size", "2880"},
            {"num_hidden_layers", "36"}, {"num_attention_heads", "64"}, {"num_key_value_heads", "8"},
            {"head_dim", "64"}, {"hidden_act", "\"silu\""}, {"rms_norm_eps", "1e-5"},
            {"max_position_embeddings", "131072"}, {"sliding_window", "128"}, {"attention_bias", "true"},
            {"num_local_experts", "128"}, {"num_experts_per_tok", "4"}, {"swiglu_limit", "7.0"}),
        .tied = false,
        .fixed = SETTINGS({"hidden_act", "\"silu\""}, {"swiglu_alpha", "1.702"}),
        .ignored = NAMES("max_position_embeddings", "initial_context_length"),
        .read = read_gpt_oss,
        .tensors = &gpt_oss_tensors,
        .gguf = {
            .architecture = "gpt-oss", .tensors = &gguf_gpt_oss_tensors,
            .metadata = METADATA(
                GGUF_ROTARY_ROWS, GGUF_WINDOW("sliding_window"),
                {"expert_feed_forward_length", "intermediate_size", METADATA_NEEDED_NUMBER},
                {"expert_count", "num_local_experts", METADATA_NEEDED_NUMBER},
                {"expert_used_count", "num_experts_per_tok", METADATA_NEEDED_NUMBER}),
            .settings = SETTINGS({"rope_parameters", "{}"}),
            .yarn_not_truncated = true,
        },
    },
    {.model_type = NULL},
};
