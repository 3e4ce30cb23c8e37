/* What a model's settings come to, for people and other programs. */
#ifndef FFKV_CONFIG_FACTS_H
#define FFKV_CONFIG_FACTS_H

#include "model/config.h"

#include <jansson.h>

/*
 * An object of the settings that a reader of results wants to know: the family, sizes, the arithmetic.
 * "windows" and "rotated_layers" have lists of layers, from 1; null is none, or of the context no limit.
 */
json_t *config_facts(const struct model_config *config);

#endif
