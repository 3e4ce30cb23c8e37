#include "gguf_model.h"

#include "json.h"
#include "messages.h"

#include <stdlib.h>
#include <string.h>

/* The file's architecture, before whose name the keys of its metadata stand. */
struct description {
    const struct gguf *file;
    const char *path;
    char *architecture;
    json_t *config;
};

enum { MOST = INT32_MAX };

/* ARCHITECTURE.name */
static char *key_of(const struct description *description, const char *name)
{
    return format_string("%s.%s", description->architecture, name);
}

/* Copies the whole number at key to the config as `to`, where the file has it. */
static void copy_key(const struct description *description, const char *key, const char *to)
{
    if (gguf_has_key(description->file, key))
        json_put(description->config, to, json_integer((json_int_t)gguf_uint(description->file, key, 0, MOST)));
}

/* The same for ARCHITECTURE.name. */
static void copy_number(const struct description *description, const char *name, const char *to)
{
    char *key = key_of(description, name);
    copy_key(description, key, to);
    free(key);
}

static void copy_real(const struct description *description, const char *name, const char *to)
{
    char *key = key_of(description, name);
    if (gguf_has_key(description->file, key))
        json_put(description->config, to, json_real(gguf_real(description->file, key)));
    free(key);
}

static void describe_llama(const struct description *description)
{
    json_t *config = description->config;
    copy_number(description, "embedding_length", "hidden_size");
    copy_number(description, "block_count", "num_hidden_layers");
    copy_number(description, "feed_forward_length", "intermediate_size");
    copy_number(description, "attention.head_count", "num_attention_heads");
    copy_number(description, "attention.head_count_kv", "num_key_value_heads");
    copy_number(description, "attention.key_length", "head_dim");
    copy_number(description, "attention.value_length", "value_length");
    copy_number(description, "attention.sliding_window", "sliding_window");
    copy_number(description, "rope.dimension_count", "rope_dimension_count");
    copy_real(description, "attention.layer_norm_rms_epsilon", "rms_norm_eps");
    copy_real(description, "rope.freq_base", "rope_theta");
    json_put(config, "hidden_act", json_string("silu"));
    char *type = key_of(description, "rope.scaling.type"), *factor = key_of(description, "rope.scaling.factor");
    if (gguf_has_key(description->file, type)) {
        char *word = gguf_word(description->file, type);
        bool none = !strcmp(word, "none");
        double by = !none && gguf_has_key(description->file, factor) ? gguf_real(description->file, factor) : 1;
        json_put(config, "rope_scaling", json_make("{s:s, s:f}", "rope_type", none ? "default" : word, "factor", by));
        free(word);
    }
    free(type);
    free(factor);
}

static void describe_gpt2(const struct description *description)
{
    copy_number(description, "embedding_length", "n_embd");
    copy_number(description, "block_count", "n_layer");
    copy_number(description, "feed_forward_length", "n_inner");
    copy_number(description, "attention.head_count", "n_head");
    copy_number(description, "context_length", "n_positions");
    copy_real(description, "attention.layer_norm_epsilon", "layer_norm_epsilon");
    json_put(description->config, "activation_function", json_string("gelu_new"));
}

/* Rows of token_embd.weight, of which the vocabulary is not always stated. */
static void describe_vocabulary(const struct description *description)
{
    static const char tokens_key[] = "tokenizer.ggml.tokens";
    copy_number(description, "vocab_size", "vocab_size");
    if (json_object_get(description->config, "vocab_size") || !gguf_has_key(description->file, tokens_key))
        return;
    size_t count;
    free(gguf_texts(description->file, tokens_key, &count));
    json_put(description->config, "vocab_size", json_integer((json_int_t)count));
}

json_t *gguf_config(const struct gguf *file, const char *path)
{
    struct description description = {file, path, gguf_word(file, "general.architecture"), json_make("{}")};
    json_put(description.config, "model_type", json_string(description.architecture));
    if (!strcmp(description.architecture, "llama") || !strcmp(description.architecture, "qwen2")
        || !strcmp(description.architecture, "qwen3"))
        describe_llama(&description);
    else if (!strcmp(description.architecture, "gpt2"))
        describe_gpt2(&description);
    else
        die("%s: general.architecture '%s' is not known; these are: llama, qwen2, qwen3, gpt2", path,
            description.architecture);
    describe_vocabulary(&description);
    copy_key(&description, "tokenizer.ggml.bos_token_id", "bos_token_id");
    json_put(description.config, "tie_word_embeddings", json_boolean(!gguf_has(file, "output.weight")));
    free(description.architecture);
    return description.config;
}

