/*
 * How many batches pass through a model's layers together in the memory that there is: estimates of what a
 * program of the forward pass takes with all layers in memory, and with one after the other.
 */
#ifndef FFKV_WINDOW_MEMORY_H
#define FFKV_WINDOW_MEMORY_H

#include "model/config.h"
#include "model/layers.h"

#include <stdint.h>

struct memory_case {
    const struct model_config *config;
    struct matrix_bytes outer, layers; /* of what is not in layers; of all of these */
    struct matrix_bytes output;        /* of predictions, beside outer */
    struct matrix_bytes layer;         /* of the largest one */
    size_t positions, threads;         /* of a batch */
    bool predicts;
    double thread; /* bytes that the results of one thread take before they are written */
    double whole;  /* bytes of results that stay to the end */
    double batch;  /* bytes of results of each batch of a window */
};

/* The case of a model: its sizes. */
struct memory_case memory_of_model(const struct model *model);

/* Measured: a program with its libraries. */
enum { PROGRAM_BYTES = 7000000 };

/* That with products and a tokenizer: what a program takes beside a model's weights. */
double memory_of_program(const struct model_config *config);

/* Maxima of a batch of so many positions, of so many columns of a layer: as arrays, and packed. */
double memory_of_maxima(size_t positions, double columns);

/* Bytes with all layers in memory; with one of them and a single batch: the least that --memory takes. */
double memory_with_all(const struct memory_case *memory);
double memory_with_one(const struct memory_case *memory);

/* Batches at once, 0: all layers stay in memory; and whether there is room for the next layer beside one. */
struct window_size {
    size_t slots;
    bool ahead;
};

/*
 * In limit bytes, 0: in what is available on this machine, and a message says if that is too little for all
 * layers. Where there is not even room for one the program ends, with the number that there must be.
 */
struct window_size window_choose(const struct memory_case *memory, uint64_t limit);

#endif
