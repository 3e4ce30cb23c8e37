/*
 * The forward pass over one batch, layer by layer.
 *
 * A batch is one matrix: its sentences' positions lie one after the other,
 * attention stays within each. Input positions 0 .. n-1 of a sentence w_1 .. w_n
 * are BOS, w_1, .., w_{n-1}. Products have a fixed number of rows, or
 * what is left rounded up, the rest being padding, so that a batch's results do
 * not depend on what else is computed.
 *
 * Goals: every number of the paper's sections 3 to 5 from one pass, no work that
 * is not asked for. Not goals: generation, training.
 */
#ifndef FFKV_FORWARD_H
#define FFKV_FORWARD_H

#include "model.h"
#include "records.h"

/* The state of one thread. Names as in the paper; rows are positions. */
struct forward {
    const struct model *model;
    size_t positions;   /* of the current batch */
    float *residual;    /* positions x d_model: r^l after forward_layer, o^L after forward_output;
                           with parallel blocks r^l is the input plus attention, though keys see the input */
    float *coefficient; /* positions x d_ff: m^l */
    float *ffn;         /* positions x d_model: y^l */

    /* inside */
    const struct batch *batch;
    size_t product_rows;    /* of every matrix product */
    size_t capacity;        /* rows of the matrices */
    float *normed;          /* capacity x d_model */
    float *query;           /* capacity x heads * width */
    float *key, *value;     /* capacity x key_value_heads * width */
    float *attended;        /* capacity x heads * width */
    float *gate;            /* capacity x d_ff, where the layers are gated */
    float *keys_transposed; /* head width x positions of a sentence */
    float *scores;          /* positions of a sentence */
    size_t known_positions; /* that these tables have: */
    float *position_vectors;/* known_positions x d_model: sinusoidal */
    float *cosines, *sines; /* known_positions x rotary_width / 2 */
};

/* product_rows: positions in a batch, as its stream's header says. */
struct forward *forward_new(const struct model *model, size_t product_rows);
void forward_free(struct forward *forward);

/* Takes the batch, which must live until its last layer is done. */
void forward_begin(struct forward *forward, const struct batch *batch);

/*
 * Computes layer index, after all before it: residual and coefficient, and with
 * with_ffn also ffn, without which no further layer can follow. A number that
 * is not finite ends the program.
 */
void forward_layer(struct forward *forward, size_t index, bool with_ffn);

/* After the last layer, with ffn: residual becomes the model's output o^L. */
void forward_output(struct forward *forward);

/*
 * The model's final norm of rows vectors (x d_model), each with its own
 * statistics; without one a copy. out may be x.
 */
void final_norm(const struct model *model, const float *x, size_t rows, float *out);

#endif
