/*
 * A model as its numbers: the tensors of whatever family, as 32-bit floats in
 * one arrangement. Those that the files hold so are mapped, not copied.
 */
#ifndef FFKV_MODEL_H
#define FFKV_MODEL_H

#include "base/hash.h"
#include "model/config.h"

/*
 * Row-major matrices; the comment behind each is its shape. Biases, and the
 * norms' biases, are NULL where a family has none. Of a head: its width.
 */
struct model_layer {
    const float *attention_norm_gain, *attention_norm_bias; /* d_model */
    const float *query, *query_bias;                        /* heads * width x d_model */
    const float *key, *key_bias;                            /* key_value_heads * width x d_model */
    const float *value, *value_bias;                        /* key_value_heads * width x d_model */
    const float *query_norm_gain, *key_norm_gain;           /* width; NULL: heads are not normed */
    const float *attention_output;                          /* d_model x heads * width */
    const float *attention_output_bias;                     /* d_model */
    const float *ffn_norm_gain, *ffn_norm_bias;             /* d_model */
    const float *keys, *keys_bias;                          /* d_ff x d_model: row i is k_i, or u_i where gated */
    const float *gates, *gates_bias;                        /* d_ff x d_model: row i is g_i; NULL: not gated */
    const float *values;                                    /* d_model x d_ff: COLUMN i is v_i */
    const float *values_bias;                               /* d_model */
};

/*
 * One cluster of the adaptive input and softmax (Baevski and Auli 2019): words
 * first .. first + size - 1 have vectors of their own width, which a matrix
 * takes to and from d_model. A model without clusters has one, of all words.
 */
struct model_cluster {
    size_t first, size, width;
    const float *input;             /* size x width */
    const float *input_projection;  /* d_model x width: vector = projection . input; NULL: as it is */
    const float *output;            /* size x width */
    const float *output_projection; /* d_model x width: its transpose is applied; NULL: as it is */
};

struct model {
    struct model_config config;
    char id[HASH_CHARACTERS + 1];      /* hash of config and tensors, hexadecimal */
    struct model_cluster *cluster;     /* config.clusters */
    const float *cluster_keys;         /* (clusters - 1) x d_model: the head's logit of each further cluster */
    const float *positions;            /* learned: (offset + context) x d_model; else NULL */
    const float *final_norm_gain, *final_norm_bias; /* d_model */
    struct model_layer *layer;         /* config.layers */
    struct weights *weights;           /* the files, which tensors may lie in */
    float **owned;                     /* owned_count: tensors that do not */
    size_t owned_count;
};

/*
 * Reads the config of the model at path: a directory with config.json, or a GGUF
 * file. Bad ones end the program.
 */
struct model_config model_config_read(const char *path);

/* Reads config and tensors. A tensor that contradicts the config, or that it does not know, ends the program. */
struct model *model_load(const char *path);
void model_free(struct model *model);

#endif
