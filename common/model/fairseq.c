#include "model/fairseq.h"

#include "base/hash_table.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/families.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* fairseq's symbols are always <s> <pad> </s> <unk>, in this order. */
enum { BOS = 0, PAD = 1, EOS = 2, UNKNOWN = 3 };

/* A tensor of the checkpoint by its present name. */
struct fairseq_entry {
    char *name;
    struct torch_tensor tensor;
    bool used;
    UT_hash_handle hh;
};

/* Clusters' bounds as the settings have them, without the vocabulary's end. */
struct cutoffs {
    size_t count; /* 0: not adaptive, or one cluster */
    size_t word[MAX_CLUSTERS];
    size_t factor;
    bool adaptive;
};

struct import {
    const char *path;
    struct torch_file *file;
    const struct pickle_value *settings; /* of the model: a Namespace or a dictionary */
    const struct pickle_value *task;     /* more of them, or NULL */
    const struct family *family;         /* of the directory that is made */
    size_t layers, d_model, d_ff;
    struct cutoffs input, softmax;
    bool tied_weights, tied_projections, final_norm;
    struct fairseq_model *model;
};

/* ---- settings ---- */

static const struct pickle_value *find_setting(const struct import *import, const char *name)
{
    const struct pickle_value *value = pickle_find(import->settings, name);
    if (!value && import->task)
        value = pickle_find(import->task, name);
    return value && value->kind != PICKLE_NONE ? value : NULL;
}

/* fallback: what fairseq takes where the setting is missing; 0: it must be there. */
static size_t checkpoint_number(const struct import *import, const char *name, size_t fallback, size_t most)
{
    const struct pickle_value *value = find_setting(import, name);
    if (!value && fallback)
        return fallback;
    double number = !value ? 0 : value->kind == PICKLE_INTEGER ? (double)value->integer
                  : value->kind == PICKLE_REAL ? value->real : 0;
    if (!(number >= 1 && number <= (double)most && number == floor(number)))
        die("%s: setting '%s' is %s; it must be a whole number from 1 to %zu", import->path, name,
            value ? "another value" : "missing", most);
    return (size_t)number;
}

static bool checkpoint_flag(const struct import *import, const char *name, bool fallback)
{
    const struct pickle_value *value = find_setting(import, name);
    if (value && value->kind != PICKLE_BOOL)
        die("%s: setting '%s' is %s; it must be true or false", import->path, name, pickle_describe(value));
    return value ? value->truth : fallback;
}

static void bad_cutoffs(const struct import *import, const char *name)
{
    die("%s: setting '%s' must be 1 to %d numbers that rise, as in '20000,60000'", import->path, name,
        MAX_CLUSTERS - 1);
}

static void add_cutoff(const struct import *import, const char *name, struct cutoffs *cutoffs, uint64_t word)
{
    if (cutoffs->count == MAX_CLUSTERS - 1 || word > MAX_VOCABULARY
        || word <= (cutoffs->count ? cutoffs->word[cutoffs->count - 1] : 0))
        bad_cutoffs(import, name);
    cutoffs->word[cutoffs->count++] = (size_t)word;
}

/* "20000,60000", also in brackets, with blanks. */
static void read_cutoff_text(const struct import *import, const char *name, struct pickle_text text,
                             struct cutoffs *cutoffs)
{
    for (size_t i = 0; i < text.length;) {
        uint64_t word = 0;
        size_t start = i;
        for (; i < text.length && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++)
            if (word <= MAX_VOCABULARY)
                word = 10 * word + (uint64_t)(text.bytes[i] - '0');
        if (i > start)
            add_cutoff(import, name, cutoffs, word);
        else if (strchr("[](), ", text.bytes[i++]) == NULL || !text.bytes[i - 1])
            bad_cutoffs(import, name);
    }
}

static struct cutoffs checkpoint_cutoffs(const struct import *import, const char *name, const char *factor)
{
    struct cutoffs cutoffs = {.adaptive = false};
    const struct pickle_value *value = find_setting(import, name);
    if (!value || (value->kind == PICKLE_TEXT && !value->text.length))
        return cutoffs;
    cutoffs.adaptive = true;
    cutoffs.factor = checkpoint_number(import, factor, 4, MAX_WIDTH);
    if (value->kind == PICKLE_TEXT)
        read_cutoff_text(import, name, value->text, &cutoffs);
    else if (value->kind != PICKLE_LIST && value->kind != PICKLE_TUPLE)
        bad_cutoffs(import, name);
    else
        for (size_t i = 0; i < value->count; i++)
            add_cutoff(import, name, &cutoffs,
                       value->items[i]->kind == PICKLE_INTEGER ? (uint64_t)value->items[i]->integer : 0);
    if (!cutoffs.count)
        bad_cutoffs(import, name);
    return cutoffs;
}

