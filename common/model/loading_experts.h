/* The tensors of a layer's experts, read to our arrangement. */
#ifndef FFKV_LOADING_EXPERTS_H
#define FFKV_LOADING_EXPERTS_H

#include "model/loading.h"

/*
 * Reads, or describes, the router and the experts of layer index, where the config says that it has them, in
 * the form in which the file has its values, or else the first that the family knows; of LAYER_VALUES the
 * experts' values alone. What is there already is left. The shared expert's tensors are rows of the family's
 * layers.
 */
void read_layer_experts(struct loading *loading, size_t index, enum layer_part part);

/* The layer has no matrices of its experts and its router any more. */
void forget_layer_experts(struct model *model, size_t index);

#endif
