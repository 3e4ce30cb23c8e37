#include "model/gguf_config.h"

#include "base/json.h"
#include "base/messages.h"
#include "model/families.h"

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

/*
 * Copies the whole number at key to the config as `to`. Where the file does not
 * have it, this is null: what config.json would have by default is another thing.
 */
static void copy_key(const struct description *description, const char *key, const char *to)
{
    json_put(description->config, to,
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
        die("%s: there is no metadata '%s'", description->path, key);
    free(key);
}

/* A setting's value, null for 0 where the row says so; missing ones end the program where they are needed. */
static void describe(const struct description *description, const struct metadata_row *row)
{
    json_t *config = description->config;
    if (row->kind == METADATA_NEEDED_NUMBER || row->kind == METADATA_NEEDED_REAL
        || row->kind == METADATA_NEEDED_FLAG)
        need_key(description, row->name);
    if (row->kind == METADATA_NEEDED_FLAG) {
        char *key = key_of(description, row->name);
        json_put(config, row->setting, json_boolean(gguf_bool(description->file, key)));
        free(key);
        return;
    }
    if (row->kind == METADATA_NEEDED_REAL || row->kind == METADATA_NONZERO_REAL) {
        double real = real_or_none(description, row->name);
        bool null = row->kind == METADATA_NONZERO_REAL && !(real < 0) && !(real > 0);
        json_put(config, row->setting, null ? json_null() : json_real(real));
        return;
    }
    copy_number(description, row->name, row->setting);
    if (row->kind == METADATA_NONZERO_NUMBER
        && json_integer_value(json_object_get(config, row->setting)) == 0)
        json_put(config, row->setting, json_null());
}

/*
 * Scaling of positions. As llama.cpp has it: a factor without a type is that of
 * linear scaling, and rope.scale_linear is the factor's name of before.
 */
static void describe_scaling(const struct description *description)
{
    const char *architecture = description->family->gguf.architecture;
    double factor = real_or_none(description, "rope.scaling.factor");
    double old = real_or_none(description, "rope.scale_linear");
    char *key = key_of(description, "rope.scaling.type");
    char *type = has_key(description, key) ? gguf_word(description->file, key) : copy_string("linear");
    bool both = (factor < 0 || factor > 0) && (old < 0 || old > 0);
    if (both && (factor < old || factor > old))
        die("%s: %s.rope.scaling.factor is %g, and %s.rope.scale_linear, its name of before, %g",
            description->path, architecture, factor, architecture, old);
    factor = factor < 0 || factor > 0 ? factor : old;
    bool none = !strcmp(type, "none");
    if (!none && strcmp(type, "linear"))
        die("%s: %s is '%s'; of GGUF files this program knows only none, linear", description->path, key,
            type);
    if (!none && (factor < 0 || factor > 0)) /* no factor: no scaling */
        json_put(description->config, "rope_scaling",
                 json_make("{s:s, s:f}", "rope_type", type, "factor", factor));
    free(type);
    free(key);
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
    "rope.scaling.original_context_length", /* of yarn, which is refused by its type */
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
            die("%s: metadata '%s' is not known, and may change what the model computes", description->path,
                key);
    }
}

/* A part of a model that was split says so; of parts but the first, nothing else describes it. */
static void refuse_part(const struct gguf *file, const char *path)
{
    static const char count_key[] = "split.count";
    uint64_t count = gguf_has_key(file, count_key) ? gguf_uint(file, count_key, 0, MAX_NUMBER) : 0;
    if (count > 1)
        die("%s: one of %llu files into which a model was split; join them: llama-gguf-split --merge"
            " FIRST-PART OUTPUT (of llama.cpp)", path, (unsigned long long)count);
}

/* A file of something else than a model, as general.type has it. */
static void refuse_other_types(const struct gguf *file, const char *path)
{
    char *type = gguf_has_key(file, "general.type") ? gguf_word(file, "general.type") : copy_string("model");
    if (!strcmp(type, "adapter"))
        die("%s: an adapter (LoRA), not a model; merge it into its model: llama-export-lora (of"
            " llama.cpp)", path);
    if (strcmp(type, "model"))
        die("%s: general.type is '%s', not 'model'", path, type);
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
        die("%s: general.architecture '%s' is not known; these are: %s", path, architecture,
            family_list_gguf());
    free(experts);
    free(architecture);
    return family;
}

json_t *gguf_config(const struct gguf *file, const char *path)
{
    refuse_part(file, path);
    refuse_other_types(file, path);
    const struct family *family = find_family(file, path);
    struct description description = {file, path, family,
                                      json_make("{s:s}", "model_type", family->model_type), json_make("{}")};
    for (const struct metadata_row *row = family->gguf.metadata; row->name; row++)
        describe(&description, row);
    struct settings settings = settings_open(path, "", description.config);
    settings_default(&settings, family->gguf.settings);
    settings_close(&settings);
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