/* None, false, 0, an empty text: fairseq then does without. */
static bool is_off(const struct pickle_value *value)
{
    return value->kind == PICKLE_BOOL ? !value->truth
         : value->kind == PICKLE_INTEGER ? value->integer == 0
         : value->kind == PICKLE_REAL ? value->real == 0
         : value->kind == PICKLE_TEXT ? value->text.length == 0
         : value->kind == PICKLE_LIST ? value->count == 0 : false;
}

/* Ends the program for what changes the arithmetic and cannot be said in config.json. */
static void refuse_unknown_settings(const struct import *import)
{
    static const char *const unknown[] = {
        "character_embeddings", "layernorm_embedding", "cross_self_attention", "decoder_layers_to_keep",
        "scale_fc", "scale_attn", "scale_heads", "scale_resids", "base_layers", "decoder_xformers_att_config",
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const struct pickle_value *value = find_setting(import, unknown[i]);
        if (value && !is_off(value))
            die("%s: setting '%s' is on; such models are not known", import->path, unknown[i]);
    }
    static const char *const widths[] = {"decoder_input_dim", "decoder_output_dim"};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (checkpoint_number(import, widths[i], import->d_model, MAX_WIDTH) != import->d_model)
            die("%s: setting '%s' differs from 'decoder_embed_dim'; such models are not known", import->path,
                widths[i]);
}

/* The settings are in "args", or from 2020 on in "cfg", by groups. */
static void find_settings(struct import *import)
{
    const struct pickle_value *root = torch_root(import->file);
    const struct pickle_value *args = pickle_find(root, "args"), *cfg = pickle_find(root, "cfg");
    if (args && args->kind != PICKLE_NONE) {
        import->settings = args;
    } else if (cfg && cfg->kind != PICKLE_NONE) {
        import->settings = pickle_find(cfg, "model");
        import->task = pickle_find(cfg, "task");
    }
    if (!import->settings)
        die("%s: no settings in 'args' or in 'cfg', 'model': not a checkpoint of fairseq", import->path);
    const struct pickle_value *arch = find_setting(import, "arch");
    if (!arch)
        arch = find_setting(import, "_name");
    static const char known[] = "transformer_lm";
    if (arch && arch->kind == PICKLE_TEXT
        && (arch->text.length < sizeof known - 1 || memcmp(arch->text.bytes, known, sizeof known - 1)))
        die("%s: setting 'arch' is '%.*s'; the kinds of '%s' are known", import->path,
            (int)(arch->text.length < 80 ? arch->text.length : 80), arch->text.bytes, known);
}

/* The activation by the name that it has in other models' config.json. */
static const char *activation(const struct import *import)
{
    static const char *const names[][2] = {
        {"relu", "relu"}, {"gelu", "gelu"}, {"gelu_fast", "gelu_new"}, {"gelu_accurate", "gelu_new"},
        {"tanh", "tanh"}, {"linear", "linear"}, {"swish", "silu"},
    };
    const struct pickle_value *value = find_setting(import, "activation_fn");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!value || pickle_is_text(value, names[i][0]))
            return names[i][1];
    die("%s: setting 'activation_fn' is not known: '%.*s'", import->path,
        value->kind == PICKLE_TEXT && value->text.length < 80 ? (int)value->text.length : 0,
        value->kind == PICKLE_TEXT ? value->text.bytes : "");
}

/* Checkpoints with "no_tie_adaptive_proj" are from before there was a final norm. */
static void read_ties_and_norms(struct import *import)
{
    const struct pickle_value *old = find_setting(import, "no_tie_adaptive_proj");
    bool no_norm = checkpoint_flag(import, "no_decoder_final_norm", false);
    bool tied = checkpoint_flag(import, "tie_adaptive_proj", false);
    if (old) {
        no_norm = true;
        tied = tied || !checkpoint_flag(import, "no_tie_adaptive_proj", false);
    }
    if (find_setting(import, "decoder_final_norm"))
        no_norm = !checkpoint_flag(import, "decoder_final_norm", false);
    import->final_norm = checkpoint_flag(import, "decoder_normalize_before", true) && !no_norm;
    import->tied_weights = checkpoint_flag(import, "tie_adaptive_weights", false);
    import->tied_projections = import->tied_weights && tied; /* fairseq ties no projection of untied words */
}

