/*
 * The forward pass over one batch, layer by layer, a layer in three calls.
 *
 * A batch is one matrix: its sentences' positions lie one after the other,
 * attention stays within each. Input positions 0 .. n-1 of a sentence w_1 .. w_n
 * are BOS, w_1, .., w_{n-1}; without BOS these are 1 .. n-1, and w_1, at 1, is what
 * the model reads first, at its own position 0. Products have a fixed number of rows, or
 * what is left rounded up, the rest being padding, so that a batch's results do
 * not depend on what else is computed.
 *
 * Goals: every number of the paper's sections 3 to 5 from one pass, no work that
 * is not asked for; and generation, token by token. Not a goal: training.
 */
#ifndef FFKV_FORWARD_H
#define FFKV_FORWARD_H

#include "model/model.h"
#include "stream/ranks.h"
#include "stream/records.h"

/* The state of one thread. Names as in the paper; rows are positions. */
struct forward;

/* product_rows: positions in a batch, as its stream's header says. */
/*
 * Bytes that the matrices of one thread's state take for a batch of so many positions, and the operations
 * (a product and a sum are two) of the products of a position, all layers; without attention's own
 * products, which grow with the sentence.
 */
double forward_bytes(const struct model_config *config, size_t positions);
double forward_operations(const struct model_config *config);

struct forward *forward_new(const struct model *model, size_t product_rows);
void forward_free(struct forward *forward);

/*
 * Before the first batch: from now on batches have one sentence, and each has that of the one before with
 * tokens behind it, up to so many positions. Only those that are new are computed, and are what the arrays
 * below have; attention's keys and values of the others are kept. Products of a single position are shared
 * out among the team, which stays the caller's, and results equal those of whole batches but for rounding.
 */
void forward_keep(struct forward *forward, size_t positions, struct team *team);

/* Behind a batch that is kept: its last count positions are computed anew, with those of the next one. */
void forward_forget(struct forward *forward, size_t count);

/* Takes the batch, which must live until its last layer is done. */
void forward_begin(struct forward *forward, const struct batch *batch);

/*
 * The three parts of layer index, to be called in this order, after all of the layer before
 * it. What is between two of them may read and change the arrays below. A coefficient or
 * an output that is not finite ends the program.
 *
 * forward_attention: residual becomes r^l. The block's input is made ready.
 * forward_coefficients: coefficient becomes m^l = f(x K^T + b1), or f(x G^T)(x U^T) where
 * the layer is gated (paper, section 2): x G^T is the gate, x U^T the input; of experts, that
 * times their weight, and 0 of those that are not chosen (model/experts.h).
 * forward_values: ffn becomes y^l = m^l V + b2, normed where the model has a norm there. The
 * last layer that is asked for may go without.
 */
void forward_attention(struct forward *forward, size_t index);
void forward_coefficients(struct forward *forward, size_t index);
void forward_values(struct forward *forward, size_t index);

/* All three. */
void forward_layer(struct forward *forward, size_t index);

/* After the last layer's three: residual becomes the model's output o^L. */
void forward_output(struct forward *forward);

/*
 * What a batch carries from one layer to the next, so that other batches can have the state in between.
 * forward_pause: after the three parts of layer index, which is not the last; residual (positions x d_model)
 * becomes what the next layer reads. forward_resume: in place of forward_begin, before forward_attention of
 * that layer. Results are the same bytes as without.
 */
void forward_pause(struct forward *forward, size_t index, float *residual);
void forward_resume(struct forward *forward, const struct batch *batch, const float *residual);

/*
 * Has the signs of gate and input recorded from the next layer on; the model's layers are gated.
 * forward_signs: positions x d_ff: which combination of ranks.h each coefficient is of, or NO_SIGNS.
 */
void forward_record_signs(struct forward *forward);
const uint8_t *forward_signs(const struct forward *forward);

/*
 * The arrays, of the batch's positions in a row, until the next forward_begin.
 * residual: positions x d_model. With parallel blocks r^l is the input plus attention, though
 * keys see the input; where the model norms sums, it is normed. coefficient: positions x d_ff.
 * ffn: positions x d_model.
 */
float *forward_residual(const struct forward *forward);
float *forward_coefficient(const struct forward *forward);
float *forward_ffn(const struct forward *forward);

#endif