/* ---- the tokenizer ---- */

/* The texts at key. The caller frees them. */
static struct span *read_spans(const struct gguf *file, const char *key, size_t *count)
{
    struct gguf_text *texts = gguf_texts(file, key, count);
    struct span *spans = new_array(*count, sizeof *spans);
    for (size_t i = 0; i < *count; i++)
        spans[i] = (struct span){texts[i].bytes, texts[i].length};
    free(texts);
    return spans;
}

static int32_t *as_types(int64_t *numbers, size_t count, const char *path)
{
    int32_t *types = new_array(count, sizeof *types);
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] < 0 || numbers[i] > INT32_MAX)
            die("%s: tokenizer.ggml.token_type has %lld", path, (long long)numbers[i]);
        types[i] = (int32_t)numbers[i];
    }
    free(numbers);
    return types;
}

static bool is_one_of(const char *key, const char *const *keys)
{
    while (*keys && strcmp(*keys, key))
        keys++;
    return *keys;
}

static bool ends_in(const char *key, const char *end)
{
    size_t length = strlen(key), end_length = strlen(end);
    return length >= end_length && !strcmp(key + length - end_length, end);
}

/*
 * Ends the program when the file says more of its tokenizer than is known here. Known beside what is read:
 * the ids of special tokens, whether BOS and the like are wanted, chats, and scores, which byte-level BPE
 * has none of. What other kinds of tokenizers do with spaces must be off.
 */
static void check_tokenizer_keys(const struct gguf *file, const char *path)
{
    static const char prefix[] = "tokenizer.", chats[] = "tokenizer.chat_template";
    static const char *const known[] = {
        "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.token_type_count",
        "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token", NULL};
    static const char *const off[] = {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces",
                                      "tokenizer.ggml.escape_whitespaces", NULL};
    for (size_t i = 0; i < gguf_keys(file); i++) {
        const char *key = gguf_key(file, i);
        if (strncmp(key, prefix, sizeof prefix - 1) || is_one_of(key, known) || ends_in(key, "_token_id")
            || ends_in(key, "_token_ids") || !strncmp(key, chats, sizeof chats - 1))
            continue;
        if (!is_one_of(key, off))
            die("%s: this program does not know what %s does to the tokens of a text", path, key);
        if (gguf_bool(file, key))
            die("%s: %s is true; this program knows byte-level BPE without it only", path, key);
    }
}

struct bpe *gguf_bpe(const char *path)
{
    struct gguf *file = gguf_open(path);
    char *model = gguf_word(file, "tokenizer.ggml.model");
    if (strcmp(model, "gpt2"))
        die("%s: tokenizer.ggml.model '%s' is not known; 'gpt2', byte-level BPE, is", path, model);
    check_tokenizer_keys(file, path);
    char *pre = gguf_has_key(file, "tokenizer.ggml.pre") ? gguf_word(file, "tokenizer.ggml.pre")
                                                         : copy_string("default");
    struct bpe_metadata metadata = {.pre = pre};
    struct span *tokens = read_spans(file, "tokenizer.ggml.tokens", &metadata.token_count);
    struct span *merges = read_spans(file, "tokenizer.ggml.merges", &metadata.merge_count);
    int32_t *types = NULL;
    if (gguf_has_key(file, "tokenizer.ggml.token_type")) {
        size_t count;
        int64_t *numbers = gguf_ints(file, "tokenizer.ggml.token_type", &count);
        if (count != metadata.token_count)
            die("%s: tokenizer.ggml.token_type has %zu elements for %zu tokens", path, count, metadata.token_count);
        types = as_types(numbers, count, path);
    }
    metadata.tokens = tokens;
    metadata.merges = merges;
    metadata.types = types;
    struct bpe *bpe = bpe_from_metadata(path, &metadata);
    free(tokens);
    free(merges);
    free(types);
    free(pre);
    free(model);
    gguf_close(file);
    return bpe;
}
