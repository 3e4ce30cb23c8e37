/*
 * The matrices of a model's layers, which are read when somebody asks for them: a layer is made ready, used,
 * and released. Those that nobody uses stay in memory as long as there is room for them.
 */
#ifndef FFKV_LAYERS_H
#define FFKV_LAYERS_H

#include <stddef.h>

struct model;
struct loading;

/* What is needed of a layer: its values, or all. */
enum layer_part { LAYER_VALUES, LAYER_ALL };

/* Bytes of matrices when they are read. */
struct matrix_bytes {
    size_t copied;  /* in memory of their own, as 32-bit floats, or as their products take them */
    size_t mapped;  /* where they are in the files, as 32-bit or 16-bit floats */
    size_t packed;  /* of the copied: what is made by products with several rows, beside terms that stay */
    size_t values;  /* of the copied and mapped without packed: the down projections' */
    size_t scratch; /* while one is read, at most */
    size_t widened; /* as 32-bit floats, of one that a file has in 16 bits, in a thread's buffer, at most */
};

struct layers;

/*
 * The layers of a model whose tensors are called so: their vectors are read, their matrices checked, as to
 * name, shape and type. loading is copied; what it points to must outlive the layers.
 */
struct layers *layers_open(const struct loading *loading);
void layers_close(struct layers *layers);

/*
 * Has these matrices of layer index in model->layer until they are released, as often as they were made
 * ready. One that is damaged ends the program. Threads may call both at the same time.
 */
void model_layer_ready(const struct model *model, size_t index, enum layer_part part);
void model_layer_release(const struct model *model, size_t index);

/* Makes all layers ready, as long as the model is there. */
void model_all_ready(const struct model *model);

/* Layers that nobody uses are dropped as soon as all that are there take more bytes than so many. */
enum { LAYERS_ROOM = 512 << 20 }; /* unless somebody says otherwise */
void model_set_room(const struct model *model, size_t bytes);

/* Of a layer; of all that is not in layers; what predictions take more than that, for the output's words. */
struct matrix_bytes model_layer_bytes(const struct model *model, size_t index);
struct matrix_bytes model_outer_bytes(const struct model *model);
struct matrix_bytes model_output_bytes(const struct model *model);

#endif
