/*
 * What a model is made of: its config.json, of whatever family, read into one
 * description. What the families differ in is in families.h.
 */
#ifndef FFKV_CONFIG_H
#define FFKV_CONFIG_H

#include "numeric/activation.h"
#include "numeric/norm.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum position_kind {
    POSITION_SINUSOIDAL, /* added, as fairseq lays them out */
    POSITION_LEARNED,    /* added, a table */
    POSITION_ROTARY,     /* Su et al. 2021: queries and keys are rotated */
};

/* Bounds that no model reaches; they keep products of sizes far from overflow. */
enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 20, MAX_VOCABULARY = 1 << 26, MAX_CLUSTERS = 16 };

struct family;

/* No token has this number. */
#define NO_TOKEN UINT32_MAX

struct model_config {
    char *path;               /* of the model, as the user gave it */
    const struct family *family;
    const char *activation_name;
    size_t layers, d_model, d_ff, vocabulary;
    size_t heads, key_value_heads, head_width; /* fewer key-value heads: grouped-query attention */
    enum norm_kind norm;
    float norm_epsilon;
    bool final_norm;          /* before the output embedding */
    enum activation activation;
    bool gated;               /* m_i = f(g_i . x)(u_i . x), Shazeer 2020 */
    bool query_key_value_bias, output_bias, ffn_bias, head_norms; /* in a directory, where a family varies */
    bool parallel;            /* the feed-forward block reads the layer's input, not attention's result */
    enum position_kind position;
    size_t position_offset;   /* index of the first input's position */
    size_t context;           /* most positions of a sentence; 0: any number */
    size_t rotary_width;      /* dimensions of a head that are rotated */
    double *rotary_frequency; /* rotary_width / 2: radians a position */
    float embed_scale;
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
