#include "model/layer_attention.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/families.h"

#include <stdlib.h>
#include <string.h>

/* Ends the program for a list that has not one element a layer. */
static void check_list(const struct settings *settings, const struct model_config *config, const char *key)
{
    const json_t *list = setting(settings, key);
    if (!json_is_array(list) || json_array_size(list) != config->layers)
        die("%s: '%s' must be a list of %zu layers' types", settings->name, key, config->layers);
}

/* Element index of a list of words: whether it is the first of two that are known. */
static bool is_first_of(const struct settings *settings, const char *key, size_t index, const char *first,
                        const char *second)
{
    const char *word = json_string_value(json_array_get(setting(settings, key), index));
    if (word && !strcmp(word, first))
        return true;
    if (!word || strcmp(word, second)) {
        char *both = format_string("%s, %s", second, first);
        setting_refuse(settings, key, both);
    }
    return false;
}

/* ---- rotation ---- */

/* no_rope_layers has 0 where a layer does not rotate; otherwise every so many layers one does not. */
static bool is_listed_to_rotate(const struct settings *settings, const struct model_config *config,
                                size_t index)
{
    static const char key[] = "no_rope_layers";
    size_t interval = setting_size(settings, "no_rope_layer_interval", 1, INT32_MAX);
    if (!setting(settings, key))
        return (index + 1) % interval;
    check_list(settings, config, key);
    const json_t *flag = json_array_get(setting(settings, key), index);
    if (!json_is_integer(flag) && !json_is_boolean(flag))
        setting_refuse(settings, key, "numbers, 0 where a layer does not rotate");
    return json_is_true(flag) || json_integer_value(flag);
}

static const struct rotary *rotary_of(const struct settings *settings, const struct model_config *config,
                                      size_t index, bool window)
{
    if (config->position != POSITION_ROTARY)
        return NULL;
    switch (config->family->rotary_layers) {
    case ROTARY_ALL_LAYERS:
        break;
    case ROTARY_LISTED_LAYERS:
        return is_listed_to_rotate(settings, config, index) ? config->rotary : NULL;
    case ROTARY_WINDOW_LAYERS:
        return window ? config->rotary : NULL;
    case ROTARY_TWO_KINDS:
        return window ? config->rotary + 1 : config->rotary;
    }
    return config->rotary;
}

/* ---- windows ---- */

static const char *window_key(const struct model_config *config)
{
    const char *named = config->family->names.window;
    return named ? named : "sliding_window";
}

static bool is_window_used(const struct settings *settings)
{
    bool used = setting_flag(settings, "use_sliding_window");
    return used && setting(settings, "sliding_window");
}

/* Every sliding_window_pattern-th layer attends to all. */
static bool is_window_in_pattern(const struct settings *settings, const struct model_config *config,
                                 size_t index)
{
    size_t pattern = config->family->window_pattern;
    if (!pattern)
        pattern = setting_size(settings, "sliding_window_pattern", 1, INT32_MAX);
    return (index + 1) % pattern;
}

/* The same where layer_types does not say it. */
static bool has_window_otherwise(const struct settings *settings, const struct model_config *config,
                                 size_t index)
{
    switch (config->family->window) {
    case WINDOW_NONE:
        return false;
    case WINDOW_ALL_LAYERS:
        return setting(settings, window_key(config));
    case WINDOW_LATER_LAYERS: {
        size_t full = setting_size(settings, "max_window_layers", 0, INT32_MAX);
        return is_window_used(settings) && index >= full;
    }
    case WINDOW_EARLY_LAYERS: {
        size_t full = setting_size(settings, "max_window_layers", 0, INT32_MAX);
        return is_window_used(settings) && index < full && index % 2 == 0;
    }
    case WINDOW_UNROTATED_LAYERS:
        return is_window_used(settings) && !is_listed_to_rotate(settings, config, index);
    case WINDOW_PATTERN:
        return is_window_in_pattern(settings, config, index);
    case WINDOW_LOCAL_LAYERS:
        return is_first_of(settings, "attention_layers", index, "local", "global");
    }
    return false;
}

static bool has_window(const struct settings *settings, const struct model_config *config, size_t index)
{
    enum window_kind kind = config->family->window;
    bool otherwise = has_window_otherwise(settings, config, index); /* whose settings are known in any case */
    bool typed = kind == WINDOW_LATER_LAYERS || kind == WINDOW_EARLY_LAYERS || kind == WINDOW_UNROTATED_LAYERS
              || kind == WINDOW_PATTERN;
    if (!typed || !setting(settings, "layer_types"))
        return otherwise;
    check_list(settings, config, "layer_types");
    bool window = is_first_of(settings, "layer_types", index, "sliding_attention", "full_attention");
    if (window && kind != WINDOW_PATTERN && !is_window_used(settings))
        die("%s: 'layer_types' has sliding_attention, but 'use_sliding_window' and 'sliding_window' have no"
            " window", settings->name);
    return window;
}

/* ---- GPT-Neo's list ---- */

static void append_types(const struct settings *settings, const json_t *group, json_t *all)
{
    json_t *types = json_array_get(group, 0);
    json_int_t times = json_integer_value(json_array_get(group, 1));
    if (!json_is_array(types) || times < 0 || times > MAX_LAYERS || json_array_size(types) > MAX_LAYERS)
        setting_refuse(settings, "attention_types", "lists of types and how often they are repeated");
    for (; times > 0 && json_array_size(all) <= MAX_LAYERS; times--)
        if (json_array_extend(all, types))
            die("out of memory");
}

/* attention_types, [[["global", "local"], 12]], as attention_layers, a type a layer. */
static void expand_types(const struct settings *settings, const struct model_config *config)
{
    static const char key[] = "attention_layers";
    json_t *all = json_array();
    const json_t *group;
    size_t index;
    json_array_foreach(setting(settings, "attention_types"), index, group)
        append_types(settings, group, all);
    if (setting(settings, key) && !json_equal(setting(settings, key), all))
        die("%s: '%s' differs from what 'attention_types' says", settings->name, key);
    json_put(settings->json, key, all);
    check_list(settings, config, key);
}

/* ---- all layers ---- */

void layer_attention_read(const struct settings *settings, struct model_config *config)
{
    const char *key = window_key(config);
    config->attention = new_array(config->layers, sizeof *config->attention);
    if (config->family->window == WINDOW_LOCAL_LAYERS)
        expand_types(settings, config);
    if (config->family->window != WINDOW_NONE)
        setting(settings, key); /* known, be it used or not */
    for (size_t i = 0; i < config->layers; i++) {
        bool window = has_window(settings, config, i);
        config->attention[i] = (struct layer_attention){
            .window = window ? setting_size(settings, key, 1, INT32_MAX) : 0,
            .rotary = rotary_of(settings, config, i, window),
        };
    }
}
