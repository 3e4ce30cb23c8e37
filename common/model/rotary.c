#include "model/rotary.h"

#include "base/messages.h"
#include "model/families.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double turn = 6.283185307179586;

/* One of the config's, while it is read. */
struct reading {
    const struct settings *settings; /* of the model */
    const struct settings *object;   /* rope_scaling, rope_parameters, or a part of these */
    struct model_config *config;
    struct rotary *rotary;
    double base;
    size_t dimensions; /* that the settings say; the width is the next even number */
};

/* ---- what several kinds of scaling have ---- */

/* The length of sentences that the model learned with, before its positions were scaled. */
static double original_length(const struct reading *reading)
{
    static const char key[] = "original_max_position_embeddings";
    const struct settings *settings = reading->settings, *object = reading->object;
    double outside = setting_real_or(settings, key, 0);
    double inside = setting_real_or(object, key, outside);
    if (outside > 0 && (inside < outside || inside > outside))
        die("%s: '%s%s' is %g, where %g is stated beside it", settings->name, object->part, key, inside,
            outside);
    return inside > 0 ? inside : setting_real(settings, "max_position_embeddings");
}

/* How much longer than these sentences are to be: stated, or the ratio of the lengths. */
static double factor_of_length(const struct reading *reading, double original)
{
    return setting(reading->object, "factor")
         ? setting_real(reading->object, "factor")
         : setting_real(reading->settings, "max_position_embeddings") / original;
}

/* Sentences longer than this have other frequencies. */
static void limit_context(const struct reading *reading, double length)
{
    size_t most = length < 1 ? 1 : length < INT32_MAX ? (size_t)length : INT32_MAX;
    struct model_config *config = reading->config;
    if (!config->context || config->context > most)
        config->context = most;
}

static void divide(const struct rotary *rotary, double divisor)
{
    for (size_t k = 0; k < rotary->width / 2; k++)
        rotary->frequency[k] /= divisor;
}

/* ---- the kinds of scaling ---- */

static void scale_linear(const struct reading *reading)
{
    divide(reading->rotary, setting_real(reading->object, "factor"));
}

/*
 * Llama 3's: long waves are slowed by factor, short ones kept, those between are mixed.
 * (Meta's reference code; waves are measured in positions.)
 */
static void scale_llama3(const struct reading *reading)
{
    double length = original_length(reading), factor = setting_real(reading->object, "factor");
    double low = setting_real(reading->object, "low_freq_factor");
    double high = setting_real(reading->object, "high_freq_factor");
    for (size_t k = 0; k < reading->rotary->width / 2; k++) {
        double *frequency = &reading->rotary->frequency[k];
        double wave = turn / *frequency, share = (length / wave - low) / (high - low);
        if (wave > length / low)
            *frequency /= factor;
        else if (!(wave < length / high))
            *frequency = (1 - share) * *frequency / factor + share * *frequency;
    }
}

/* The dimension that makes so many turns in a sentence of this length. */
static double dimension_of(const struct reading *reading, double turns, double length)
{
    return (double)reading->dimensions * log(length / (turns * turn)) / (2 * log(reading->base));
}

static double yarn_scale(double factor, double share)
{
    return factor > 1 ? 0.1 * share * log(factor) + 1 : 1;
}

/* YaRN (Peng et al. 2023): slow dimensions are interpolated, fast ones kept, those between are mixed. */
static void scale_yarn(const struct reading *reading)
{
    const struct settings *object = reading->object;
    struct rotary *rotary = reading->rotary;
    double length = original_length(reading);
    double factor = setting_stated(object, "factor") ? factor_of_length(reading, length)
                                                     : setting_real(object, "factor");
    double low = dimension_of(reading, setting_real_or(object, "beta_fast", 32), length);
    double high = dimension_of(reading, setting_real_or(object, "beta_slow", 1), length);
    if (!setting(object, "truncate") || setting_flag(object, "truncate")) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)reading->dimensions - 1);
    if (!(low < high) && !(low > high))
        high += 0.001;
    for (size_t k = 0; k < rotary->width / 2; k++) {
        double slow = fmin(fmax(((double)k - low) / (high - low), 0), 1);
        rotary->frequency[k] = rotary->frequency[k] * (1 - slow) + rotary->frequency[k] / factor * slow;
    }
    double all = setting_real_or(object, "mscale_all_dim", 0), own = setting_real_or(object, "mscale", 0);
    rotary->scale = all > 0 && own > 0 ? yarn_scale(factor, own) / yarn_scale(factor, all)
                                       : yarn_scale(factor, 1);
    rotary->scale = setting_real_or(object, "attention_factor", rotary->scale);
}

