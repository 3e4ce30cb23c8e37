/*
 * A model as its numbers: the tensors of whatever family, as 32-bit floats in
 * one arrangement. Those that the files hold so are mapped, not copied, as are
 * matrices of 16-bit numbers, which are widened when they are used. Matrices
 * are in the form that their products need: matrix.h. Those of layers are read
 * when they are asked for: layers.h.
 */
#ifndef FFKV_MODEL_H
#define FFKV_MODEL_H

#include "base/hash.h"
#include "model/config.h"
#include "model/layers.h"
#include "model/tensors.h"
#include "numeric/matrix.h"

/* An expert of a layer, whose cells are some of the layer's. */
struct model_expert {
    struct matrix keys, gates; /* its cells x d_model: row i is u_i, g_i */
    struct matrix values;      /* d_model x its cells: COLUMN i is v_i */
    const float *keys_bias, *gates_bias; /* its cells */
    const float *values_bias;  /* d_model: of what its values add up to, before the router's weight of it */
};

/*
 * The comment after a tensor is its shape, head_width being a head's width. Biases, norms
 * and their biases are NULL where a family has none. What attention and the feed-forward
 * block add to the residual has the model's residual scale in it. Matrices are there while
 * the layer is ready.
 */
struct model_layer {
    const float *attention_norm_gain, *attention_norm_bias; /* d_model */
    struct matrix query;                 /* heads * head_width x d_model */
    struct matrix key, value;            /* key_value_heads * head_width x d_model */
    const float *query_bias;             /* heads * head_width */
    const float *key_bias, *value_bias;  /* key_value_heads * head_width */
    const float *query_norm_gain, *key_norm_gain; /* head_width, or a row of them a head, or all in a row */
    const float *query_norm_bias, *key_norm_bias; /* head_width */
    struct matrix attention_output;      /* d_model x heads * head_width */
    const float *attention_output_bias;  /* d_model */
    const float *sinks;                  /* heads: each one's score of a position whose value is 0 */
    const float *attention_out_norm_gain; /* d_model: of what attention adds */
    const float *attention_sum_norm_gain, *attention_sum_norm_bias; /* d_model: of the sum with it */
    const float *ffn_norm_gain, *ffn_norm_bias;   /* d_model */
    /*
     * Experts in place of keys, gates and values: config.experts of expert_width cells, cell i of expert e
     * being cell e * expert_width + i of the layer; NULL: this layer has none.
     */
    struct model_expert *experts;
    struct matrix router;                /* experts x d_model */
    const float *router_bias;            /* experts */
    struct model_expert shared;          /* of shared_width cells, the layer's last ones */
    struct matrix shared_router;         /* 1 x d_model; none: its weight is 1 */
    struct matrix keys;                  /* d_ff x d_model: row i is k_i, or u_i where gated */
    struct matrix gates;                 /* d_ff x d_model: row i is g_i; none: not gated */
    const float *keys_bias, *gates_bias; /* d_ff */
    struct matrix values;                /* d_model x d_ff: COLUMN i is v_i */
    const float *values_bias;            /* d_model */
    const float *ffn_out_norm_gain;      /* d_model: of what the block adds */
    const float *ffn_sum_norm_gain, *ffn_sum_norm_bias; /* d_model: of the sum with it */
};

/*
 * One cluster of the adaptive input and softmax (Baevski and Auli 2019): words
 * first .. first + size - 1 have vectors of their own width, which a matrix
 * takes to and from d_model. A model without clusters has one, of all words.
 */
struct model_cluster {
    size_t first, size, width;
    struct matrix input;             /* size x width */
    struct matrix input_projection;  /* d_model x width: vector = projection . input; none: as it is */
    struct matrix output;            /* size x width */
    struct matrix output_projection; /* d_model x width: its transpose is applied; none: as it is */
};

struct model {
    struct model_config config;
    char id[HASH_CHARACTERS + 1];      /* hash of config and tensors, hexadecimal */
    struct model_cluster *cluster;     /* config.clusters */
    struct matrix cluster_keys;        /* (clusters - 1) x d_model: the head's logit of each tail cluster */
    const float *output_bias;          /* vocabulary: of the logits; NULL: none */
    const float *embedding_norm_gain, *embedding_norm_bias; /* d_model; NULL: words are not normed */
    const float *positions;            /* learned: (offset + context) x d_model; else NULL */
    const float *final_norm_gain, *final_norm_bias; /* d_model; NULL: none */
    struct model_layer *layer;         /* config.layers */
    struct weights *weights;           /* the files, which tensors may lie in */
    struct tensors owned;              /* that do not, and are not of layers */
    struct matrix_bytes outer;         /* of all that is not in layers */
    struct matrix_bytes output;        /* of products with the output's words, beside it */
    struct layers *layers;             /* where the matrices of layer come from */
};

/*
 * Reads the config of the model at path: a directory with config.json, or a GGUF
 * file. Bad ones end the program.
 */
struct model_config model_config_read(const char *path);

/*
 * v_i, d_model numbers: what cell i of the layer adds to the residual for each 1 of its coefficient. Where
 * a norm stands behind the block, it has the norm's gain: the norm divides each position's sum of them by
 * one number. The layer's values are made ready for it.
 */
void model_value(const struct model *model, size_t layer, size_t cell, float *value);

/*
 * Reads config and tensors. One that contradicts the config, or that it does not know, ends the program. All
 * bytes of the files pass through, for the id, but the matrices of layers wait until they are made ready.
 */
struct model *model_load(const char *path);

/*
 * The same, with the same checks, but that no matrix is read: whatever a model's size, this takes next to no
 * time and memory. Its words are not there, and its id is empty.
 */
struct model *model_describe(const char *path);
void model_free(struct model *model);

#endif
