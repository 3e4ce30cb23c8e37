#include "text/gguf_tokenizer.h"

#include "base/messages.h"
#include "formats/gguf.h"

#include <stdlib.h>
#include <string.h>

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

void gguf_check_tokenizer_keys(const struct gguf *file, const char *path, const char *const *read)
{
    static const char prefix[] = "tokenizer.", chats[] = "tokenizer.chat_template";
    static const char *const known[] = {
        "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.token_type_count",
        "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token", NULL};
    static const char *const off[] = {"tokenizer.ggml.add_space_prefix",
                                      "tokenizer.ggml.remove_extra_whitespaces",
                                      "tokenizer.ggml.escape_whitespaces", NULL};
    for (size_t i = 0; i < gguf_keys(file); i++) {
        const char *key = gguf_key(file, i);
        if (strncmp(key, prefix, sizeof prefix - 1) || is_listed(key, known) || ends_with(key, "_token_id")
            || ends_with(key, "_token_ids") || !strncmp(key, chats, sizeof chats - 1) || is_listed(key, read))
            continue;
        if (!is_listed(key, off))
            die("%s: this program does not know what %s does to the tokens of a text", path, key);
        if (gguf_bool(file, key))
            die("%s: %s is true; this program knows byte-level BPE without it only", path, key);
    }
}

/*
 * The tokenizers of Qwen and Falcon have no BOS: the id that their files name is that of config.json, which
 * the model does not read. Of the others the file's bos_token_id is the one that their tokenizers name,
 * whatever add_bos_token says.
 */
static struct stated_bos find_bos(const struct gguf *file, const char *pre)
{
    static const char adds[] = "tokenizer.ggml.add_bos_token";
    static const char *const without[] = {"falcon", "qwen2", NULL};
    bool none = is_listed(pre, without) && !(gguf_has_key(file, adds) && gguf_bool(file, adds));
    return (struct stated_bos){none, NO_TOKEN};
}

struct subword_tokenizer *gguf_subword(const struct gguf *file, const char *path, struct stated_bos *bos)
{
    static const char *const no_others[] = {NULL};
    gguf_check_tokenizer_keys(file, path, no_others);
    char *pre = gguf_has_key(file, "tokenizer.ggml.pre") ? gguf_word(file, "tokenizer.ggml.pre")
                                                         : copy_string("default");
    struct subword_metadata metadata = {.pre = pre};
    *bos = find_bos(file, pre);
    struct span *tokens = read_spans(file, "tokenizer.ggml.tokens", &metadata.token_count);
    struct span *merges = read_spans(file, "tokenizer.ggml.merges", &metadata.merge_count);
    int32_t *types = NULL;
    if (gguf_has_key(file, "tokenizer.ggml.token_type")) {
        size_t count;
        int64_t *numbers = gguf_ints(file, "tokenizer.ggml.token_type", &count);
        if (count != metadata.token_count)
            die("%s: tokenizer.ggml.token_type has %zu elements for %zu tokens", path, count,
                metadata.token_count);
        types = as_types(numbers, count, path);
    }
    metadata.tokens = tokens;
    metadata.merges = merges;
    metadata.types = types;
    struct subword_tokenizer *tokenizer = subword_from_metadata(path, &metadata);
    free(tokens);
    free(merges);
    free(types);
    free(pre);
    return tokenizer;
}
