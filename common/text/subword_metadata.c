/* A tokenizer of the metadata of a GGUF file. */
#include "base/messages.h"
#include "text/subword.h"
#include "text/subword_source.h"

#include <stdlib.h>
#include <string.h>

/* ---- by the pre-tokenizer's name ---- */

/* What model families have beside their pre-tokenizer; the others have none of it. */
static const struct family {
    const char *pre;
    bool form_c, ignore_merges;
} families[] = {
    {"command-r", true, false},
    {"llama-bpe", false, true},
    {"llama3", false, true},
    {"llama-v3", false, true},
    {"olmo", true, false},
    {"qwen2", true, false},
    {"tekken", false, true},
};

static void set_family(struct subword_parts *parts, const char *pre)
{
    parts->pretokenizer = pretokenizer_named(pre, parts->path);
    if (!parts->pretokenizer)
        die("%s: the pre-tokenizer '%s' is not known to this program; %s are", parts->path, pre,
            pretokenizer_names());
    pretokenizer_add(parts->pretokenizer, (struct split_rule){.to_byte_characters = true});
    parts->normalizer = normalizer_new();
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].pre, pre)) {
            if (families[i].form_c)
                normalizer_add_form(parts->normalizer, FORM_C);
            parts->bpe.ignore_merges = families[i].ignore_merges;
        }
}

/* ---- metadata ---- */

/* What a token's type makes of it. */
static void take_type(const struct subword_metadata *metadata, const char *path, uint32_t id,
                      struct span *token, struct added_token *added, size_t *added_count)
{
    int32_t type = metadata->types ? metadata->types[id] : GGUF_NORMAL;
    switch (type) {
    case GGUF_NORMAL:
        return;
    case GGUF_UNKNOWN:
    case GGUF_CONTROL:
    case GGUF_USER_DEFINED:
        added[(*added_count)++] =
            (struct added_token){.text = *token, .id = id, .special = type != GGUF_USER_DEFINED};
        return;
    case GGUF_UNUSED: /* only makes the ids' number that of the embedding */
        *token = (struct span){0};
        return;
    default:
        die("%s: tokenizer.ggml.token_type: token %u is of type %d, which byte-level BPE does not have", path,
            id, type);
    }
}

struct subword_tokenizer *subword_from_metadata(const char *path, const struct subword_metadata *metadata)
{
    struct subword_parts parts = {.path = path, .token_count = metadata->token_count,
                                  .bpe = {.merge_count = metadata->merge_count}};
    struct span *tokens = new_array(parts.token_count, sizeof *tokens);
    struct span (*merges)[2] = new_array(parts.bpe.merge_count, sizeof *merges);
    struct added_token *added = new_array(parts.token_count, sizeof *added);
    for (size_t i = 0; i < parts.token_count; i++) {
        tokens[i] = metadata->tokens[i];
        take_type(metadata, path, (uint32_t)i, &tokens[i], added, &parts.added_count);
    }
    for (size_t i = 0; i < parts.bpe.merge_count; i++)
        subword_split_merge(path, i + 1, metadata->merges[i], merges[i]);
    parts.tokens = tokens;
    parts.bpe.merges = (const struct span (*)[2])merges;
    parts.added = added;
    set_family(&parts, metadata->pre);
    struct subword_tokenizer *tokenizer = subword_new(&parts);
    free(tokens);
    free(merges);
    free(added);
    return tokenizer;
}
