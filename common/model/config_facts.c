#include "model/config_facts.h"

#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "model/families.h"

#include <stdio.h>
#include <stdlib.h>

static const char *position_name(enum position_kind position)
{
    static const char *const names[] = {
        [POSITION_SINUSOIDAL] = "sinusoidal", [POSITION_LEARNED] = "learned", [POSITION_ROTARY] = "rotary",
        [POSITION_ALIBI] = "ALiBi",
    };
    return names[position];
}

static const char *norm_name(enum norm_kind norm)
{
    return norm == NORM_RMS ? "RMSNorm" : "LayerNorm";
}

static const char *block_name(enum block_norm block)
{
    return block == BLOCK_NORM_SEQUENTIAL ? "behind attention" : "beside attention";
}

/* What a mixture's cells are made of; layers: those that have experts. */
static json_t *experts_of(const struct model_config *config)
{
    if (!config->experts)
        return json_null();
    json_t *layers = json_make("[]");
    for (size_t i = 0; i < config->layers; i++)
        if (config->has_experts[i])
            json_add(layers, json_integer((json_int_t)layer_shown(i)));
    return json_make("{s:I, s:I, s:I, s:I, s:o}", "count", (json_int_t)config->experts, "chosen",
                     (json_int_t)config->chosen_experts, "cells", (json_int_t)config->expert_width,
                     "shared_cells", (json_int_t)config->shared_width, "layers", layers);
}

/* As few digits as tell it from its neighbours. */
static json_t *real_of(float number)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)number);
    return json_real(strtod(text, NULL));
}

static json_t *number_or_null(size_t number, bool is_there)
{
    return is_there ? json_integer((json_int_t)number) : json_null();
}

/* {window: [layers]}, of those that have one; null: none has. */
static json_t *windows(const struct model_config *config)
{
    json_t *found = json_make("{}");
    for (size_t i = 0; i < config->layers; i++) {
        if (!config->attention[i].window)
            continue;
        char *window = format_string("%zu", config->attention[i].window);
        if (!json_object_get(found, window))
            json_put(found, window, json_make("[]"));
        json_add(json_object_get(found, window), json_integer((json_int_t)layer_shown(i)));
        free(window);
    }
    if (json_object_size(found))
        return found;
    json_decref(found);
    return json_null();
}

static json_t *rotated_layers(const struct model_config *config)
{
    json_t *layers = json_make("[]");
    for (size_t i = 0; i < config->layers; i++)
        if (config->attention[i].rotary)
            json_add(layers, json_integer((json_int_t)layer_shown(i)));
    return layers;
}

static void put_attention(json_t *facts, const struct model_config *config)
{
    json_put(facts, "heads", json_integer((json_int_t)config->heads));
    json_put(facts, "key_value_heads", json_integer((json_int_t)config->key_value_heads));
    json_put(facts, "head_width", json_integer((json_int_t)config->head_width));
    json_put(facts, "windows", windows(config));
    json_put(facts, "positions", json_string(position_name(config->position)));
    if (config->position == POSITION_ROTARY)
        json_put(facts, "rotated_layers", rotated_layers(config));
    json_put(facts, "context_limit", number_or_null(config->context, config->context));
}

static void put_words(json_t *facts, const struct model_config *config)
{
    json_put(facts, "vocabulary", json_integer((json_int_t)config->vocabulary));
    json_put(facts, "clusters",
             config->clusters > 1 ? json_list(config->cutoffs, config->clusters) : json_null());
    json_put(facts, "tied", json_boolean(config->tied));
}

json_t *config_facts(const struct model_config *config)
{
    json_t *facts = json_make("{s:s, s:I, s:I, s:I}", "family", config->family->model_type, "layers",
                              (json_int_t)config->layers, "d_model", (json_int_t)config->d_model, "cells",
                              (json_int_t)config->d_ff);
    json_put(facts, "experts", experts_of(config));
    json_put(facts, "gated", json_boolean(config->gated));
    json_put(facts, "activation", json_string(config->activation_name));
    json_put(facts, "block", json_string(block_name(config->block_norm)));
    json_put(facts, "norm", json_string(norm_name(config->norm)));
    json_put(facts, "norms_of_sums", json_boolean(config->normed_sums));
    json_put(facts, "norm_epsilon", real_of(config->norm_epsilon));
    json_put(facts, "final_norm", json_boolean(config->final_norm));
    put_attention(facts, config);
    put_words(facts, config);
    return facts;
}
