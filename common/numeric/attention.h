/*
 * What attention does between its matrix products: rotary positions, and
 * causal attention within a sentence.
 */
#ifndef FFKV_ATTENTION_H
#define FFKV_ATTENTION_H

#include <stddef.h>

/*
 * Rotates each head of a row, heads x width, by the angles whose cosines and sines
 * (half) these are: its dimensions k and k + half form a pair (Su et al. 2021, in the
 * arrangement of GPT-NeoX and Llama). Dimensions from 2 * half on stay.
 */
void rotate_heads(float *x, size_t heads, size_t width, size_t half, const float *cosines,
                  const float *sines);

/* Floats that the workspace for heads of this width and sentences up to this length needs. */
size_t attention_workspace(size_t width, size_t length);

/* A length with what its last vector has besides. */
size_t attention_padded(size_t length);

/* How a head attends. */
struct attention {
    size_t width;  /* of the head */
    float scale;   /* of the products of queries and keys */
    float cap;     /* these become cap tanh(product / cap) (Gemma 2); 0: they stay */
    size_t window; /* a position sees so many, itself among them (Beltagy et al. 2020); 0: all before it */
    const float *sink; /* one more score, of a position whose value is 0 (Xiao et al. 2023); NULL: none */
};

/*
 * Causal attention of one head over one sentence of length positions. query, key, value
 * and out point at the head's part of the first row; rows of query and out are query_step
 * floats apart, those of key and value key_step. bias (attention_padded(length), or NULL) is
 * added to each position's score. workspace: attention_workspace.
 */
void attend_sentence(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                     const float *key, const float *value, size_t key_step, size_t length, float *workspace,
                     float *out);

/*
 * One head's keys and values of a sentence that is read position by position. keys is width x keys_step:
 * COLUMN j is the key of position j, and those behind the last one, up to attention_padded, are finite.
 * Rows of values are values_step floats apart.
 */
struct kept {
    const float *keys, *values;
    size_t keys_step, values_step;
};

/* Makes count keys (width), key_step floats apart, columns of keys. */
void keep_keys(const float *key, size_t key_step, size_t width, size_t count, float *keys, size_t keys_step);

/* As attend_sentence, with the same bits, for the queries of positions from .. length - 1 only. */
void attend_last(const struct attention *rule, const float *bias, const float *query, size_t query_step,
                 const struct kept *kept, size_t from, size_t length, float *workspace, float *out);

#endif
