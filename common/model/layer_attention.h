/* Which layers of a model attend over a window, and which rotate queries and keys. */
#ifndef FFKV_LAYER_ATTENTION_H
#define FFKV_LAYER_ATTENTION_H

#include "model/config.h"
#include "model/settings.h"

/* Fills config->attention. Where positions are rotary, config->rotary is there. */
void layer_attention_read(const struct settings *settings, struct model_config *config);

#endif
