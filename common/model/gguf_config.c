#include "model/gguf_config.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/families.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct description {
    const struct gguf *file;
    const char *path;
    const struct family *family; /* the keys of its metadata begin with its architecture */
    json_t *config;
    json_t *read; /* keys that were asked for */
};

enum { MAX_NUMBER = INT32_MAX };

/* Whether the file has the key, which is now known. */
static bool has_key(const struct description *description, const char *key)
{
    json_put(description->read, key, json_true());
    return gguf_has_key(description->file, key);
}

/* ARCHITECTURE.name; the caller frees it. */
static char *key_of(const struct description *description, const char *name)
{
    return format_string("%s.%s", description->family->gguf.architecture, name);
}

/* Sets a setting, or, where its name begins with the family's object's and a point, a member of that. */
static void put(const struct description *description, const char *setting, json_t *value)
{
    const char *object = description->family->gguf.object;
    size_t length = object ? strlen(object) : 0;
    if (!object || strncmp(setting, object, length) || setting[length] != '.') {
        json_put(description->config, setting, value);
        return;
    }
    if (!json_object_get(description->config, object))
        json_put(description->config, object, json_make("{}"));
    json_put(json_object_get(description->config, object), setting + length + 1, value);
}

/*
 * Copies the whole number at key to the config as `to`. Where the file does not
 * have it, this is null: what config.json would have by default is another thing.
 */
static void copy_key(const struct description *description, const char *key, const char *to)
{
    put(description, to,
        has_key(description, key)
            ? json_integer((json_int_t)gguf_uint(description->file, key, 0, MAX_NUMBER)) : json_null());
}

/* The same for ARCHITECTURE.name. */
static void copy_number(const struct description *description, const char *name, const char *to)
{
    char *key = key_of(description, name);
    copy_key(description, key, to);
    free(key);
}

/* The fraction at ARCHITECTURE.name, or 0. */
static double real_or_none(const struct description *description, const char *name)
{
    char *key = key_of(description, name);
    double real = has_key(description, key) ? gguf_real(description->file, key) : 0;
    free(key);
    return real;
}

/* Ends the program for a file that lacks ARCHITECTURE.name. */
static void need_key(const struct description *description, const char *name)
{
    char *key = key_of(description, name);
    if (!has_key(description, key))
        die("%s: there is no metadata '%s', which %s needs: the file is of an old or another converter;"
            " " GGUF_ANEW,
            description->path, key, description->family->gguf.architecture);
    free(key);
}

/* A setting's value, null for 0 where the row says so; missing ones end the program where they are needed. */
static void describe(const struct description *description, const struct metadata_row *row)
{
    const json_t *config = description->config;
    if (row->kind == METADATA_NEEDED_NUMBER || row->kind == METADATA_NEEDED_REAL
        || row->kind == METADATA_NEEDED_FLAG)
        need_key(description, row->name);
    if (row->kind == METADATA_NEEDED_FLAG) {
        char *key = key_of(description, row->name);
        put(description, row->setting, json_boolean(gguf_bool(description->file, key)));
        free(key);
        return;
    }
    if (row->kind == METADATA_NEEDED_REAL || row->kind == METADATA_NONZERO_REAL) {
        double real = real_or_none(description, row->name);
        bool null = row->kind == METADATA_NONZERO_REAL && !(real < 0) && !(real > 0);
        put(description, row->setting, null ? json_null() : json_real(real));
        return;
    }
    copy_number(description, row->name, row->setting);
    if (row->kind == METADATA_NONZERO_NUMBER
        && json_integer_value(json_object_get(config, row->setting)) == 0)
        put(description, row->setting, json_null());
}

/* What the file says by the tensors that it has, and then what nothing in it says. */
static void describe_unstated(const struct description *description)
{
    const struct gguf_family *gguf = &description->family->gguf;
    struct settings settings = settings_open(description->path, "", description->config);
    for (const struct tensor_setting *row = gguf->by_tensors; row && row->tensor; row++) {
        bool present = gguf_has(description->file, row->tensor);
        const struct known_setting known[] = {{row->setting, present ? row->present : row->absent},
                                              {NULL, NULL}};
        settings_default(&settings, known);
    }
    settings_default(&settings, gguf->settings);
    settings_close(&settings);
}

/* ---- scaling of positions ---- */

static bool is_zero(double real)
{
    return !(real < 0) && !(real > 0);
}

/* The factor, or 0. rope.scale_linear is its name of before. */
static double scaling_factor(const struct description *description)
{
    const char *architecture = description->family->gguf.architecture;
    double factor = real_or_none(description, "rope.scaling.factor");
    double old = real_or_none(description, "rope.scale_linear");
    if (!is_zero(factor) && !is_zero(old) && (factor < old || factor > old))
        die("%s: %s.rope.scaling.factor is %g, and %s.rope.scale_linear, its name of before, %g; take one of"
            " them out of the file: gguf-new-metadata --remove-metadata (of the Python package gguf)",
            description->path, architecture, factor, architecture, old);
    return is_zero(factor) ? old : factor;
}