static void check_ties(const struct import *import)
{
    const struct cutoffs *input = &import->input, *softmax = &import->softmax;
    if (!import->tied_weights)
        return;
    if (!input->adaptive || !softmax->adaptive)
        die("%s: setting 'tie_adaptive_weights' is on, but '%s' is not", import->path,
            input->adaptive ? "adaptive_softmax_cutoff" : "adaptive_input");
    if (input->factor != softmax->factor)
        die("%s: settings 'adaptive_input_factor' and 'adaptive_softmax_factor' differ, but the weights are"
            " tied", import->path);
    if (input->count != softmax->count || memcmp(input->word, softmax->word, sizeof input->word))
        die("%s: settings 'adaptive_input_cutoff' and 'adaptive_softmax_cutoff' differ, but the weights are"
            " tied", import->path);
}

static void read_settings(struct import *import)
{
    find_settings(import);
    import->layers = checkpoint_number(import, "decoder_layers", 0, MAX_LAYERS);
    import->d_model = checkpoint_number(import, "decoder_embed_dim", 0, MAX_WIDTH);
    import->d_ff = checkpoint_number(import, "decoder_ffn_embed_dim", 0, MAX_WIDTH);
    refuse_unknown_settings(import);
    if (checkpoint_flag(import, "adaptive_input", false)) {
        import->input = checkpoint_cutoffs(import, "adaptive_input_cutoff", "adaptive_input_factor");
        if (!import->input.adaptive)
            die("%s: setting 'adaptive_input' is on, but 'adaptive_input_cutoff' is missing", import->path);
    }
    import->softmax = checkpoint_cutoffs(import, "adaptive_softmax_cutoff", "adaptive_softmax_factor");
    read_ties_and_norms(import);
    check_ties(import);
}

/* ---- the checkpoint's tensors, by their present names ---- */

/* What fairseq saves and no arithmetic needs. */
static bool is_dropped(const char *name)
{
    return ends_with(name, "._float_tensor") || !strcmp(name, "decoder.version")
        || !strcmp(name, "decoder.adaptive_softmax.version")
        || !strcmp(name, "decoder.embed_positions.weights");
}

/* Names that earlier versions of fairseq gave, as it renames them when it loads. */
static char *present_name(const char *name)
{
    static const char *const renamed[][2] = {
        {".layer_norms.0.", ".self_attn_layer_norm."},
        {".layer_norms.2.", ".final_layer_norm."},
        {"decoder.embed_out", "decoder.output_projection.weight"},
    };
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        const char *old = strstr(name, renamed[i][0]);
        if (old)
            return format_string("%.*s%s%s", (int)(old - name), name, renamed[i][1],
                                 old + strlen(renamed[i][0]));
    }
    return copy_string(name);
}

static struct fairseq_entry *find_entry(const struct import *import, const char *name)
{
    struct fairseq_entry *entry;
    HASH_FIND_STR(import->model->entries, name, entry);
    return entry;
}

/* Takes name over. */
static void add_entry(struct import *import, char *name, const struct torch_tensor *tensor)
{
    if (find_entry(import, name))
        die("%s: tensor '%s' is there a second time", import->path, name);
    struct fairseq_entry *entry = new_array(1, sizeof *entry);
    entry->name = name;
    entry->tensor = *tensor;
    entry->used = is_dropped(name);
    HASH_ADD_KEYPTR(hh, import->model->entries, entry->name, strlen(entry->name), entry);
}

/* Queries, keys and values were one tensor once, one below the other. */
static bool add_parts(struct import *import, const char *name, const struct torch_tensor *tensor)
{
    static const char *const kinds[] = {"weight", "bias"};
    for (size_t kind = 0; kind < 2; kind++) {
        char end[32];
        snprintf(end, sizeof end, ".in_proj_%s", kinds[kind]);
        if (!ends_with(name, end))
            continue;
        if (!tensor->dimensions || tensor->shape[0] % 3)
            die("%s: tensor '%s' cannot be cut into three", import->path, name);
        struct torch_tensor part = *tensor;
        part.shape[0] /= 3;
        part.count /= 3;
        for (size_t i = 0; i < 3; i++, part.offset += part.shape[0] * part.stride[0])
            add_entry(import, format_string("%.*s.%c_proj.%s", (int)(strlen(name) - strlen(end)), name,
                                            "qkv"[i], kinds[kind]), &part);
        return true;
    }
    return false;
}

