/*
 * A model directory as its numbers: config.json read into a description, the
 * tensors of model.safetensors as 32-bit floats.
 */
#ifndef FFKV_MODEL_H
#define FFKV_MODEL_H

#include "hash.h"

#include <stddef.h>
#include <stdint.h>

/* Row-major matrices of 32-bit floats; the comment behind each is its shape. */
struct model_layer {
    float *attention_norm_gain, *attention_norm_bias; /* d_model */
    float *query_key_value;                           /* 3 d_model x d_model, one below the other */
    float *query_key_value_bias;                      /* 3 d_model */
    float *attention_output;                          /* d_model x d_model */
    float *attention_output_bias;                     /* d_model */
    float *ffn_norm_gain, *ffn_norm_bias;             /* d_model */
    float *keys;                                      /* d_ff x d_model: row i is k_i */
    float *keys_bias;                                 /* d_ff */
    float *values;                                    /* d_model x d_ff: COLUMN i is v_i */
    float *values_bias;                               /* d_model */
};

/*
 * One cluster of the adaptive input and softmax (Baevski and Auli 2019): words
 * first .. first + size - 1 have vectors of their own width, which a matrix
 * takes to and from d_model.
 */
struct model_cluster {
    size_t first, size, width;
    float *words;      /* size x width */
    float *projection; /* d_model x width: input is projection . word; the softmax's is its transpose */
};

struct model_config {
    char *directory;
    const char *architecture;
    const char *activation;
    size_t layers, d_model, d_ff, heads, vocabulary;
    size_t position_offset; /* index of the first input's sinusoidal position */
    float embed_scale, norm_epsilon;
    uint32_t bos, unknown;
    size_t clusters;
    size_t *cutoffs;        /* clusters: first word behind each cluster; the last is vocabulary */
    size_t factor;          /* each cluster's width is that of the one before, divided by it */
};

struct model {
    struct model_config config;
    char id[HASH_CHARACTERS + 1]; /* hash of config.json and model.safetensors, hexadecimal */
    struct model_cluster *cluster;    /* config.clusters */
    float *cluster_keys;              /* (clusters - 1) x d_model: the head's logit of each further cluster */
    struct model_layer *layer;        /* config.layers */
};

/*
 * Reads directory/config.json. What is missing, contradicts itself, or asks for
 * arithmetic that is not known ends the program, by name.
 */
struct model_config model_config_read(const char *directory);
void model_config_free(struct model_config *config);

/* Reads config and tensors. A tensor that contradicts the config ends the program. */
struct model *model_load(const char *directory);
void model_free(struct model *model);

#endif
