#include "model/value_tokens.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "model/model_header.h"
#include "stream/coverage.h"
#include "stream/header_members.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

#include <stdlib.h>

/* Takes the tokens of a value, which is number seen of the model's. */
static void take_value(struct value_tokens *tokens, const struct model_config *config,
                       struct stream_reader *reader, const struct key_triggers *value, size_t seen)
{
    number_check(reader, "layer", value->layer, config->layers - 1);
    number_check(reader, "cell", value->cell, config->d_ff - 1);
    if (value->layer * config->d_ff + value->cell != seen) {
        coverage_need_all_keys(reader);
        stream_fail(reader, "layer %zu cell %zu is not in order", layer_shown(value->layer), value->cell);
    }
    if (!value->tops || value->top[0] >= config->vocabulary
        || (value->bottoms && value->bottom[0] >= config->vocabulary))
        stream_fail(reader, "layer %zu cell %zu has no token", layer_shown(value->layer), value->cell);
    tokens->top[seen] = value->top[0];
    if (value->bottoms && tokens->bottom) {
        tokens->bottom[seen] = value->bottom[0];
    } else {
        free(tokens->bottom);
        tokens->bottom = NULL;
    }
}

struct value_tokens value_tokens_read(const char *path, const struct model *model,
                                      const struct candidates *candidates)
{
    struct stream_reader *reader = stream_open(path, "values");
    size_t values = matrix_count(model->config.layers, model->config.d_ff), seen = 0;
    struct value_tokens tokens = {.path = path, .top = new_array(values, sizeof *tokens.top)};
    tokens.bottom = new_array(values, sizeof *tokens.bottom);
    struct record record;
    header_check_model(reader, model);
    header_check_candidates(reader, candidates);
    tokens.norm = (enum projection_norm)header_choice(reader, "norm", projection_norm_words);
    for (; stream_next(reader, &record); seen++) {
        struct key_triggers value = {0};
        unsigned bottoms = fields_found(&record, key_fields) & KEY_BOTTOMS;
        fields_read(&record, key_fields, KEY_TOPS | bottoms, &value);
        take_value(&tokens, &model->config, reader, &value, seen);
        key_triggers_free(&value);
    }
    coverage_need_all_keys(reader);
    if (seen != values)
        stream_fail(reader, "%zu values; the model has %zu: project-values --all gives them", seen, values);
    stream_close(reader);
    return tokens;
}

void value_tokens_free(struct value_tokens *tokens)
{
    free(tokens->top);
    free(tokens->bottom);
    *tokens = (struct value_tokens){0};
}

uint32_t value_tokens_promoted(const struct value_tokens *tokens, size_t memory, float coefficient)
{
    if (coefficient >= 0)
        return tokens->top[memory];
    if (!tokens->bottom)
        die("%s: the least probable token of each value is needed, which an active memory's negative "
            "coefficient promotes: project-values --all --bottoms 1 gives them", tokens->path);
    return tokens->bottom[memory];
}
