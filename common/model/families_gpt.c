/* Families whose feed-forward layers are not gated. */
#include "model/family_rows.h"
#include "model/family_settings.h"

/* Attention and the block as fairseq calls them, without norms. */
#define FAIRSEQ_ATTENTION \
    LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.self_attn.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS)
#define FAIRSEQ_BLOCK \
    LINEAR("layers.%zu.fc1", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("layers.%zu.fc2", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)

/* Of architectures with one tensor for queries, keys and values, and biases everywhere. */
#define GGUF_LAYERS TENSORS( \
    NORM("blk.%zu.attn_norm", attention_norm), \
    ALL_OF_ATTENTION("blk.%zu.attn_qkv", STACKED, ALWAYS), \
    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS), \
    NORM("blk.%zu.ffn_norm", ffn_norm), \
    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS), \
    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS))

const struct family gpt_families[] = {
    {
        .model_type = "fairseq_transformer_lm", /* as import-model writes it */
        .reference = "fairseq",
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
            .layers = TENSORS(
                FAIRSEQ_ATTENTION,
                NORM("layers.%zu.self_attn_layer_norm", attention_norm),
                FAIRSEQ_BLOCK,
                NORM("layers.%zu.final_layer_norm", ffn_norm)),
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
                .layers = GGUF_LAYERS,
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
            .context = "max_position_embeddings", .word_width = "word_embed_proj_dim",
            .normed_inputs = "do_layer_norm_before",
        },
        .defaults = SETTINGS(
            {"vocab_size", "50272"}, {"hidden_size", "768"}, {"num_hidden_layers", "12"}, {"ffn_dim", "3072"},
            {"max_position_embeddings", "2048"}, {"num_attention_heads", "12"},
            {"activation_function", "\"relu\""}, {"bos_token_id", "2"}, {"do_layer_norm_before", "true"},
            {"_remove_final_layer_norm", "false"}),
        .tied = true,
        .fixed = SETTINGS({"enable_bias", "true"}, {"layer_norm_elementwise_affine", "true"}),
        .read = read_opt,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("model.decoder.", "decoder."),
            .layers = TENSORS(
                FAIRSEQ_ATTENTION,
                NORM_WHERE("layers.%zu.self_attn_layer_norm", attention_norm, NORMED_INPUTS),
                NORM_WHERE("layers.%zu.self_attn_layer_norm", attention_sum_norm, NORMED_SUMS),
                FAIRSEQ_BLOCK,
                NORM_WHERE("layers.%zu.final_layer_norm", ffn_norm, NORMED_INPUTS),
                NORM_WHERE("layers.%zu.final_layer_norm", ffn_sum_norm, NORMED_SUMS)),
            .embeddings = "embed_tokens.weight",
            .output = "lm_head.weight",
            .words_in = "project_in.weight",
            .words_out = "project_out.weight",
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
        .rotary_rounds = true,
        .block_norm = BLOCK_NORM_PARALLEL,
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
        .gguf = {
            .architecture = "gptneox",
            .metadata = METADATA(
                GGUF_SIZES_UNGROUPED, GGUF_D_FF, GGUF_LAYER_NORM("layer_norm_eps"),
                {"use_parallel_residual", "use_parallel_residual", METADATA_NEEDED_FLAG}),
            .by_tensors = BY_TENSORS({"blk.0.attn_qkv.bias", "attention_bias", "true", "false"}),
            .settings = SETTINGS({"hidden_act", "\"gelu\""}),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    NORM("blk.%zu.attn_norm", attention_norm),
                    ALL_OF_ATTENTION("blk.%zu.attn_qkv", STACKED, QKV_BIAS),
                    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
                    NORM("blk.%zu.ffn_norm", ffn_norm),
                    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
                .final_norm_bias = "output_norm.bias",
            },
        },
        .tokenizer_class = "GPTNeoXTokenizer",
    },
    {
        .model_type = "gpt_neo",
        .norm = NORM_LAYER,
        .position = POSITION_LEARNED,
        .window = WINDOW_LOCAL_LAYERS,
        .attention_scale = 1,
        .names = {
            .layers = "num_layers", .d_model = "hidden_size", .d_ff = "intermediate_size",
            .heads = "num_heads", .activation = "activation_function", .norm_epsilon = "layer_norm_epsilon",
            .context = "max_position_embeddings", .window = "window_size",
        },
        .aliases = SETTINGS({"num_hidden_layers", "num_layers"}, {"num_attention_heads", "num_heads"}),
        .defaults = SETTINGS(
            {"vocab_size", "50257"}, {"max_position_embeddings", "2048"}, {"hidden_size", "2048"},
            {"num_layers", "24"}, {"num_heads", "16"}, {"window_size", "256"},
            {"attention_types", "[[[\"global\", \"local\"], 12]]"}, {"activation_function", "\"gelu_new\""},
            {"layer_norm_epsilon", "1e-5"}, {"bos_token_id", "50256"}),
        .tied = true,
        .d_ff_ratio = 4,
        .ignored = NAMES("embed_dropout", "resid_dropout"),
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                NORM("h.%zu.ln_1", attention_norm),
                WEIGHT("h.%zu.attn.attention.q_proj", query, QUERY, D_MODEL, PLAIN, 0),
                WEIGHT("h.%zu.attn.attention.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0),
                WEIGHT("h.%zu.attn.attention.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0),
                LINEAR("h.%zu.attn.attention.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
                NORM("h.%zu.ln_2", ffn_norm),
                LINEAR("h.%zu.mlp.c_fc", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("h.%zu.mlp.c_proj", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
            .embeddings = "wte.weight",
            .output = "lm_head.weight",
            .positions = "wpe.weight",
            .final_norm_gain = "ln_f.weight",
            .final_norm_bias = "ln_f.bias",
            .ignored = NAMES(".attn.attention.bias", ".attn.attention.masked_bias"),
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {
        .model_type = "gptj",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .block_norm = BLOCK_NORM_SHARED,
        .names = {
            .layers = "n_layer", .d_model = "n_embd", .d_ff = "n_inner", .heads = "n_head",
            .activation = "activation_function", .norm_epsilon = "layer_norm_epsilon",
            .rotary_width = "rotary_dim",
        },
        .aliases = SETTINGS(
            {"hidden_size", "n_embd"}, {"num_attention_heads", "n_head"}, {"num_hidden_layers", "n_layer"}),
        .defaults = SETTINGS(
            {"vocab_size", "50400"}, {"n_embd", "4096"}, {"n_layer", "28"}, {"n_head", "16"},
            {"rotary_dim", "64"}, {"activation_function", "\"gelu_new\""}, {"layer_norm_epsilon", "1e-5"},
            {"bos_token_id", "50256"}),
        .tied = false,
        .d_ff_ratio = 4,
        .fixed = SETTINGS({"scale_attn_weights", "true"}), /* in files of before, which say what is so */
        .ignored = NAMES("n_positions", "max_position_embeddings", "rotary"), /* nothing ends there */
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                NORM("h.%zu.ln_1", attention_norm),
                WEIGHT("h.%zu.attn.q_proj", query, QUERY, D_MODEL, PAIRED, 0),
                WEIGHT("h.%zu.attn.k_proj", key, KEY_VALUE, D_MODEL, PAIRED, 0),
                WEIGHT("h.%zu.attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0),
                WEIGHT("h.%zu.attn.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0),
                NORM("h.%zu.ln_1", ffn_norm),
                LINEAR("h.%zu.mlp.fc_in", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("h.%zu.mlp.fc_out", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
            .embeddings = "wte.weight",
            .output = "lm_head.weight",
            .output_bias = "lm_head.bias",
            .final_norm_gain = "ln_f.weight",
            .final_norm_bias = "ln_f.bias",
            .ignored = NAMES(".attn.bias", ".attn.masked_bias", ".attn.embed_positions"),
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {
        .model_type = "phi",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .rotary_part = 0.5,
        .block_norm = BLOCK_NORM_SHARED,
        .query_key_value_bias = true,
        .head_norm = HEAD_NORM_SHARED,
        .names = {GATED_NAMES, .norm_epsilon = "layer_norm_eps", .head_norm = "qk_layernorm"},
        .defaults = SETTINGS(
            {"vocab_size", "51200"}, {"hidden_size", "2048"}, {"intermediate_size", "8192"},
            {"num_hidden_layers", "24"}, {"num_attention_heads", "32"}, {"hidden_act", "\"gelu_new\""},
            {"max_position_embeddings", "2048"}, {"layer_norm_eps", "1e-5"}, {"bos_token_id", "1"},
            {"qk_layernorm", "false"}),
        .tied = false,
        .ignored = ROTARY_IGNORED,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("model.", ""),
            .layers = TENSORS(
                NORM("layers.%zu.input_layernorm", attention_norm),
                LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, ALWAYS),
                GAIN("layers.%zu.self_attn.q_layernorm", query_norm_gain, HEAD, HEAD_NORMS),
                TENSOR("layers.%zu.self_attn.q_layernorm.bias", query_norm_bias, HEAD, ONE, PLAIN, 0,
                       HEAD_NORMS),
                GAIN("layers.%zu.self_attn.k_layernorm", key_norm_gain, HEAD, HEAD_NORMS),
                TENSOR("layers.%zu.self_attn.k_layernorm.bias", key_norm_bias, HEAD, ONE, PLAIN, 0,
                       HEAD_NORMS),
                LINEAR("layers.%zu.self_attn.dense", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
                NORM("layers.%zu.input_layernorm", ffn_norm),
                LINEAR("layers.%zu.mlp.fc1", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("layers.%zu.mlp.fc2", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
            .embeddings = "embed_tokens.weight",
            .output = "lm_head.weight",
            .output_bias = "lm_head.bias",
            .final_norm_gain = "final_layernorm.weight",
            .final_norm_bias = "final_layernorm.bias",
            .ignored = NAMES(".rotary_emb.inv_freq"),
        },
        .gguf = {
            .architecture = "phi2",
            .metadata = METADATA(GGUF_SIZES, GGUF_LAYER_NORM("layer_norm_eps")),
            .settings = SETTINGS({"hidden_act", "\"gelu_new\""}),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    NORM("blk.%zu.attn_norm", attention_norm),
                    GGUF_ATTENTION(PLAIN),
                    NORM("blk.%zu.attn_norm", ffn_norm),
                    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
                .final_norm_bias = "output_norm.bias",
                .output_bias = "output.bias",
            },
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {
        .model_type = "falcon",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY, /* or ALiBi */
        .names = {
            USUAL_SIZES, .d_ff = "ffn_hidden_size", .activation = "activation",
            .norm_epsilon = "layer_norm_epsilon", .query_key_value_bias = "bias", .output_bias = "bias",
            .ffn_bias = "bias",
        },
        .aliases = SETTINGS({"n_embed", "hidden_size"}),
        .defaults = SETTINGS(
            {"vocab_size", "65024"}, {"hidden_size", "4544"}, {"num_hidden_layers", "32"},
            {"num_attention_heads", "71"}, {"layer_norm_epsilon", "1e-5"}, {"alibi", "false"},
            {"new_decoder_architecture", "false"}, {"multi_query", "true"}, {"parallel_attn", "true"},
            {"bias", "false"}, {"max_position_embeddings", "2048"}, {"activation", "\"gelu\""},
            {"bos_token_id", "11"}),
        .tied = true,
        .d_ff_ratio = 4,
        .ignored = ROTARY_IGNORED,
        .read = read_falcon,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                NORM_WHERE("h.%zu.input_layernorm", attention_norm, NOT_PARALLEL),
                NORM_WHERE("h.%zu.ln_attn", attention_norm, PARALLEL),
                ALL_OF_ATTENTION("h.%zu.self_attention.query_key_value", INTERLEAVED, QKV_BIAS),
                LINEAR("h.%zu.self_attention.dense", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS),
                NORM_WHERE("h.%zu.input_layernorm", ffn_norm, SHARED),
                NORM_WHERE("h.%zu.post_attention_layernorm", ffn_norm, SEQUENTIAL),
                NORM_WHERE("h.%zu.ln_mlp", ffn_norm, PARALLEL),
                LINEAR("h.%zu.mlp.dense_h_to_4h", keys, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
                LINEAR("h.%zu.mlp.dense_4h_to_h", values, D_MODEL, D_FF, PLAIN, 0, FFN_BIAS)),
            .embeddings = "word_embeddings.weight",
            .output = "lm_head.weight",
            .final_norm_gain = "ln_f.weight",
            .final_norm_bias = "ln_f.bias",
            .ignored = NAMES(".rotary_emb.inv_freq"),
        },
        .gguf = {
            .architecture = "falcon",
            .metadata = METADATA(
                GGUF_SIZES_UNGROUPED, {"attention.head_count_kv", "num_kv_heads", METADATA_NEEDED_NUMBER},
                {"feed_forward_length", "ffn_hidden_size", METADATA_NEEDED_NUMBER},
                GGUF_LAYER_NORM("layer_norm_epsilon")),
            .by_tensors = BY_TENSORS({"blk.0.attn_norm_2.weight", "num_ln_in_parallel_attn", "2", "1"}),
            /* One key-value head is a group, too. */
            .settings = SETTINGS({"new_decoder_architecture", "true"}, {"activation", "\"gelu\""}),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    NORM_WHERE("blk.%zu.attn_norm", attention_norm, SHARED),
                    NORM_WHERE("blk.%zu.attn_norm_2", attention_norm, PARALLEL),
                    WEIGHTS_OF_ATTENTION("blk.%zu.attn_qkv"),
                    WEIGHT("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0),
                    NORM("blk.%zu.attn_norm", ffn_norm),
                    WEIGHT("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0),
                    WEIGHT("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0)),
                .final_norm_bias = "output_norm.bias",
            },
        },
    },
    {
        .model_type = "bloom",
        .norm = NORM_LAYER,
        .position = POSITION_ALIBI,
        .names = {
            .layers = "n_layer", .d_model = "hidden_size", .d_ff = "n_inner", .heads = "n_head",
            .activation = "hidden_act", .norm_epsilon = "layer_norm_epsilon",
        },
        .aliases = SETTINGS(
            {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"}, {"n_embed", "hidden_size"}),
        .defaults = SETTINGS(
            {"vocab_size", "250880"}, {"hidden_size", "64"}, {"n_layer", "2"}, {"n_head", "8"},
            {"layer_norm_epsilon", "1e-5"}, {"bos_token_id", "1"}, {"hidden_act", "\"gelu_new\""}),
        .tied = true,
        .d_ff_ratio = 4,
        .fixed = SETTINGS(
            {"hidden_act", "\"gelu_new\""}, {"apply_residual_connection_post_layernorm", "false"}),
        .ignored = NAMES(
            "attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi",
            "seq_length", "skip_bias_add", "skip_bias_add_qkv", "slow_but_exact", "unk_token_id"),
        .read = read_bloom,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                NORM("h.%zu.input_layernorm", attention_norm),
                ALL_OF_ATTENTION("h.%zu.self_attention.query_key_value", INTERLEAVED, ALWAYS),
                LINEAR("h.%zu.self_attention.dense", attention_output, D_MODEL, QUERY, PLAIN, 0, ALWAYS),
                NORM("h.%zu.post_attention_layernorm", ffn_norm),
                LINEAR("h.%zu.mlp.dense_h_to_4h", keys, D_FF, D_MODEL, PLAIN, 0, ALWAYS),
                LINEAR("h.%zu.mlp.dense_4h_to_h", values, D_MODEL, D_FF, PLAIN, 0, ALWAYS)),
            .embeddings = "word_embeddings.weight",
            .embedding_norm_gain = "word_embeddings_layernorm.weight",
            .embedding_norm_bias = "word_embeddings_layernorm.bias",
            .output = "lm_head.weight",
            .final_norm_gain = "ln_f.weight",
            .final_norm_bias = "ln_f.bias",
        },
        .gguf = {
            .architecture = "bloom",
            .metadata = METADATA(
                {"embedding_length", "hidden_size", METADATA_NEEDED_NUMBER},
                {"block_count", "n_layer", METADATA_NEEDED_NUMBER},
                {"feed_forward_length", "n_inner", METADATA_NUMBER},
                {"attention.head_count", "n_head", METADATA_NEEDED_NUMBER},
                {"attention.head_count_kv", "n_head", METADATA_NEEDED_NUMBER}, /* the same */
                GGUF_LAYER_NORM("layer_norm_epsilon")),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = GGUF_LAYERS,
                .embedding_norm_gain = "token_embd_norm.weight",
                .embedding_norm_bias = "token_embd_norm.bias",
                .final_norm_bias = "output_norm.bias",
            },
        },
    },
    {
        .model_type = "mpt",
        .norm = NORM_LAYER,
        .position = POSITION_ALIBI,
        .names = {
            .layers = "n_layers", .d_model = "d_model", .d_ff = "intermediate_size", .heads = "n_heads",
            .activation = "hidden_act", .norm_epsilon = "layer_norm_epsilon",
        },
        .aliases = SETTINGS(
            {"num_hidden_layers", "n_layers"}, {"num_attention_heads", "n_heads"},
            {"hidden_size", "d_model"}),
        .defaults = SETTINGS(
            {"vocab_size", "50368"}, {"d_model", "2048"}, {"n_layers", "24"}, {"n_heads", "16"},
            {"layer_norm_epsilon", "1e-5"}, {"hidden_act", "\"gelu\""}),
        .tied = true,
        .d_ff_ratio = 4,
        .fixed = SETTINGS({"hidden_act", "\"gelu\""}, {"expansion_ratio", "4"}, {"no_bias", "true"}),
        .ignored = NAMES(
            "emb_pdrop", "embedding_fraction", "init_config", "init_device", "learned_pos_emb", "max_seq_len",
            "norm_type", "tokenizer_name", "verbose"),
        .read = read_mpt,
        .tensors = &(const struct tensor_names){
            .prefixes = NAMES("transformer.", ""),
            .layers = TENSORS(
                GAIN("blocks.%zu.norm_1", attention_norm_gain, D_MODEL, ALWAYS),
                WEIGHTS_OF_ATTENTION("blocks.%zu.attn.Wqkv"),
                WEIGHT("blocks.%zu.attn.out_proj", attention_output, D_MODEL, QUERY, PLAIN, 0),
                GAIN("blocks.%zu.norm_2", ffn_norm_gain, D_MODEL, ALWAYS),
                WEIGHT("blocks.%zu.ffn.up_proj", keys, D_FF, D_MODEL, PLAIN, 0),
                WEIGHT("blocks.%zu.ffn.down_proj", values, D_MODEL, D_FF, PLAIN, 0)),
            .embeddings = "wte.weight",
            .output = "lm_head.weight",
            .final_norm_gain = "norm_f.weight",
        },
        .tokenizer_class = "GPTNeoXTokenizer",
        .gguf = {
            .architecture = "mpt",
            .object = "attn_config",
            .metadata = METADATA(
                {"embedding_length", "d_model", METADATA_NEEDED_NUMBER},
                {"block_count", "n_layers", METADATA_NEEDED_NUMBER},
                {"feed_forward_length", "intermediate_size", METADATA_NEEDED_NUMBER},
                {"attention.head_count", "n_heads", METADATA_NEEDED_NUMBER},
                {"attention.clamp_kqv", "attn_config.clip_qkv", METADATA_NONZERO_REAL},
                {"attention.max_alibi_bias", "attn_config.alibi_bias_max", METADATA_NEEDED_REAL},
                GGUF_LAYER_NORM("layer_norm_epsilon")),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS),
                    WEIGHTS_OF_ATTENTION("blk.%zu.attn_qkv"),
                    WEIGHT("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0),
                    GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS),
                    WEIGHT("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0),
                    WEIGHT("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0)),
            },
        },
    },
    {
        .model_type = "starcoder2",
        .norm = NORM_LAYER,
        .position = POSITION_ROTARY,
        .window = WINDOW_ALL_LAYERS,
        .names = {
            GATED_NAMES, .norm_epsilon = "norm_epsilon", .query_key_value_bias = "use_bias",
            .output_bias = "use_bias", .ffn_bias = "use_bias",
        },
        .defaults = SETTINGS(
            {"vocab_size", "49152"}, {"hidden_size", "3072"}, {"intermediate_size", "12288"},
            {"num_hidden_layers", "30"}, {"num_attention_heads", "24"}, {"num_key_value_heads", "2"},
            {"hidden_act", "\"gelu_pytorch_tanh\""}, {"max_position_embeddings", "4096"},
            {"norm_epsilon", "1e-5"}, {"bos_token_id", "50256"}, {"use_bias", "true"}),
        .tied = true,
        .ignored = NAMES(
            "max_position_embeddings", "residual_dropout", "embedding_dropout", "mlp_type", "norm_type"),
        .tensors = &(const struct tensor_names){
            LLAMA_OUTSIDE,
            .layers = TENSORS(
                NORM("layers.%zu.input_layernorm", attention_norm),
                LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, QKV_BIAS),
                LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
                LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS),
                LINEAR("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0,
                       OUTPUT_BIAS),
                NORM("layers.%zu.post_attention_layernorm", ffn_norm),
                LINEAR("layers.%zu.mlp.c_fc", keys, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS),
                LINEAR("layers.%zu.mlp.c_proj", values, D_MODEL, D_FF, PLAIN, 0, FFN_BIAS)),
            .final_norm_bias = "norm.bias",
        },
        .gguf = {
            .architecture = "starcoder2",
            .metadata = METADATA(GGUF_SIZES, GGUF_LAYER_NORM("norm_epsilon"), GGUF_WINDOW("sliding_window")),
            .settings = SETTINGS({"hidden_act", "\"gelu_pytorch_tanh\""}),
            .tensors = &(const struct tensor_names){
                GGUF_TENSORS,
                .layers = TENSORS(
                    NORM("blk.%zu.attn_norm", attention_norm),
                    GGUF_ATTENTION(PLAIN),
                    NORM("blk.%zu.ffn_norm", ffn_norm),
                    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, OPTIONAL),
                    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, OPTIONAL)),
                .final_norm_bias = "output_norm.bias",
            },
        },
        .tokenizer_class = "GPT2Tokenizer",
    },
    {.model_type = NULL},
};
