/* Settings of config.json that change no number that is computed, of whatever family. */
#ifndef FFKV_NEUTRAL_SETTINGS_H
#define FFKV_NEUTRAL_SETTINGS_H

#include "model/settings.h"

/* settings_refuse_unread, where these and those on one more list (NULL-terminated, or NULL) are known. */
void settings_refuse_unknown(const struct settings *settings, const char *const *ignored);

#endif