static void add_tensor(struct import *import, const struct pickle_value *key,
                       const struct pickle_value *value)
{
    if (key->kind != PICKLE_TEXT || memchr(key->text.bytes, '\0', key->text.length))
        die("%s: 'model' has %s for a tensor's name", import->path, pickle_describe(key));
    char *saved = format_string("%.*s", (int)key->text.length, key->text.bytes), *name = present_name(saved);
    struct torch_tensor tensor;
    if (!torch_tensor_get(import->file, value, saved, &tensor))
        die("%s: 'model' has %s, not a tensor, by the name '%.100s'", import->path, pickle_describe(value),
            saved);
    if (add_parts(import, name, &tensor))
        free(name);
    else
        add_entry(import, name, &tensor);
    free(saved);
}

static void read_entries(struct import *import)
{
    const struct pickle_value *state = pickle_find(torch_root(import->file), "model");
    if (!state || state->kind != PICKLE_DICT)
        die("%s: no dictionary of tensors in 'model': not a checkpoint of fairseq", import->path);
    for (size_t i = 0; i + 1 < state->count; i += 2)
        add_tensor(import, state->items[i], state->items[i + 1]);
}

/* Up to version 2, or without one, a model has no final norm whatever its settings. */
static bool has_old_version(const struct import *import)
{
    const struct fairseq_entry *version = find_entry(import, "decoder.version");
    if (!version || version->tensor.count != 1)
        return true;
    /* 2 as a float's bits: larger numbers have larger ones. */
    uint32_t bits = 0, two = version->tensor.element_bytes == 2 ? 0x4000 : 0x40000000;
    if (strcmp(version->tensor.type, "F32") && strcmp(version->tensor.type, "F16")
        && strcmp(version->tensor.type, "BF16"))
        die("%s: 'decoder.version' is of type %s", import->path, version->tensor.type);
    void *bytes = torch_tensor_read(import->file, &version->tensor);
    memcpy(&bits, bytes, version->tensor.element_bytes);
    free(bytes);
    return bits <= two || bits >> (8 * version->tensor.element_bytes - 1);
}

/* ---- the tensors that the settings ask for ---- */

/* Finds a tensor of this shape; columns 0: a vector. */
static struct fairseq_entry *check_entry(const struct import *import, const char *name, size_t rows,
                                         size_t columns)
{
    struct fairseq_entry *entry = find_entry(import, name);
    if (!entry)
        die("%s: there is no tensor '%s', which the settings ask for", import->path, name);
    const struct torch_tensor *tensor = &entry->tensor;
    if (strcmp(tensor->type, "F32") && strcmp(tensor->type, "F16") && strcmp(tensor->type, "BF16"))
        die("%s: tensor '%s' is of type %s; F32, F16 and BF16 are known", import->path, name, tensor->type);
    if (tensor->dimensions != (columns ? 2 : 1) || tensor->shape[0] != rows
        || (columns && tensor->shape[1] != columns))
        die("%s: tensor '%s' has shape [%zu%s%.0zu] in %zu dimensions, the settings ask for [%zu%s%.0zu]",
            import->path, name, tensor->dimensions ? tensor->shape[0] : 1, tensor->dimensions > 1 ? ", " : "",
            tensor->dimensions > 1 ? tensor->shape[1] : 0, tensor->dimensions, rows, columns ? ", " : "",
            columns);
    entry->used = true;
    return entry;
}

static void take(struct import *import, const char *name, size_t rows, size_t columns)
{
    const struct fairseq_entry *entry = check_entry(import, name, rows, columns);
    struct fairseq_model *model = import->model;
    model->tensors[model->count++] = (struct fairseq_tensor){entry->name, entry->tensor};
}

