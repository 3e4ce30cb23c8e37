/* What config.json says of mixtures of experts. */
#ifndef FFKV_EXPERT_SETTINGS_H
#define FFKV_EXPERT_SETTINGS_H

#include "model/config.h"
#include "model/settings.h"

/*
 * Reads them where the family has experts, after d_ff, which becomes the cells of all experts. Counts that do
 * not go together, and layers of different widths, end the program.
 */
void expert_settings_read(const struct settings *settings, struct model_config *config);

#endif