/* LongRoPE (Ding et al. 2024), for sentences of the original length: a divisor for each dimension. */
static void scale_longrope(const struct reading *reading)
{
    const struct settings *object = reading->object;
    struct rotary *rotary = reading->rotary;
    const json_t *divisors = setting(object, "short_factor"), *of_longer = setting(object, "long_factor");
    double length = original_length(reading), factor = factor_of_length(reading, length);
    if (json_array_size(divisors) != rotary->width / 2 || json_array_size(of_longer) != rotary->width / 2)
        die("%s: '%sshort_factor' and 'long_factor' must be lists of %zu numbers", object->name,
            object->part, rotary->width / 2);
    for (size_t k = 0; k < rotary->width / 2; k++) {
        double divisor = json_number_value(json_array_get(divisors, k));
        if (!(divisor > 0 && isfinite(divisor)))
            die("%s: '%sshort_factor' has an element that is no positive number", object->name,
                object->part);
        rotary->frequency[k] /= divisor;
    }
    if (factor > 1)
        rotary->scale = sqrt(1 + log(factor) / log(length));
    rotary->scale = setting_real_or(object, "attention_factor", rotary->scale);
    limit_context(reading, length);
}

/* Dynamic NTK scaling changes nothing up to the model's length, and then depends on the longest so far. */
static void scale_dynamic(const struct reading *reading)
{
    setting_real(reading->object, "factor");
    limit_context(reading, setting_real(reading->settings, "max_position_embeddings"));
}

static const struct scaling {
    const char *name;
    void (*scale)(const struct reading *reading);
} scalings[] = {
    {"default", NULL},        {"linear", scale_linear},     {"llama3", scale_llama3},
    {"yarn", scale_yarn},     {"longrope", scale_longrope}, {"su", scale_longrope}, /* its name of before */
    {"dynamic", scale_dynamic},
};
enum { SCALINGS = sizeof scalings / sizeof *scalings };

static const struct scaling *scaling_of(const struct settings *object)
{
    const json_t *type = setting(object, "rope_type"), *old = setting(object, "type");
    if (type && old && !json_equal(type, old))
        setting_refuse(object, "type", "what rope_type says");
    const char *kind = type || old ? json_string_value(type ? type : old) : "default";
    for (size_t i = 0; kind && i < SCALINGS; i++)
        if (!strcmp(scalings[i].name, kind))
            return &scalings[i];
    setting_refuse(object, type ? "rope_type" : "type",
                   "default, linear, llama3, yarn, longrope, su, dynamic");
}

/* ---- the objects ---- */

/* The object of the rotary positions called key, or one in which nothing is stated. */
static struct settings open_object(const struct settings *settings, const char *key, const char *part)
{
    json_t *object = setting(settings, key);
    if (object && !json_is_object(object))
        setting_refuse(settings, key, "an object");
    return settings_open(settings->name, part, object);
}

/*
 * A number that may be stated several times, and then must agree: the value of
 * key, or so_far where it is missing. so_far 0: nothing has stated it yet.
 */
static double agreed_real(const struct settings *settings, const char *key, double so_far)
{
    double value = setting_real_or(settings, key, so_far);
    if (so_far > 0 && (value < so_far || value > so_far))
        die("%s: '%s%s' is %g, where %g is stated or follows from the others", settings->name, settings->part,
            key, value, so_far);
    return value;
}

/* Checks rope_parameters where rope_scaling counts: it may say its type, and what is true in any case. */
static void check_replaced(const struct settings *replaced, const struct settings *object, double base,
                           double part)
{
    static const char *const *const none_ignored[] = {NULL};
    const char *key;
    json_t *value;
    agreed_real(replaced, "rope_theta", base);
    agreed_real(replaced, "partial_rotary_factor", part);
    json_object_foreach(replaced->json, key, value) {
        const char *text = json_string_value(value);
        bool type = !strcmp(key, "rope_type") || !strcmp(key, "type");
        if (json_equal(value, json_object_get(object->json, key))
            || (type && text && !strcmp(text, "default")))
            setting(replaced, key);
    }
    settings_refuse_unread(replaced, none_ignored);
}

/* An odd number of dimensions is refused, as transformers does, but in families where it takes one more. */
static void set_width(const struct settings *settings, const struct model_config *config, size_t dimensions,
                      struct rotary *rotary)
{
    rotary->width = dimensions + (config->family->rotary_rounds ? dimensions % 2 : 0);
    if (dimensions < 1 || rotary->width % 2 || rotary->width > config->head_width)
        die("%s: %zu of a head's %zu dimensions would be rotated; an even number of them can be",
            settings->name, dimensions, config->head_width);
}

static void set_frequencies(const struct reading *reading)
{
    struct rotary *rotary = reading->rotary;
    rotary->scale = 1;
    rotary->frequency = new_array(rotary->width / 2, sizeof *rotary->frequency);
    for (size_t k = 0; k < rotary->width / 2; k++)
        rotary->frequency[k] = pow(reading->base, -2.0 * (double)k / (double)reading->dimensions);
}

