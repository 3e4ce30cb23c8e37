/*
 * From vectors of d_model to distributions over the vocabulary: the model's own
 * output embedding, by an adaptive softmax (Grave et al. 2017) where it has one.
 */
#ifndef FFKV_PROJECTION_H
#define FFKV_PROJECTION_H

#include "model/candidates.h"
#include "model/model.h"

#include <stdbool.h>

/* Vectors that are projected at once: a product's fixed number of rows. */
enum { PROJECTION_ROWS = 32 };

/* The buffers of one thread. */
struct projection;

/* Bytes of the buffers of one thread that has whole distributions, and the operations of one of these. */
double projection_bytes(const struct model_config *config);
double projection_operations(const struct model_config *config);

/* Both are used until the end. */
struct projection *projection_new(const struct model *model, const struct candidates *candidates);
void projection_free(struct projection *projection);

/*
 * log p(h) of PROJECTION_ROWS vectors (x d_model): log_probabilities is
 * PROJECTION_ROWS x vocabulary. Paper, section 2. The model's bias, scale and cap of
 * logits, where it has them, are part of it.
 */
void projection_run(struct projection *projection, const float *vectors, float *log_probabilities);

/*
 * From now on projection_run takes one vector, and its products are shared out among the team, which stays
 * the caller's; projection_ask is not for such a projection.
 */
void projection_take_one(struct projection *projection, struct team *team);

/* What is asked of one vector's distribution p(h), and the answer. */
struct projection_question {
    uint32_t token;             /* asked about; NO_TOKEN: none */
    bool ranked;                /* whether its rank is wanted */
    uint32_t top;               /* the most probable candidate; equal ones: the lowest */
    float top_log_probability;
    float token_log_probability;
    uint32_t token_rank;        /* its place among the candidates, from 1, as projection_rank has it */
};

/*
 * Answers one question for each of count vectors (x d_model), with the numbers that
 * projection_run's rows have, to the last bit where the BLAS kernel computes a row alike in
 * products of more rows. A word is never more probable than its cluster, so the words
 * of an adaptive softmax's tail clusters are computed only for the vectors whose answer
 * they can change, and no whole distribution is held.
 */
void projection_ask(struct projection *projection, const float *vectors, size_t count,
                    struct projection_question *questions);

/*
 * A token's vector (d_model) such that its logit, within its cluster and before a bias, a scale or a
 * cap, is the product with h.
 */
void output_embedding(const struct model *model, uint32_t token, float *vector);

/* What is done with the model's final norm to a vector that is not the model's output: a value, or y^l. */
enum projection_norm { PROJECTION_NORM_NONE, PROJECTION_NORM_GAIN, PROJECTION_NORM_FULL };
extern const char *const projection_norm_words[]; /* "none", "gain", "full", NULL */

/* Ends the program with status 2 where the model has no final norm to take. */
void projection_norm_check(const struct model *model, enum projection_norm norm);

/*
 * Of rows vectors (x d_model), in place: nothing, the norm's gain, or the norm
 * with each one's own statistics.
 */
void projection_norm(const struct model *model, enum projection_norm norm, float *vectors, size_t rows);

/*
 * v_i, as model_value has it, as it is projected; negative: -v_i, which a negative coefficient adds to the
 * block's output.
 */
void projection_value(const struct model *model, enum projection_norm norm, size_t layer, size_t cell,
                      bool negative, float *value);

/*
 * Of one row of log-probabilities, of the candidates' vocabulary: the candidate of the largest
 * one. Equal ones: the lower token.
 */
size_t projection_top(const float *log_probabilities, const struct candidates *candidates);

/* The count most probable candidates, of which there are as many, best first, equal ones by rising token. */
void projection_tops(const float *log_probabilities, const struct candidates *candidates, size_t count,
                     uint32_t *tokens);

/* The end of that order, the last token first. */
void projection_bottoms(const float *log_probabilities, const struct candidates *candidates, size_t count,
                        uint32_t *tokens);

/* The place of a token in that order, from 1; that of a token which is no candidate is where it would be. */
uint32_t projection_rank(const float *log_probabilities, const struct candidates *candidates, size_t token);

#endif