/* A tensor that is another one: where it was saved, it must be the same. */
static void drop_tied(struct import *import, const char *name, const char *other)
{
    const struct fairseq_entry *original = find_entry(import, other);
    if (!find_entry(import, name))
        return;
    const struct fairseq_entry *entry = check_entry(import, name, original->tensor.shape[0],
                                                    original->tensor.shape[1]);
    bool same = !strcmp(entry->tensor.type, original->tensor.type);
    if (same) {
        void *left = torch_tensor_read(import->file, &entry->tensor);
        void *right = torch_tensor_read(import->file, &original->tensor);
        same = !memcmp(left, right, entry->tensor.count * entry->tensor.element_bytes);
        free(left);
        free(right);
    }
    if (!same)
        die("%s: tensors '%s' and '%s' differ, but the settings tie them", import->path, name, other);
}

/* The directory's name of a tensor of the whole model. */
static char *whole_name(const struct import *import, char to[MAX_TENSOR_NAME], const char *name)
{
    tensor_name(to, import->family->tensors->prefixes[0], name, 0, 0);
    return to;
}

static char *embeddings_name(const struct import *import, char to[MAX_TENSOR_NAME])
{
    return whole_name(import, to, import->family->tensors->embeddings);
}

static char *cluster_name(char to[MAX_TENSOR_NAME], const char *format, size_t index)
{
    tensor_name(to, "", format, index, 0);
    return to;
}

static size_t cluster_first(const struct cutoffs *cutoffs, size_t index)
{
    return index ? cutoffs->word[index - 1] : 0;
}

static size_t cluster_size(const struct import *import, const struct cutoffs *cutoffs, size_t index)
{
    size_t end = index < cutoffs->count ? cutoffs->word[index] : import->model->vocabulary;
    return end - cluster_first(cutoffs, index);
}

static size_t cluster_width(const struct import *import, const struct cutoffs *cutoffs, size_t index)
{
    size_t width = import->d_model;
    for (size_t i = 0; i < index; i++)
        width /= cutoffs->factor;
    if (!width)
        die("%s: setting 'adaptive_%s_factor' leaves cluster %zu without dimensions", import->path,
            cutoffs == &import->input ? "input" : "softmax", index);
    return width;
}

/* The number of words, from the embeddings themselves. */
static size_t count_words(const struct import *import)
{
    size_t words = 0;
    for (size_t i = 0; i < MAX_CLUSTERS; i++) {
        char name[MAX_TENSOR_NAME];
        if (import->input.adaptive)
            cluster_name(name, import->family->tensors->adaptive->input_words, i);
        else
            embeddings_name(import, name);
        const struct fairseq_entry *entry = find_entry(import, name);
        if (!entry)
            break;
        if (entry->tensor.dimensions && entry->tensor.shape[0] <= MAX_VOCABULARY)
            words += entry->tensor.shape[0];
        if (!import->input.adaptive)
            break;
    }
    if (words <= UNKNOWN || words > MAX_VOCABULARY)
        die("%s: %zu embedded words; there must be %d to %d", import->path, words, UNKNOWN + 1,
            MAX_VOCABULARY);
    return words;
}

/* fairseq has the end of the vocabulary as last cutoff or leaves it away; here it is left away. */
static void fit_cutoffs(const struct import *import, struct cutoffs *cutoffs, const char *name)
{
    if (!cutoffs->adaptive)
        return;
    if (cutoffs->word[cutoffs->count - 1] > import->model->vocabulary)
        die("%s: setting '%s' has cutoffs beyond the %zu words that are embedded", import->path, name,
            import->model->vocabulary);
    if (cutoffs->word[cutoffs->count - 1] == import->model->vocabulary)
        cutoffs->word[--cutoffs->count] = 0;
}

static void take_embeddings(struct import *import)
{
    const struct cutoffs *input = &import->input;
    const struct adaptive_names *names = import->family->tensors->adaptive;
    char name[MAX_TENSOR_NAME];
    if (!input->adaptive) {
        take(import, embeddings_name(import, name), import->model->vocabulary, import->d_model);
        return;
    }
    for (size_t i = 0; i <= input->count; i++) {
        size_t width = cluster_width(import, input, i);
        take(import, cluster_name(name, names->input_words, i), cluster_size(import, input, i), width);
        take(import, cluster_name(name, names->input_projection, i), import->d_model, width);
    }
}