/* What is stated of one of the config's outside of its object, or 0, and what counts where nothing is. */
struct outside {
    double base, part, otherwise_base, otherwise_part;
};

/*
 * Reads the rotary positions of some layers. As transformers 5 has it, rope_scaling, of
 * before, counts instead of rope_parameters where both are there.
 */
static void read_one(const struct settings *settings, const struct settings *scaling,
                     const struct settings *parameters, struct outside outside, struct model_config *config,
                     struct rotary *rotary)
{
    static const char *const *const none_ignored[] = {NULL};
    bool replaced = json_object_size(scaling->json) > 0;
    const struct settings *object = replaced ? scaling : parameters;
    double base = agreed_real(object, "rope_theta", outside.base);
    double part = agreed_real(object, "partial_rotary_factor", outside.part);
    base = base > 0 ? base : outside.otherwise_base;
    part = part > 0 ? part : outside.otherwise_part;
    size_t dimensions = (size_t)((double)config->head_width * fmin(part, 2));
    set_width(settings, config, dimensions, rotary);
    struct reading reading = {settings, object, config, rotary, base, dimensions};
    set_frequencies(&reading);
    const struct scaling *kind = scaling_of(object);
    if (kind->scale)
        kind->scale(&reading);
    settings_refuse_unread(object, none_ignored);
    if (replaced)
        check_replaced(parameters, object, base, part);
}

static void read_usual(const struct settings *settings, struct outside outside, struct model_config *config)
{
    struct settings scaling = open_object(settings, "rope_scaling", "rope_scaling.");
    struct settings parameters = open_object(settings, "rope_parameters", "rope_parameters.");
    read_one(settings, &scaling, &parameters, outside, config, &config->rotary[0]);
    settings_close(&scaling);
    settings_close(&parameters);
}

/* Gemma 3's: layers with a window have rotary positions of their own, which rope_scaling does not scale. */
static void read_two(const struct settings *settings, struct outside outside, struct model_config *config)
{
    static const char *const *const none_ignored[] = {NULL};
    struct settings scaling = open_object(settings, "rope_scaling", "rope_scaling.");
    struct settings none = settings_open(settings->name, "", NULL);
    struct settings parameters = open_object(settings, "rope_parameters", "rope_parameters.");
    struct settings full = open_object(&parameters, "full_attention", "rope_parameters.full_attention.");
    struct settings window =
        open_object(&parameters, "sliding_attention", "rope_parameters.sliding_attention.");
    settings_refuse_unread(&parameters, none_ignored);
    read_one(settings, &scaling, &full, outside, config, &config->rotary[0]);
    outside.base = setting_real_or(settings, "rope_local_base_freq", 0);
    outside.otherwise_base = 10000;
    read_one(settings, &none, &window, outside, config, &config->rotary[1]);
    settings_close(&scaling);
    settings_close(&none);
    settings_close(&full);
    settings_close(&window);
    settings_close(&parameters);
}

/* GPT-J's: the settings have a width, and the frequencies are what they are. */
static void read_width(const struct settings *settings, const char *key, struct model_config *config)
{
    size_t width = setting_size_or(settings, key, 1, MAX_WIDTH, config->head_width);
    set_width(settings, config, width, &config->rotary[0]);
    set_frequencies(&(struct reading){settings, NULL, config, &config->rotary[0], 10000, width});
}

void rotary_read(const struct settings *settings, struct model_config *config)
{
    const struct family *family = config->family;
    const struct setting_names *names = &family->names;
    size_t width = config->head_width;
    double base = names->rotary_base ? setting_real_or(settings, names->rotary_base, 0) : 0;
    double part = names->rotary_part ? setting_real_or(settings, names->rotary_part, 0) : 0;
    config->rotary = new_array(MAX_ROTARIES, sizeof *config->rotary);
    if (names->rotary_width) {
        read_width(settings, names->rotary_width, config);
        return;
    }
    /* of GGUF files; null: all of them. The half makes up for what rounding takes away. */
    if (setting_stated(settings, "rope.dimension_count"))
        part = ((double)setting_size_or(settings, "rope.dimension_count", 1, width, width) + 0.5)
             / (double)width;
    else if (!(family->rotary_part > 0))
        part = 1;
    struct outside outside = {
        .base = agreed_real(settings, "rope_theta", base),
        .part = agreed_real(settings, "partial_rotary_factor", part),
        .otherwise_base = family->rotary_base > 0 ? family->rotary_base : 10000,
        .otherwise_part = family->rotary_part,
    };
    if (family->rotary_layers == ROTARY_TWO_KINDS)
        read_two(settings, outside, config);
    else
        read_usual(settings, outside, config);
}

void rotary_free(struct model_config *config)
{
    for (size_t i = 0; config->rotary && i < MAX_ROTARIES; i++)
        free(config->rotary[i].frequency);
    free(config->rotary);
    config->rotary = NULL;
}
