#include "model/removals.h"

#include "base/hash.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "model/value_tokens.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum rule { RULE_NONE, RULE_TOP, RULE_AGREEING, RULE_RANDOM };
static const char *const rule_words[] = {"", "top", "agreeing", "random"};

struct removal {
    enum rule rule;
    size_t count;
    float *norm; /* d_ff: |v_i|; NULL where it does not count */
};

struct removals {
    struct removal *layer; /* layers */
    size_t layers, d_ff;
    uint64_t seed;
    struct value_tokens values; /* for RULE_AGREEING */
    bool all_tokens;            /* these and predictions are of all tokens */
};

/* ---- reading ---- */

static _Noreturn void malformed(const char *text)
{
    die_usage("--remove: '%.100s' is no removal: 3:top=10 removes the 10 memories of layer 3 that contribute "
              "most at each position, *:random=10 random ones of each layer", text);
}

/* |v_i| of a layer's cells; the caller frees them. */
static float *value_norms(const struct model *model, size_t layer)
{
    size_t d_model = model->config.d_model, d_ff = model->config.d_ff;
    float *norm = new_array(d_ff, sizeof *norm), *value = new_floats(d_model);
    for (size_t cell = 0; cell < d_ff; cell++) {
        double square = 0;
        model_value(model, layer, cell, value);
        for (size_t k = 0; k < d_model; k++)
            square += (double)value[k] * (double)value[k];
        norm[cell] = (float)sqrt(square);
    }
    free(value);
    return norm;
}

/* A whole number from 1 to most, which text is up to end. */
static size_t read_number(const char *text, const char *end, const char *whole, const char *what, size_t most)
{
    char *behind;
    errno = 0;
    unsigned long long number = strtoull(text, &behind, 10);
    if (*text < '0' || *text > '9' || behind != end)
        malformed(whole);
    if (errno || number < 1 || number > most)
        die_usage("--remove: '%.100s': %s are from 1 to %zu", whole, what, most);
    return (size_t)number;
}

static enum rule read_rule(const char *text, size_t length, const char *whole)
{
    for (enum rule rule = RULE_TOP; rule <= RULE_RANDOM; rule++)
        if (strlen(rule_words[rule]) == length && !strncmp(text, rule_words[rule], length))
            return rule;
    malformed(whole);
}

static void read_removal(struct removals *removals, const struct model *model, const char *text)
{
    const char *colon = strchr(text, ':'), *equals = colon ? strchr(colon, '=') : NULL;
    if (!equals)
        malformed(text);
    bool all = colon == text + 1 && *text == '*';
    size_t first = all ? 0 : layer_of_shown(read_number(text, colon, text, "layers", removals->layers));
    size_t end = all ? removals->layers : first + 1;
    struct removal removal = {.rule = read_rule(colon + 1, (size_t)(equals - colon - 1), text)};
    removal.count = read_number(equals + 1, equals + strlen(equals), text, "cells to remove", removals->d_ff);
    for (size_t layer = first; layer < end; layer++) {
        if (removals->layer[layer].rule)
            die_usage("--remove: '%.100s': layer %zu has a rule already", text, layer_shown(layer));
        removals->layer[layer] = removal;
        if (removal.rule != RULE_RANDOM)
            removals->layer[layer].norm = value_norms(model, layer);
    }
}

struct removals *removals_read(const struct option_texts *lists, const struct model *model, uint64_t seed)
{
    if (!lists->count)
        return NULL;
    struct removals *removals = new_array(1, sizeof *removals);
    *removals = (struct removals){.layers = model->config.layers, .d_ff = model->config.d_ff, .seed = seed};
    removals->layer = new_array(removals->layers, sizeof *removals->layer);
    for (size_t i = 0; i < lists->count; i++) {
        char *list = copy_string(lists->text[i]);
        for (char *next = list; next;) {
            char *text = next, *comma = strchr(next, ',');
            next = comma ? comma + 1 : NULL;
            if (comma)
                *comma = '\0';
            read_removal(removals, model, text);
        }
        free(list);
    }
    return removals;
}