static void take_layer(struct import *import, size_t index)
{
    const size_t sizes[] = {[SIZE_ONE] = 0, [SIZE_D_MODEL] = import->d_model, [SIZE_D_FF] = import->d_ff,
                            [SIZE_QUERY] = import->d_model, [SIZE_KEY_VALUE] = import->d_model};
    const struct tensor_names *names = import->family->tensors;
    for (const struct tensor_row *row = names->layers; row->name; row++) {
        char name[MAX_TENSOR_NAME];
        tensor_name(name, names->prefixes[0], row->name, index, 0);
        take(import, name, sizes[row->rows], sizes[row->columns]);
    }
}

/* The rows of the head: words of the first cluster, then one for each tail cluster. */
static void take_head(struct import *import)
{
    const struct cutoffs *softmax = &import->softmax;
    const struct adaptive_names *names = import->family->tensors->adaptive;
    size_t words = cluster_size(import, softmax, 0);
    if (!import->tied_weights) {
        take(import, names->head, words + softmax->count, import->d_model);
        return;
    }
    char name[MAX_TENSOR_NAME];
    cluster_name(name, names->input_words, 0);
    drop_tied(import, "decoder.adaptive_softmax.head.word_proj.weight", name);
    take(import, names->cluster_keys, softmax->count, import->d_model);
}

static void take_tail(struct import *import, size_t index)
{
    const struct cutoffs *softmax = &import->softmax;
    const struct adaptive_names *names = import->family->tensors->adaptive;
    size_t width = cluster_width(import, softmax, index);
    char projection[MAX_TENSOR_NAME], words[MAX_TENSOR_NAME], other[MAX_TENSOR_NAME];
    cluster_name(projection, names->tail_projection, index - 1);
    cluster_name(words, names->tail_words, index - 1);
    if (import->tied_projections)
        drop_tied(import, projection, cluster_name(other, names->input_projection, index));
    else
        take(import, projection, width, import->d_model);
    if (import->tied_weights)
        drop_tied(import, words, cluster_name(other, names->input_words, index));
    else
        take(import, words, cluster_size(import, softmax, index), width);
}

static void take_output(struct import *import)
{
    const char *output = import->family->tensors->output;
    char embeddings[MAX_TENSOR_NAME];
    if (import->softmax.adaptive) {
        take_head(import);
        for (size_t i = 1; i <= import->softmax.count; i++)
            take_tail(import, i);
    } else if (checkpoint_flag(import, "share_decoder_input_output_embed", false)) {
        if (import->input.adaptive)
            die("%s: setting 'share_decoder_input_output_embed' is on, and 'adaptive_input' as well",
                import->path);
        drop_tied(import, output, embeddings_name(import, embeddings));
    } else {
        take(import, output, import->model->vocabulary, import->d_model);
    }
}

/* Learned positions have a row for each index before the first, PAD + 1, too. */
static void take_positions(struct import *import)
{
    static const char name[] = "decoder.embed_positions.weight";
    const struct fairseq_entry *entry = find_entry(import, name);
    take(import, name, entry && entry->tensor.dimensions ? entry->tensor.shape[0] : 0, import->d_model);
    if (entry->tensor.shape[0] <= PAD + 1)
        die("%s: tensor '%s' has no position", import->path, name);
}

static const char *position_kind(const struct import *import)
{
    return checkpoint_flag(import, "no_token_positional_embeddings", false) ? "none"
         : checkpoint_flag(import, "decoder_learned_pos", false) ? "learned" : "sinusoidal";
}

/* Lists the tensors to be written. Together they are no larger than the file. */
static void take_tensors(struct import *import)
{
    struct fairseq_model *model = import->model;
    model->tensors = new_array(HASH_COUNT(model->entries), sizeof *model->tensors);
    take_embeddings(import);
    if (!strcmp(position_kind(import), "learned"))
        take_positions(import);
    for (size_t i = 0; i < import->layers; i++)
        take_layer(import, i);
    if (import->final_norm) {
        char name[MAX_TENSOR_NAME];
        take(import, whole_name(import, name, import->family->tensors->final_norm_gain), import->d_model, 0);
        take(import, whole_name(import, name, import->family->tensors->final_norm_bias), import->d_model, 0);
    }
    take_output(import);
    for (const struct fairseq_entry *entry = model->entries; entry; entry = entry->hh.next)
        if (!entry->used)
            die("%s: tensor '%s' is none that a model with these settings has", import->path, entry->name);
    size_t left = torch_file_bytes(import->file);
    for (size_t i = 0; i < model->count; i++) {
        size_t bytes = model->tensors[i].tensor.count * model->tensors[i].tensor.element_bytes;
        if (bytes > left)
            die("%s: the tensors are larger than the file: they lie over each other", import->path);
        left -= bytes;
    }
}

