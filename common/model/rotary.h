/* Rotary positions: what config.json says of them, of whatever age and scaling, as frequencies. */
#ifndef FFKV_ROTARY_H
#define FFKV_ROTARY_H

#include "model/config.h"
#include "model/settings.h"

/*
 * Fills config->rotary, and lowers config->context to the sentences for which they are right.
 * config has the widths of heads already.
 */
void rotary_read(const struct settings *settings, struct model_config *config);
void rotary_free(struct model_config *config);

#endif
