/*
 * What the tables of families are written with, and the tables. Each ends with an entry
 * that has no model_type.
 */
#ifndef FFKV_FAMILY_ROWS_H
#define FFKV_FAMILY_ROWS_H

#include "model/families.h"
#include "model/model.h"

#include <stddef.h>

extern const struct family gpt_families[], llama_families[], gemma_families[], expert_families[];

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SETTINGS(...) ((const struct known_setting[]){__VA_ARGS__, {NULL, NULL}})
#define BY_TENSORS(...) ((const struct tensor_setting[]){__VA_ARGS__, {NULL, NULL, NULL, NULL}})
#define METADATA(...) ((const struct metadata_row[]){__VA_ARGS__, {NULL, NULL, METADATA_NUMBER}})

/* ---- tensors of the layers ---- */

#define TENSORS(...) \
    ((const struct tensor_row[]){ \
        __VA_ARGS__, {NULL, 0, SIZE_ONE, SIZE_ONE, LAYOUT_PLAIN, 0, PRESENCE_ALWAYS}})
#define TENSOR(name, field, rows, columns, layout, part, when) \
    {name, offsetof(struct model_layer, field), SIZE_##rows, SIZE_##columns, LAYOUT_##layout, part, \
     PRESENCE_##when}
#define GAIN(name, field, rows, when) TENSOR(name ".weight", field, rows, ONE, GAIN, 0, when)
#define NORM(name, field) \
    GAIN(name, field##_gain, D_MODEL, ALWAYS), \
    TENSOR(name ".bias", field##_bias, D_MODEL, ONE, PLAIN, 0, ALWAYS)
#define LINEAR(name, field, rows, columns, layout, part, when) \
    TENSOR(name ".weight", field, rows, columns, layout, part, ALWAYS), \
    TENSOR(name ".bias", field##_bias, rows, ONE, layout, part, when)
#define WEIGHT(name, field, rows, columns, layout, part) \
    TENSOR(name ".weight", field, rows, columns, layout, part, ALWAYS)
/* A norm that only some models of a family have. */
#define NORM_WHERE(name, field, when) \
    GAIN(name, field##_gain, D_MODEL, when), TENSOR(name ".bias", field##_bias, D_MODEL, ONE, PLAIN, 0, when)
/* One tensor for queries, keys and values. */
#define ALL_OF_ATTENTION(name, layout, when) \
    LINEAR(name, query, QUERY, D_MODEL, layout, 0, when), \
    LINEAR(name, key, KEY_VALUE, D_MODEL, layout, 1, when), \
    LINEAR(name, value, KEY_VALUE, D_MODEL, layout, 2, when)
/* The same without biases. */
#define WEIGHTS_OF_ATTENTION(name) \
    WEIGHT(name, query, QUERY, D_MODEL, STACKED, 0), \
    WEIGHT(name, key, KEY_VALUE, D_MODEL, STACKED, 1), \
    WEIGHT(name, value, KEY_VALUE, D_MODEL, STACKED, 2)

/* Queries and keys are paired where the GGUF architecture rotates neighbouring dimensions together. */
#define GGUF_ROTARY_LAYERS(layout) TENSORS(GGUF_ROTARY_ATTENTION(layout), GGUF_GATED_BLOCK)

#define GGUF_ROTARY_ATTENTION(layout) \
    GAIN("blk.%zu.attn_norm", attention_norm_gain, D_MODEL, ALWAYS), \
    GGUF_ATTENTION(layout), \
    GAIN("blk.%zu.attn_q_norm", query_norm_gain, HEAD, OPTIONAL), \
    GAIN("blk.%zu.attn_k_norm", key_norm_gain, HEAD, OPTIONAL), \
    GAIN("blk.%zu.ffn_norm", ffn_norm_gain, D_MODEL, ALWAYS)

#define GGUF_GATED_BLOCK \
    LINEAR("blk.%zu.ffn_gate", gates, D_FF, D_MODEL, PLAIN, 0, OPTIONAL), \
    LINEAR("blk.%zu.ffn_up", keys, D_FF, D_MODEL, PLAIN, 0, OPTIONAL), \
    LINEAR("blk.%zu.ffn_down", values, D_MODEL, D_FF, PLAIN, 0, OPTIONAL)
#define GGUF_ATTENTION(layout) \
    LINEAR("blk.%zu.attn_q", query, QUERY, D_MODEL, layout, 0, OPTIONAL), \
    LINEAR("blk.%zu.attn_k", key, KEY_VALUE, D_MODEL, layout, 0, OPTIONAL), \
    LINEAR("blk.%zu.attn_v", value, KEY_VALUE, D_MODEL, PLAIN, 0, OPTIONAL), \
    LINEAR("blk.%zu.attn_output", attention_output, D_MODEL, QUERY, PLAIN, 0, OPTIONAL)

/* ---- what several families share ---- */

#define GGUF_TENSORS \
    .prefixes = NAMES(""), .embeddings = "token_embd.weight", .output = "output.weight", \
    .final_norm_gain = "output_norm.weight"

#define LLAMA_ARITHMETIC .norm = NORM_RMS, .position = POSITION_ROTARY, .gated = true
#define USUAL_SIZES .layers = "num_hidden_layers", .d_model = "hidden_size", .heads = "num_attention_heads"
#define GATED_NAMES \
    USUAL_SIZES, .d_ff = "intermediate_size", .activation = "hidden_act", \
    .key_value_heads = "num_key_value_heads", .head_width = "head_dim"
#define LLAMA_NAMES GATED_NAMES, .norm_epsilon = "rms_norm_eps"
/* Settings that are flags of biases. */
#define ATTENTION_BIAS .query_key_value_bias = "attention_bias", .output_bias = "attention_bias"
#define LLAMA_DEFAULTS \
    {"hidden_size", "4096"}, {"num_hidden_layers", "32"}, {"num_attention_heads", "32"}, \
    {"hidden_act", "\"silu\""}, {"rms_norm_eps", "1e-6"}
#define ROTARY_IGNORED NAMES("max_position_embeddings") /* nothing ends there */

/* Of models with as many key-value heads as heads, of which all together are as wide as the model. */
#define GGUF_SIZES_UNGROUPED \
    {"embedding_length", "hidden_size", METADATA_NEEDED_NUMBER}, \
    {"block_count", "num_hidden_layers", METADATA_NEEDED_NUMBER}, \
    {"attention.head_count", "num_attention_heads", METADATA_NEEDED_NUMBER}, \
    {"rope.dimension_count", "rope.dimension_count", METADATA_NUMBER}, \
    {"rope.freq_base", "rope_theta", METADATA_NONZERO_REAL}
#define GGUF_D_FF {"feed_forward_length", "intermediate_size", METADATA_NEEDED_NUMBER}
#define GGUF_SIZES \
    GGUF_SIZES_UNGROUPED, GGUF_D_FF, \
    {"attention.head_count_kv", "num_key_value_heads", METADATA_NUMBER}, \
    {"attention.key_length", "head_dim", METADATA_NUMBER}, \
    {"attention.value_length", "attention.value_length", METADATA_NUMBER}
#define GGUF_ROTARY_ROWS \
    GGUF_SIZES, {"attention.layer_norm_rms_epsilon", "rms_norm_eps", METADATA_NEEDED_REAL}
#define GGUF_LAYER_NORM(setting) {"attention.layer_norm_epsilon", setting, METADATA_NEEDED_REAL}
/* The window, as a setting of this name. */
#define GGUF_WINDOW(setting) {"attention.sliding_window", setting, METADATA_NONZERO_NUMBER}

/* Attention and the block as Llama has them, without norms. */
#define GATED_ATTENTION \
    LINEAR("layers.%zu.self_attn.q_proj", query, QUERY, D_MODEL, PLAIN, 0, QKV_BIAS), \
    LINEAR("layers.%zu.self_attn.k_proj", key, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS), \
    LINEAR("layers.%zu.self_attn.v_proj", value, KEY_VALUE, D_MODEL, PLAIN, 0, QKV_BIAS), \
    LINEAR("layers.%zu.self_attn.o_proj", attention_output, D_MODEL, QUERY, PLAIN, 0, OUTPUT_BIAS)
#define GATED_BLOCK \
    LINEAR("layers.%zu.mlp.gate_proj", gates, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS), \
    LINEAR("layers.%zu.mlp.up_proj", keys, D_FF, D_MODEL, PLAIN, 0, FFN_BIAS), \
    LINEAR("layers.%zu.mlp.down_proj", values, D_MODEL, D_FF, PLAIN, 0, FFN_BIAS)
#define LLAMA_ATTENTION \
    GAIN("layers.%zu.input_layernorm", attention_norm_gain, D_MODEL, ALWAYS), \
    GATED_ATTENTION, \
    GAIN("layers.%zu.self_attn.q_norm", query_norm_gain, HEAD, HEAD_NORMS), \
    GAIN("layers.%zu.self_attn.k_norm", key_norm_gain, HEAD, HEAD_NORMS), \
    GAIN("layers.%zu.post_attention_layernorm", ffn_norm_gain, D_MODEL, ALWAYS)
#define LLAMA_LAYERS TENSORS(LLAMA_ATTENTION, GATED_BLOCK)

#define LLAMA_OUTSIDE \
    .prefixes = NAMES("model.", ""), .embeddings = "embed_tokens.weight", .output = "lm_head.weight", \
    .final_norm_gain = "norm.weight", .ignored = NAMES(".rotary_emb.inv_freq") /* of older files */

#endif