/* ---- config.json ---- */

static json_t *cutoffs_json(const struct cutoffs *cutoffs)
{
    return cutoffs->adaptive ? json_list(cutoffs->word, cutoffs->count) : json_null();
}

static json_t *factor_json(const struct cutoffs *cutoffs)
{
    return cutoffs->adaptive ? json_integer((json_int_t)cutoffs->factor) : json_null();
}

static const char *torch_type(const struct import *import)
{
    const char *type = find_entry(import, "decoder.layers.0.fc1.weight")->tensor.type;
    return !strcmp(type, "F32") ? "float32" : !strcmp(type, "F16") ? "float16" : "bfloat16";
}

static void put_size(json_t *config, const char *name, size_t size)
{
    json_put(config, name, json_integer((json_int_t)size));
}

static void put_softmax(const struct import *import, json_t *config)
{
    json_put(config, "adaptive_input_cutoffs", cutoffs_json(&import->input));
    json_put(config, "adaptive_input_factor", factor_json(&import->input));
    json_put(config, "adaptive_softmax_cutoffs", cutoffs_json(&import->softmax));
    json_put(config, "adaptive_softmax_factor", factor_json(&import->softmax));
    json_put(config, "tie_adaptive_weights", json_boolean(import->tied_weights));
    json_put(config, "tie_adaptive_proj", json_boolean(import->tied_projections));
    if (!import->softmax.adaptive)
        json_put(config, "tie_word_embeddings",
                 json_boolean(checkpoint_flag(import, "share_decoder_input_output_embed", false)));
}

static json_t *make_config(const struct import *import)
{
    const struct setting_names *names = &import->family->names;
    json_t *config = json_make("{s:s}", "model_type", import->family->model_type);
    size_t heads = checkpoint_number(import, "decoder_attention_heads", 0, MAX_WIDTH);
    if (import->d_model % heads)
        die("%s: setting 'decoder_embed_dim' is not a multiple of 'decoder_attention_heads'", import->path);
    bool scaled = !checkpoint_flag(import, "no_scale_embedding", false);
    put_size(config, "vocab_size", import->model->vocabulary);
    put_size(config, names->d_model, import->d_model);
    put_size(config, names->d_ff, import->d_ff);
    put_size(config, names->layers, import->layers);
    put_size(config, names->heads, heads);
    json_put(config, names->activation, json_string(activation(import)));
    json_put(config, "normalize_before",
             json_boolean(checkpoint_flag(import, "decoder_normalize_before", true)));
    json_put(config, names->final_norm, json_boolean(import->final_norm));
    json_put(config, names->norm_epsilon, json_real(1e-5)); /* PyTorch's, which fairseq leaves as it is */
    json_put(config, "position_embedding", json_string(position_kind(import)));
    put_size(config, names->position_offset, PAD + 1);
    json_put(config, names->embed_scale, json_real(scaled ? sqrt((double)import->d_model) : 1));
    put_softmax(import, config);
    put_size(config, "bos_token_id", checkpoint_flag(import, "add_bos_token", false) ? BOS : EOS);
    put_size(config, "pad_token_id", PAD);
    put_size(config, "eos_token_id", EOS);
    put_size(config, "unk_token_id", UNKNOWN);
    json_put(config, "torch_dtype", json_string(torch_type(import)));
    return config;
}

struct fairseq_model *fairseq_read(const char *path, struct torch_file *file)
{
    struct import import = {.path = path, .file = file, .family = family_find("fairseq_transformer_lm"),
                            .model = new_array(1, sizeof *import.model)};
    read_settings(&import);
    read_entries(&import);
    if (has_old_version(&import))
        import.final_norm = false;
    import.model->vocabulary = count_words(&import);
    fit_cutoffs(&import, &import.input, "adaptive_input_cutoff");
    fit_cutoffs(&import, &import.softmax, "adaptive_softmax_cutoff");
    take_tensors(&import);
    import.model->config = make_config(&import);
    return import.model;
}

void fairseq_free(struct fairseq_model *model)
{
    struct fairseq_entry *entry, *next;
    HASH_ITER(hh, model->entries, entry, next) {
        HASH_DEL(model->entries, entry);
        free(entry->name);
        free(entry);
    }
    json_decref(model->config);
    free(model->tensors);
    free(model);
}
