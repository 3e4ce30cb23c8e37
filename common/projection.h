/*
 * From vectors of d_model to distributions over the vocabulary: the model's own
 * output embedding, by an adaptive softmax (Grave et al. 2017) where it has one.
 */
#ifndef FFKV_PROJECTION_H
#define FFKV_PROJECTION_H

#include "model.h"

/* Vectors that are projected at once: a product's fixed number of rows. */
enum { PROJECTION_ROWS = 32 };

/* The buffers of one thread. */
struct projection;

struct projection *projection_new(const struct model *model);
void projection_free(struct projection *projection);

/*
 * log p(h) of PROJECTION_ROWS vectors (x d_model): log_probabilities is
 * PROJECTION_ROWS x vocabulary. Paper, section 2.
 */
void projection_run(struct projection *projection, const float *vectors, float *log_probabilities);

/*
 * Of one row of log-probabilities: the largest one's token. Equal ones: the
 * lower token.
 */
size_t projection_top(const float *log_probabilities, size_t vocabulary);

/* The count most probable tokens, best first, equal ones by rising token. */
void projection_tops(const float *log_probabilities, size_t vocabulary, size_t count, uint32_t *tokens);

/* The end of that order, the last token first. */
void projection_bottoms(const float *log_probabilities, size_t vocabulary, size_t count, uint32_t *tokens);

/* The place of a token in that order, from 1. */
uint32_t projection_rank(const float *log_probabilities, size_t vocabulary, size_t token);

#endif
