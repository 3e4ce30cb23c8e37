#include "model/expert_settings.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "model/families.h"

/* Whether a list of numbers, which may be missing, has this one. */
static bool lists(const struct settings *settings, const char *key, size_t number)
{
    const json_t *list = setting(settings, key), *element;
    size_t index;
    if (list && !json_is_array(list))
        setting_refuse(settings, key, "a list of layers");
    json_array_foreach(list, index, element)
        if (!json_is_integer(element))
            setting_refuse(settings, key, "a list of layers");
        else if (json_integer_value(element) == (json_int_t)number)
            return true;
    return false;
}

/* Every so many layers one has experts, unless it is listed as one that has none. */
static bool layer_has_experts(const struct settings *settings, const struct setting_names *names,
                              size_t index)
{
    size_t step = names->expert_step ? setting_size(settings, names->expert_step, 1, MAX_LAYERS) : 1;
    bool listed = names->plain_layers && lists(settings, names->plain_layers, index);
    return (index + 1) % step == 0 && !listed;
}

/* Layers without experts have the cells that d_ff says, and a stream one number of cells for all layers. */
static void read_layers(const struct settings *settings, struct model_config *config, size_t cells)
{
    const struct setting_names *names = &config->family->names;
    config->has_experts = new_array(config->layers, sizeof *config->has_experts);
    for (size_t i = 0; i < config->layers; i++) {
        config->has_experts[i] = layer_has_experts(settings, names, i);
        if (!config->has_experts[i] && config->d_ff != cells)
            die("%s: layer %zu has no experts and '%s' %zu cells, but those with experts have %zu; layers of"
                " different widths are not known", settings->name, layer_shown(i), names->d_ff, config->d_ff,
                cells);
    }
}

void expert_settings_read(const struct settings *settings, struct model_config *config)
{
    const struct setting_names *names = &config->family->names;
    if (!names->experts)
        return;
    config->experts = setting_size(settings, names->experts, 1, MAX_EXPERTS);
    config->chosen_experts = setting_size(settings, names->chosen_experts, 1, config->experts);
    config->expert_width = names->expert_width ? setting_size(settings, names->expert_width, 1, MAX_WIDTH)
                                               : config->d_ff;
    if (names->shared_width)
        config->shared_width = setting_size(settings, names->shared_width, 1, MAX_WIDTH);
    config->experts_normalized = !names->experts_normalized
                              || setting_flag(settings, names->experts_normalized);
    if (names->gate_limit)
        config->gate_limit = setting_float(settings, names->gate_limit);
    size_t cells = config->experts * config->expert_width + config->shared_width;
    if (cells > MAX_WIDTH)
        die("%s: '%s' %zu of %zu cells are more than the %d cells of a layer that are known", settings->name,
            names->experts, config->experts, config->expert_width, MAX_WIDTH);
    read_layers(settings, config, cells);
    config->d_ff = cells;
}
