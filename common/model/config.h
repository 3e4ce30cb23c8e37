/*
 * What a model is made of: its config.json, of whatever family, read into one
 * description. What the families differ in is in families.h.
 */
#ifndef FFKV_CONFIG_H
#define FFKV_CONFIG_H

#include "base/limits.h"
#include "numeric/activation.h"
#include "numeric/norm.h"
#include "stream/no_token.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum position_kind {
    POSITION_SINUSOIDAL, /* added, as fairseq lays them out */
    POSITION_LEARNED,    /* added, a table */
    POSITION_ROTARY,     /* Su et al. 2021: queries and keys are rotated */
    POSITION_ALIBI,      /* Press et al. 2022: a number a position is added to each head's scores */
};

/* The norm of queries and keys, before they are rotated. */
enum head_norm {
    HEAD_NORM_NONE,
    HEAD_NORM_SHARED, /* of each head by itself, with the same gain */
    HEAD_NORM_OWN,    /* of each head by itself, with a gain of its own */
    HEAD_NORM_WHOLE,  /* of all heads together */
};

/* Which norm the feed-forward block has. */
enum block_norm {
    BLOCK_NORM_SEQUENTIAL, /* its own, after attention */
    BLOCK_NORM_PARALLEL,   /* its own, of the layer's input */
    BLOCK_NORM_SHARED,     /* attention's: it reads what attention reads */
};

enum { MAX_CLUSTERS = 16 };

/* Rotary positions: dimension k of a head, of width / 2, is rotated by frequency[k] radians a position. */
struct rotary {
    size_t width;      /* dimensions of a head that are rotated */
    double *frequency; /* width / 2 */
    double scale;      /* of cosines and sines */
};

enum { MAX_ROTARIES = 2 };

/* Where a layer's attention differs from other layers'. */
struct layer_attention {
    size_t window;               /* a position sees so many tokens, itself among them; 0: all before it */
    const struct rotary *rotary; /* one of the config's; NULL: queries and keys stay */
};

struct family;

struct model_config {
    char *path;               /* of the model, as the user gave it */
    const struct family *family;
    const char *activation_name;
    size_t layers, d_model, d_ff, vocabulary;
    size_t heads, key_value_heads, head_width; /* fewer key-value heads: grouped-query attention */
    enum norm_kind norm;
    float norm_epsilon;
    bool final_norm;          /* before the output embedding */
    bool normed_sums;         /* norms are of the residual with what was added to it, not of what is read */
    enum activation activation;
    bool gated;               /* m_i = f(g_i . x)(u_i . x), Shazeer 2020 */
    size_t experts;           /* of a layer that has them; 0: no layer has */
    size_t chosen_experts;    /* at each position */
    size_t expert_width, shared_width; /* cells of each, and of the one that all positions have, or 0 */
    bool experts_normalized;  /* the weights of those that are chosen add up to 1 */
    bool *has_experts;        /* layers; NULL where experts is 0 */
    bool query_key_value_bias, output_bias, ffn_bias; /* in a directory, where a family varies */
    enum head_norm head_norm;
    enum block_norm block_norm;
    float attention_scale;    /* of products of queries and keys */
    float attention_cap;      /* these are kept below it by a tanh; 0: not */
    float clip;               /* queries, keys and values are kept between -clip and clip; 0: not */
    float *alibi_slope;       /* heads; NULL: POSITION_ALIBI is not the kind of positions */
    bool alibi_16_bits;       /* numbers of positions are rounded to bfloat16, as Falcon's are */
    struct layer_attention *attention; /* layers */
    enum position_kind position;
    size_t position_offset;   /* index of the first input's position */
    size_t context;           /* most positions of a sentence; 0: any number */
    struct rotary *rotary;    /* MAX_ROTARIES; the first is that of most layers */
    float embed_scale;
    float residual_scale;     /* of what attention and the feed-forward block add */
    float logit_scale;        /* logits are products with output words, times this */
    float logit_cap;          /* and kept below it by a tanh; 0: not */
    size_t word_width;        /* of embeddings; where it is not d_model, projections lead there and back */
    uint32_t bos, unknown;    /* NO_TOKEN: none */
    bool tied;                /* the output embedding is the input's */
    bool tied_projections;    /* and so are the adaptive clusters' projections */
    size_t clusters;          /* of the adaptive input and softmax; 1: a plain softmax */
    size_t *cutoffs;          /* clusters: first word after each; the last is vocabulary */
    size_t factor;            /* each cluster's width is that of the one before, divided by it */
};

/*
 * Reads the config of the model at path: json, whose source is called name in
 * messages. What is missing has transformers' default for the family, if there is
 * one. What contradicts itself, asks for arithmetic that is not known, or is not
 * known itself and not neutral ends the program, by name. Takes json over.
 */
struct model_config config_parse(const char *path, json_t *json, const char *name);
void config_free(struct model_config *config);

#endif