void removals_free(struct removals *removals)
{
    if (!removals)
        return;
    for (size_t layer = 0; layer < removals->layers; layer++)
        free(removals->layer[layer].norm);
    free(removals->layer);
    value_tokens_free(&removals->values);
    free(removals);
}

bool removals_need_predictions(const struct removals *removals)
{
    for (size_t layer = 0; layer < removals->layers; layer++)
        if (removals->layer[layer].rule == RULE_AGREEING)
            return true;
    return false;
}

void removals_read_values(struct removals *removals, const char *path, const struct model *model,
                          const struct candidates *candidates)
{
    removals->values = value_tokens_read(path, model, candidates);
    removals->all_tokens = candidates->count == candidates->vocabulary;
}

size_t removals_last_layer(const struct removals *removals)
{
    size_t last = removals->layers - 1;
    while (!removals->layer[last].rule)
        last--;
    return last;
}

/* ---- removing ---- */

struct candidate {
    uint64_t score;
    size_t cell;
};

static bool is_worse(const struct candidate *a, const struct candidate *b)
{
    return a->score < b->score || (a->score == b->score && a->cell > b->cell);
}

DEFINE_HEAP(worst, struct candidate, is_worse);

/* The bits of a float that is not negative rise with it. */
static uint64_t contribution_score(float coefficient, float norm)
{
    float contribution = fabsf(coefficient) * norm;
    uint32_t bits;
    memcpy(&bits, &contribution, sizeof bits);
    return bits;
}

/* Whether a memory with this coefficient is one of those that the rule chooses from. */
static bool is_candidate(const struct removals *removals, size_t layer, size_t cell, float coefficient,
                         uint32_t token)
{
    if (coefficient == 0 || removals->layer[layer].rule != RULE_AGREEING)
        return coefficient != 0;
    return value_tokens_promoted(&removals->values, layer * removals->d_ff + cell, coefficient) == token;
}

/* In the row number r; coefficient: d_ff, of its position; best: room for as many as are removed. */
static void remove_from(const struct removals *removals, size_t layer, const struct edited_rows *rows,
                        size_t r, float *coefficient, struct candidate *best)
{
    const struct removal *removal = &removals->layer[layer];
    const uint64_t random = hash_random(removals->seed, rows->sentence[r], rows->position[r]);
    const uint32_t token = removal->rule == RULE_AGREEING ? rows->token[r] : 0;
    size_t count = 0;
    for (size_t cell = 0; cell < removals->d_ff; cell++) {
        if (!is_candidate(removals, layer, cell, coefficient[cell], token))
            continue;
        struct candidate candidate = {
            removal->norm ? contribution_score(coefficient[cell], removal->norm[cell])
                          : hash_random(random, layer, cell), cell};
        if (count < removal->count)
            worst_push(best, count++, candidate);
        else if (is_worse(&best[0], &candidate))
            worst_replace(best, count, candidate);
    }
    for (size_t i = 0; i < count; i++)
        coefficient[best[i].cell] = 0;
}

void removals_apply(const struct removals *removals, size_t layer, const struct edited_rows *rows,
                    float *coefficient)
{
    if (!removals->layer[layer].rule)
        return;
    struct candidate *best = new_array(removals->layer[layer].count, sizeof *best);
    for (size_t r = 0; r < rows->count; r++)
        remove_from(removals, layer, rows, r, coefficient + rows->row[r] * removals->d_ff, best);
    free(best);
}

/* ---- headers ---- */

void removals_set_json(json_t *edits, const struct removals *removals)
{
    json_t *list = json_make("[]");
    bool any_random = false;
    for (size_t layer = 0; layer < removals->layers; layer++) {
        const struct removal *removal = &removals->layer[layer];
        any_random = any_random || removal->rule == RULE_RANDOM;
        if (removal->rule)
            json_add(list, json_make("[I, s, I]", (json_int_t)layer, rule_words[removal->rule],
                                     (json_int_t)removal->count));
    }
    json_put(edits, "removed", list);
    if (any_random)
        json_put(edits, "seed", json_integer((json_int_t)removals->seed));
    if (removals_need_predictions(removals)) {
        json_put(edits, "norm", json_string(projection_norm_words[removals->values.norm]));
        json_put(edits, "all_tokens", json_boolean(removals->all_tokens));
    }
}
