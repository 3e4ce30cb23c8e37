/* What config.json of only one family says. Each of these is the member read of its struct family. */
#ifndef FFKV_FAMILY_SETTINGS_H
#define FFKV_FAMILY_SETTINGS_H

#include "model/config.h"
#include "model/settings.h"

void read_opt(const struct settings *settings, struct model_config *config);
void read_bloom(const struct settings *settings, struct model_config *config);
void read_falcon(const struct settings *settings, struct model_config *config);
void read_gemma(const struct settings *settings, struct model_config *config);
void read_qwen3_moe(const struct settings *settings, struct model_config *config);
void read_gpt_oss(const struct settings *settings, struct model_config *config);
void read_mpt(const struct settings *settings, struct model_config *config);

#endif
