#include "text/subword_classes.h"

#include "base/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE "\xE2\x96\x81" /* U+2581, SentencePiece's for a space */

const char *const special_names[SPECIALS + 1] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                 "pad_token", "cls_token", "mask_token", NULL};

static const struct tokenizer_class classes[] = {
    {.name = "GPT2Tokenizer", .specials = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
    {.name = "CodeGenTokenizer", .specials = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
    {.name = "GPTNeoXTokenizer", .form_c = true,
     .specials = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, "<|padding|>"}},
    {.name = "Qwen2Tokenizer", .pre = "qwen2", .form_c = true, .plain_specials = true,
     .specials = {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>"}},
    {.name = "CohereTokenizer", .digits = true, .form_c = true,
     .specials = {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>", "<PAD>", "<CLS>",
                  "<MASK_TOKEN>"}},
    {.name = "LlamaTokenizer", .kind = CLASS_LLAMA, .specials = {"<s>", "</s>", "<unk>"}},
    {.name = "GemmaTokenizer", .kind = CLASS_GEMMA,
     .specials = {"<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, "<mask>"}},
};

enum { CLASSES = sizeof classes / sizeof *classes };

const struct tokenizer_class *tokenizer_class_find(const char *name)
{
    for (size_t i = 0; i < CLASSES; i++)
        if (!strcmp(classes[i].name, name))
            return &classes[i];
    return NULL;
}

bool tokenizer_class_is_plain(const char *name, bool byte_level)
{
    static const char *const plain[] = {"TokenizersBackend", "PreTrainedTokenizer", "BloomTokenizer", NULL};
    return is_listed(name, plain) || (byte_level && !strcmp(name, "LlamaTokenizer"));
}

char *tokenizer_class_names(void)
{
    char *names = copy_string(classes[0].name);
    for (size_t i = 1; i < CLASSES; i++) {
        char *longer = format_string("%s, %s", names, classes[i].name);
        free(names);
        names = longer;
    }
    return names;
}

bool tokenizer_class_prefixes(const struct tokenizer_class *class)
{
    return class->kind == CLASS_LLAMA;
}

/* ---- what a class builds ---- */

static struct pretokenizer *byte_level_pretokenizer(const struct tokenizer_class *class, bool prefix,
                                                    const char *where)
{
    struct pretokenizer *pretokenizer =
        class->pre ? pretokenizer_named(class->pre, where) : pretokenizer_new();
    if (class->digits)
        pretokenizer_add(pretokenizer, (struct split_rule){.pattern = pattern_new(digit_expression, where),
                                                           .behavior = SPLIT_ISOLATED});
    if (!class->pre || prefix)
        pretokenizer_add(pretokenizer, (struct split_rule){
            .pattern = class->pre ? NULL : pattern_new(gpt2_expression, where), .behavior = SPLIT_ISOLATED,
            .mark = " ", .prefix = prefix ? PREFIX_ALWAYS : PREFIX_NEVER});
    pretokenizer_add(pretokenizer, (struct split_rule){.to_byte_characters = true});
    return pretokenizer;
}

static struct pretokenizer *metaspace(enum prefix_scheme scheme)
{
    struct pretokenizer *pretokenizer = pretokenizer_new();
    pretokenizer_add(pretokenizer, (struct split_rule){
        .space = SPACE, .mark = SPACE, .prefix = scheme, .behavior = SPLIT_MERGED_WITH_NEXT});
    return pretokenizer;
}

static struct normalizer *space_normalizer(bool prefix, const char *where)
{
    const struct span space = {SPACE, sizeof SPACE - 1};
    struct normalizer *normalizer = normalizer_new();
    if (prefix)
        normalizer_add_prepend(normalizer, space);
    normalizer_add_replace(normalizer, pattern_literal(" ", where), space);
    return normalizer;
}

static struct pretokenizer *gemma_pretokenizer(const char *where)
{
    struct pretokenizer *pretokenizer = pretokenizer_new();
    pretokenizer_add(pretokenizer, (struct split_rule){.pattern = pattern_literal(" ", where),
                                                       .behavior = SPLIT_MERGED_WITH_PREVIOUS});
    return pretokenizer;
}

/* ---- what tokenizer.json says of itself ---- */

static _Noreturn void contradict(const struct tokenizer_class *class, const char *path, const char *what)
{
    die("%s: %s is not that of the tokenizer_class, %s, by which transformers 5 would go; the files "
        "contradict each other: where tokenizer.json is right, give tokenizer_class as "
        "PreTrainedTokenizerFast in tokenizer_config.json",
        path, what, class->name);
}

static void free_steps(struct normalizer *normalizer, struct pretokenizer *pretokenizer)
{
    normalizer_free(normalizer);
    pretokenizer_free(pretokenizer);
}

/* Whether the parts have these steps, which are freed. */
static bool has_steps(const struct subword_parts *parts, struct normalizer *normalizer,
                      struct pretokenizer *pretokenizer)
{
    char own[HASH_CHARACTERS + 1], other[HASH_CHARACTERS + 1];
    struct hash *hash = hash_new();
    normalizer_hash(parts->normalizer, hash);
    pretokenizer_hash(parts->pretokenizer, hash);
    hash_finish(hash, own);
    hash = hash_new();
    normalizer_hash(normalizer, hash);
    pretokenizer_hash(pretokenizer, hash);
    hash_finish(hash, other);
    bool equal = !strcmp(own, other)
              && normalizer_is_form_c(normalizer) == normalizer_is_form_c(parts->normalizer);
    free_steps(normalizer, pretokenizer);
    return equal;
}

static void check_byte_level(const struct tokenizer_class *class, const struct subword_parts *parts)
{
    struct pretokenizer *expected = byte_level_pretokenizer(class, false, parts->path);
    bool equal = pretokenizer_equal(parts->pretokenizer, expected);
    pretokenizer_free(expected);
    if (!equal)
        contradict(class, parts->path, "pre_tokenizer");
    if (class->form_c ? !normalizer_is_form_c(parts->normalizer) : !normalizer_is_empty(parts->normalizer))
        contradict(class, parts->path, "normalizer");
    if (parts->bpe.unknown)
        contradict(class, parts->path, "model: unk_token");
    if (parts->bpe.byte_fallback)
        contradict(class, parts->path, "model: byte_fallback");
}

/* Llama's files have spaces as the class has, or as Gemma's do, or with a space before every text. */
static void check_spaces(const struct tokenizer_class *class, const struct subword_parts *parts)
{
    const char *path = parts->path;
    bool as_llama = has_steps(parts, space_normalizer(true, path), pretokenizer_new());
    for (int scheme = PREFIX_NEVER; scheme <= PREFIX_FIRST; scheme++)
        as_llama = as_llama || has_steps(parts, normalizer_new(), metaspace((enum prefix_scheme)scheme));
    bool as_both = has_steps(parts, space_normalizer(false, path), pretokenizer_new());
    bool as_gemma = has_steps(parts, space_normalizer(false, path), gemma_pretokenizer(path));
    if (!as_both && !(class->kind == CLASS_LLAMA ? as_llama : as_gemma))
        contradict(class, path, "normalizer or pre_tokenizer");
}

/* Classes take bytes for what has no token; what they do where a byte has none is not what the file says. */
static void check_bytes(const struct tokenizer_class *class, const struct subword_parts *parts,
                        const json_t *vocabulary)
{
    enum { BYTES = 256 };
    if (!parts->bpe.byte_fallback)
        contradict(class, parts->path, "model: byte_fallback");
    for (unsigned byte = 0; byte < BYTES; byte++) {
        char name[sizeof "<0x00>"];
        snprintf(name, sizeof name, "<0x%02X>", byte & 0xff);
        if (!json_object_get(vocabulary, name))
            die("%s: there is no token %s, but by its tokenizer_class, %s, each byte has one", parts->path,
                name, class->name);
    }
}

static void check_class(const struct tokenizer_class *class, const struct subword_parts *parts,
                        const json_t *vocabulary)
{
    if (parts->model != SUBWORD_BPE)
        contradict(class, parts->path, "model");
    if (class->kind == CLASS_BYTE_LEVEL) {
        check_byte_level(class, parts);
    } else {
        check_spaces(class, parts);
        check_bytes(class, parts, vocabulary);
    }
    if (parts->bpe.ignore_merges)
        contradict(class, parts->path, "model: ignore_merges");
    if (parts->bpe.prefix || parts->bpe.suffix)
        contradict(class, parts->path, "model: continuing_subword_prefix or end_of_word_suffix");
}

/* ---- all of it ---- */

static void set_steps(const struct tokenizer_class *class, struct subword_parts *parts, bool prefix,
                      bool legacy)
{
    const char *path = parts->path;
    switch (class->kind) {
    case CLASS_BYTE_LEVEL:
        parts->pretokenizer = byte_level_pretokenizer(class, prefix, path);
        parts->normalizer = normalizer_new();
        if (class->form_c)
            normalizer_add_form(parts->normalizer, FORM_C);
        break;
    case CLASS_LLAMA:
        parts->normalizer = normalizer_new();
        parts->pretokenizer = metaspace(!prefix ? PREFIX_NEVER : legacy ? PREFIX_ALWAYS : PREFIX_FIRST);
        break;
    case CLASS_GEMMA:
        parts->normalizer = space_normalizer(false, path);
        parts->pretokenizer = gemma_pretokenizer(path);
        break;
    }
}

void tokenizer_class_apply(const struct tokenizer_class *class, struct subword_parts *parts,
                           const json_t *vocabulary, bool prefix, bool legacy)
{
    if (parts->pretokenizer) {
        check_class(class, parts, vocabulary);
        free_steps(parts->normalizer, parts->pretokenizer);
    }
    set_steps(class, parts, prefix, legacy);
    if (class->kind != CLASS_BYTE_LEVEL) {
        parts->bpe.unknown = NULL;
        parts->bpe.byte_fallback = true;
    }
}