/* Lengths that the kinds of scaling but the linear one need. */
static void describe_lengths(const struct description *description)
{
    char *key = key_of(description, "rope.scaling.original_context_length");
    copy_number(description, "context_length", "max_position_embeddings");
    if (gguf_has_key(description->file, key))
        json_put(description->config, "original_max_position_embeddings",
                 json_integer((json_int_t)gguf_uint(description->file, key, 1, MAX_NUMBER)));
    free(key);
}

/*
 * The converter writes what the model's settings call attention_factor, all of the scale of cosines and
 * sines, as yarn_attn_factor, by which llama.cpp multiplies what it works out for itself. Where it is just
 * that there is nothing to tell.
 */
static void check_yarn_scale(const struct description *description, double factor)
{
    const double usual = 0.1 * log(fmax(factor, 1)) + 1;
    double stated = real_or_none(description, "rope.scaling.yarn_attn_factor");
    if (!is_zero(stated) && fabs(stated - usual) > 1e-5)
        die("%s: %s.rope.scaling.yarn_attn_factor is %g; this program knows only %g, which YaRN has for a"
            " factor of %g; give the model's Hugging Face directory", description->path,
            description->family->gguf.architecture, stated, usual, factor);
}

/* YaRN's, whose scale of cosines and sines llama.cpp works out as transformers does. */
static void describe_yarn(const struct description *description, double factor, json_t *scaling)
{
    check_yarn_scale(description, factor);
    double fast = real_or_none(description, "rope.scaling.yarn_beta_fast");
    double slow = real_or_none(description, "rope.scaling.yarn_beta_slow");
    if (!is_zero(fast))
        json_put(scaling, "beta_fast", json_real(fast));
    if (!is_zero(slow))
        json_put(scaling, "beta_slow", json_real(slow));
    if (description->family->gguf.yarn_not_truncated)
        json_put(scaling, "truncate", json_false());
    describe_lengths(description);
}

/* A vector of the file as a list of numbers. */
static json_t *vector_of(const struct description *description, const char *name)
{
    size_t length[GGUF_DIMENSIONS];
    gguf_format(description->file, name, length);
    if (length[0] > MAX_WIDTH)
        die("%s: tensor '%s' has %zu elements, more than a head can have: " GGUF_DAMAGED,
            description->path, name, length[0]);
    float *values = new_floats(length[0]);
    gguf_read(description->file, name, (struct tensor_shape){.rows = length[0]}, values);
    json_t *list = json_make("[]");
    for (size_t i = 0; i < length[0]; i++)
        json_add(list, json_real((double)values[i]));
    free(values);
    return list;
}

/* LongRoPE's: divisors as tensors, and the scale of cosines and sines, which the converter works out. */
static void describe_longrope(const struct description *description, json_t *scaling)
{
    need_key(description, "rope.scaling.attn_factor");
    json_put(scaling, "attention_factor", json_real(real_or_none(description, "rope.scaling.attn_factor")));
    json_put(scaling, "short_factor", vector_of(description, GGUF_SHORT_FACTORS));
    json_put(scaling, "long_factor", vector_of(description, GGUF_LONG_FACTORS));
    describe_lengths(description);
}

/* The type of scaling: as llama.cpp has it, without one longrope where there are its tensors, else linear. */
static char *scaling_type(const struct description *description)
{
    char *key = key_of(description, "rope.scaling.type");
    bool tensors = gguf_has(description->file, GGUF_SHORT_FACTORS)
                || gguf_has(description->file, GGUF_LONG_FACTORS);
    char *type = has_key(description, key) ? gguf_word(description->file, key)
                                           : copy_string(tensors ? "longrope" : "linear");
    bool longrope = !strcmp(type, "longrope");
    if (strcmp(type, "none") && strcmp(type, "linear") && strcmp(type, "yarn") && !longrope)
        die("%s: %s is '%s'; of GGUF files this program knows only none, linear, yarn,"
            " longrope; give the model's Hugging Face directory, if it is of another kind there",
            description->path, key, type);
    if (tensors != longrope)
        die("%s: %s is '%s', but there %s '%s'; " GGUF_ANEW, description->path, key, type,
            tensors ? "is a tensor like" : "is no tensor", GGUF_SHORT_FACTORS);
    free(key);
    return type;
}

static void describe_scaling(const struct description *description)
{
    double factor = scaling_factor(description);
    char *type = scaling_type(description);
    bool longrope = !strcmp(type, "longrope");
    if (longrope && !is_zero(factor))
        die("%s: %s.rope.scaling.factor is %g, which longrope scaling has no use for; " GGUF_ANEW,
            description->path, description->family->gguf.architecture, factor);
    /* no factor: no scaling */
    if (strcmp(type, "none") && (longrope || !is_zero(factor))) {
        json_t *scaling = json_make("{s:s}", "rope_type", type);
        if (!longrope)
            json_put(scaling, "factor", json_real(factor));
        if (!strcmp(type, "yarn"))
            describe_yarn(description, factor, scaling);
        if (longrope)
            describe_longrope(description, scaling);
        json_put(description->config, "rope_scaling", scaling);
    }
    free(type);
}

