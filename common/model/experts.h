/*
 * The experts of a layer: which ones compute a position, their coefficients and what their values add up
 * to. Time is proportional to the experts that are chosen: an expert reads the rows of its positions only.
 */
#ifndef FFKV_EXPERTS_H
#define FFKV_EXPERTS_H

#include "model/model.h"
#include "model/products.h"

/* What one thread computes them with. */
struct experts;

/* products stays the caller's, who may change it. */
struct experts *experts_new(const struct model_config *config, const struct products *products);
void experts_free(struct experts *experts);

/* How many floats it takes for a position, of a model with experts. */
double experts_columns(const struct model_config *config);

/*
 * coefficient (positions x d_ff) becomes, for cell i of expert e, the router's weight of e times
 * f(g_i . x)(u_i . x), and 0 where e is not chosen; for the shared expert, whose cells are the last ones,
 * its own weight takes the router's place. Gate g_i . x and input u_i . x have the expert's biases in them,
 * and are limited as the config says. x: positions x d_model, with the padding of products.
 * signs (positions x d_ff), unless NULL, becomes each one's combination of the signs of gate and input
 * (stream/ranks.h), and NO_SIGNS where e is not chosen.
 */
void experts_coefficients(struct experts *experts, const struct model_layer *layer, size_t positions,
                          const float *x, float *coefficient, uint8_t *signs);

/*
 * ffn (positions x d_model) becomes the sum of m_i v_i over all cells, and of the chosen experts' biases,
 * each times the router's weight, which are those of the last experts_coefficients. An expert whose
 * coefficients are all 0 at a position is passed over, be they as above or changed since.
 */
void experts_values(struct experts *experts, const struct model_layer *layer, size_t positions,
                    const float *coefficient, float *ffn);

#endif
