/*
 * The keys and values of attention that a sentence's positions have had in each layer, so that a further
 * position is computed alone. (These are not the keys and values of memories.)
 */
#ifndef FFKV_KEY_VALUES_H
#define FFKV_KEY_VALUES_H

#include "model/config.h"
#include "numeric/attention.h"

struct key_values;

/* Room for so many positions, all layers. */
struct key_values *key_values_new(const struct model_config *config, size_t positions);
void key_values_free(struct key_values *kept);

size_t key_values_room(const struct key_values *kept);

/* Keeps a layer's keys and values, each count x key_value_heads x head_width, of positions from .. on. */
void key_values_add(struct key_values *kept, size_t layer, size_t from, size_t count, const float *key,
                    const float *value);

/* Those of one of the layer's heads of keys and values. */
struct kept key_values_of(const struct key_values *kept, size_t layer, size_t head);

#endif