/*
 * No metadata say what scales attention of Gemma's models. As llama.cpp has it, that of 27 billion weights,
 * known by its layers, differs from the others.
 */
static void describe_wide_scale(const struct description *description)
{
    const struct setting_names *names = &description->family->names;
    json_int_t layers = json_integer_value(json_object_get(description->config, names->layers));
    json_int_t d_model = json_integer_value(json_object_get(description->config, names->d_model));
    json_int_t heads = json_integer_value(json_object_get(description->config, names->heads));
    bool wide = layers == (json_int_t)description->family->gguf.wide_layers && heads > 0;
    json_put(description->config, names->attention_width,
             wide ? json_real((double)d_model / (double)heads) : json_null());
}

/* Rows of token_embd.weight, of which the vocabulary is not always stated. */
static void describe_vocabulary(const struct description *description)
{
    static const char tokens_key[] = "tokenizer.ggml.tokens";
    copy_number(description, "vocab_size", "vocab_size");
    if (!json_is_null(json_object_get(description->config, "vocab_size"))
        || !gguf_has_key(description->file, tokens_key))
        return;
    size_t count;
    free(gguf_texts(description->file, tokens_key, &count));
    json_put(description->config, "vocab_size", json_integer((json_int_t)count));
}

/* ---- what is not read ---- */

/* Keys of an architecture, after its name and the point, that change no number that is computed here. */
static const char *const unread_names[] = {
    "context_length",                       /* nothing ends there where positions are rotated */
    "rope.scaling.original_context_length", /* read where the kind of scaling needs it */
    "rope.scaling.finetuned", "tensor_data_layout", NULL};

static bool is_unread_name(const char *name)
{
    for (size_t i = 0; unread_names[i]; i++)
        if (!strcmp(unread_names[i], name))
            return true;
    return false;
}

/* Ends the program for a key of the architecture's that says something and that nobody asked for. */
static void refuse_unread(const struct description *description)
{
    size_t length = strlen(description->family->gguf.architecture);
    for (size_t i = 0; i < gguf_keys(description->file); i++) {
        const char *key = gguf_key(description->file, i);
        if (!strncmp(key, description->family->gguf.architecture, length) && key[length] == '.'
            && !json_object_get(description->read, key) && !is_unread_name(key + length + 1)
            && !gguf_is_neutral(description->file, key))
            die("%s: metadata '%s' is not known, and may change what the model computes; if it does not, take"
                " it out of the file: gguf-new-metadata --remove-metadata %s (of the Python package gguf)",
                description->path, key, key);
    }
}

/* A file of something else than a model, as general.type has it. */
static void refuse_other_types(const struct gguf *file, const char *path)
{
    char *type = gguf_has_key(file, "general.type") ? gguf_word(file, "general.type") : copy_string("model");
    if (!strcmp(type, "adapter"))
        die("%s: an adapter (LoRA), not a model; merge it into its model: llama-export-lora (of"
            " llama.cpp)", path);
    if (strcmp(type, "model"))
        die("%s: general.type is '%s', not 'model'; give the file of the language model", path, type);
    free(type);
}

/* The family that the file says it is of. */
static const struct family *find_family(const struct gguf *file, const char *path)
{
    char *architecture = gguf_word(file, "general.architecture");
    char *experts = format_string("%s.expert_count", architecture);
    bool mixture = gguf_has_key(file, experts) && gguf_uint(file, experts, 0, MAX_NUMBER);
    const struct family *family = family_find_gguf(architecture, mixture);
    if (!family)
        die("%s: general.architecture '%s' is not known; more families are in the form of Hugging Face"
            " directories; of GGUF files, these are: %s", path, architecture,
            family_list_gguf());
    free(experts);
    free(architecture);
    return family;
}

json_t *gguf_config(const struct gguf *file, const char *path)
{
    refuse_other_types(file, path);
    const struct family *family = find_family(file, path);
    struct description description = {file, path, family,
                                      json_make("{s:s}", "model_type", family->model_type), json_make("{}")};
    for (const struct metadata_row *row = family->gguf.metadata; row->name; row++)
        describe(&description, row);
    describe_unstated(&description);
    if (family->gguf.wide_layers)
        describe_wide_scale(&description);
    if (family->position == POSITION_ROTARY)
        describe_scaling(&description);
    describe_vocabulary(&description);
    copy_key(&description, "tokenizer.ggml.bos_token_id", "bos_token_id");
    json_put(description.config, "tie_word_embeddings",
             json_boolean(!gguf_has(file, family->gguf.tensors->output)));
    refuse_unread(&description);
    json_decref(description.read);
    return description.config;
}
