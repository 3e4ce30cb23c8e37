/* Tokenizers from files: each reader brings what it finds into struct bpe_parts. */
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "text/bpe.h"
#include "text/bpe_source.h"

#include <stdlib.h>
#include <string.h>

static void must_be_null_or_empty(struct json_place place, const json_t *object, const char *name)
{
    const char *text = member_text(place, object, name);
    if (text && *text)
        die("%s: %s: '%s' is '%s'; this program knows only none", place.path, place.part, name, text);
}

/* ---- tokens ---- */

/* A vocabulary object: text to id. Gives the texts by id, which the JSON value keeps; ids may have gaps. */
static struct span *read_vocabulary(struct json_place place, json_t *vocabulary, size_t *size)
{
    const char *key;
    json_t *value;
    if (!json_is_object(vocabulary))
        die("%s: %s: an object of tokens and ids is expected", place.path, place.part);
    *size = 0;
    json_object_foreach(vocabulary, key, value) {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id > BPE_MAX_ID)
            die("%s: %s: the id of '%s' must be a whole number from 0 to %d", place.path, place.part, key,
                BPE_MAX_ID);
        *size = (size_t)id < *size ? *size : (size_t)id + 1;
    }
    struct span *tokens = new_array(*size, sizeof *tokens);
    json_object_foreach(vocabulary, key, value) {
        struct span *token = &tokens[json_integer_value(value)];
        if (token->bytes)
            die("%s: %s: '%.*s' and '%s' have the same id %zu", place.path, place.part, (int)token->length,
                token->bytes, key, (size_t)(token - tokens));
        *token = (struct span){key, strlen(key)};
    }
    return tokens;
}

/* "left right"; number is the merge's, from 1. */
static void split_merge(const char *path, size_t number, struct span text, struct span parts[2])
{
    const char *space = memchr(text.bytes, ' ', text.length), *end = text.bytes + text.length;
    if (!space || space == text.bytes || space + 1 == end
        || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        die("%s: merge %zu: two tokens with a space between them are expected, not '%.*s'", path, number,
            (int)text.length, text.bytes);
    parts[0] = (struct span){text.bytes, (size_t)(space - text.bytes)};
    parts[1] = (struct span){space + 1, (size_t)(end - space - 1)};
}

static bool is_version_line(struct span text)
{
    static const char start[] = "#version";
    return text.length >= sizeof start - 1 && !memcmp(text.bytes, start, sizeof start - 1);
}

/* ---- tokenizer.json: the model ---- */

static void read_merge(struct json_place place, size_t number, const json_t *merge, struct span parts[2])
{
    if (json_is_string(merge)) {
        split_merge(place.path, number, string_span(merge), parts);
        return;
    }
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
        die("%s: %s: merge %zu must be text or two texts", place.path, place.part, number);
    parts[0] = string_span(left);
    parts[1] = string_span(right);
}

/* The caller frees the array. */
static struct span (*read_merges(struct json_place place, const json_t *merges, size_t *count))[2]
{
    if (!json_is_array(merges))
        die("%s: %s: 'merges' must be a list", place.path, place.part);
    struct span (*parts)[2] = new_array(json_array_size(merges), sizeof *parts);
    *count = 0;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        if (!json_is_string(merge) || !is_version_line(string_span(merge)))
            read_merge(place, i + 1, merge, parts[(*count)++]);
    }
    return parts;
}

/* Texts that parts points to belong to the JSON value. */
static void read_model(struct bpe_parts *parts, json_t *model)
{
    static const char *const members[] = {"type", "dropout", "unk_token", "continuing_subword_prefix",
        "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges", NULL};
    struct json_place place = {parts->path, "model"};
    /* The first versions of the format did not name the type. */
    const char *type = json_object_get(model, "type") || !json_object_get(model, "merges")
                     ? member_type(place, model) : "BPE";
    if (strcmp(type, "BPE"))
        die("%s: the model is of type '%s'; this program knows BPE", place.path, type);
    check_members(place, model, members);
    must_be_null_or_empty(place, model, "continuing_subword_prefix");
    must_be_null_or_empty(place, model, "end_of_word_suffix");
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_nothing(dropout) && (!json_is_number(dropout) || json_number_value(dropout) != 0))
        die("%s: model: 'dropout' makes tokens random; set it to null", place.path);
    if (member_flag(place, model, "byte_fallback", false))
        die("%s: model: 'byte_fallback' is for tokenizers that are not byte-level; this program knows only "
            "those",
            place.path);
    parts->unknown = member_text(place, model, "unk_token");
    parts->fuse_unknown = member_flag(place, model, "fuse_unk", false);
    parts->ignore_merges = member_flag(place, model, "ignore_merges", false);
    parts->tokens = read_vocabulary((struct json_place){place.path, "model: vocab"},
                                    json_object_get(model, "vocab"), &parts->token_count);
    parts->merges =
        (const struct span(*)[2])read_merges(place, json_object_get(model, "merges"), &parts->merge_count);
}

/* ---- tokenizer.json: added tokens ---- */

static uint32_t read_added_id(struct json_place place, const json_t *object, const char *text)
{
    const json_t *id = json_object_get(object, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > BPE_MAX_ID)
        die("%s: %s: the id of '%s' must be a whole number from 0 to %d", place.path, place.part, text,
            BPE_MAX_ID);
    return (uint32_t)json_integer_value(id);
}

struct added_token bpe_added_token(struct json_place place, json_t *object)
{
    static const char *const members[] = {"id", "content", "single_word", "lstrip", "rstrip", "normalized",
                                          "special", "__type", NULL};
    const json_t *text = json_object_get(object, "content");
    if (!json_is_string(text))
        die("%s: %s: a token without 'content'", place.path, place.part);
    check_members(place, object, members);
    bool special = member_flag(place, object, "special", false);
    return (struct added_token){
        .text = string_span(text),
        .id = BPE_NO_TOKEN,
        .single_word = member_flag(place, object, "single_word", false),
        .left_strip = member_flag(place, object, "lstrip", false),
        .right_strip = member_flag(place, object, "rstrip", false),
        .special = special,
        .normalized = member_flag(place, object, "normalized", !special),
    };
}

uint32_t bpe_library_id(struct json_place place, const json_t *vocabulary, const struct added_token *token,
                        uint32_t next)
{
    const json_t *id = json_object_get(vocabulary, token->text.bytes);
    uint32_t expected = id ? (uint32_t)json_integer_value(id) : next;
    if (token->id != BPE_NO_TOKEN && token->id != expected)
        die("%s: %s: '%s' has id %u, but the tokenizers library would give it %u", place.path, place.part,
            token->text.bytes, token->id, expected);
    return expected;
}

static void read_added(struct bpe_parts *parts, const json_t *list, const json_t *vocabulary)
{
    struct json_place place = {parts->path, "added_tokens"};
    if (!is_nothing(list) && !json_is_array(list))
        die("%s: %s: a list is expected", place.path, place.part);
    struct added_token *added = new_array(json_array_size(list), sizeof *added);
    uint32_t next = (uint32_t)json_object_size(vocabulary);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *token = json_array_get(list, i);
        added[i] = bpe_added_token(place, token);
        added[i].id = read_added_id(place, token, added[i].text.bytes);
        bpe_library_id(place, vocabulary, &added[i], next);
        next = added[i].id >= next ? added[i].id + 1 : next;
    }
    parts->added = added;
    parts->added_count = json_array_size(list);
}

/* ---- tokenizer.json: normalizer, pre-tokenizer, decoder ---- */

enum { MAX_DEPTH = 8 }; /* of sequences within sequences */

/* The members of a Sequence, under their own name in each kind of it. */
static const json_t *sequence_members(struct json_place place, const json_t *sequence, const char *name,
                                      size_t depth)
{
    const json_t *members = json_object_get(sequence, name);
    if (!json_is_array(members) || depth == MAX_DEPTH)
        die("%s: %s: a Sequence without its list '%s', or %d of them within each other", place.path,
            place.part, name, MAX_DEPTH);
    return members;
}

static void read_normalizer(struct bpe_parts *parts, const json_t *normalizer, size_t depth)
{
    struct json_place place = {parts->path, "normalizer"};
    if (is_nothing(normalizer))
        return;
    const char *type = member_type(place, normalizer);
    if (!strcmp(type, "Sequence")) {
        const json_t *members = sequence_members(place, normalizer, "normalizers", depth);
        for (size_t i = 0; i < json_array_size(members); i++)
            read_normalizer(parts, json_array_get(members, i), depth + 1);
    } else if (!strcmp(type, "NFC")) {
        parts->form_c = true;
    } else {
        die("%s: the normalizer '%s' is not known to this program; NFC and none are", place.path, type);
    }
}

static void check_decoder(const char *path, const json_t *decoder, size_t depth)
{
    struct json_place place = {path, "decoder"};
    if (is_nothing(decoder))
        return;
    const char *type = member_type(place, decoder);
    if (!strcmp(type, "Sequence")) {
        const json_t *members = sequence_members(place, decoder, "decoders", depth);
        for (size_t i = 0; i < json_array_size(members); i++)
            check_decoder(path, json_array_get(members, i), depth + 1);
    } else if (strcmp(type, "ByteLevel")) {
        die("%s: the decoder '%s' is not known to this program; ByteLevel is", path, type);
    }
}

static enum split_behavior read_behavior(struct json_place place, const json_t *object)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    static const enum split_behavior behaviors[] = {SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_MERGED_WITH_PREVIOUS,
                                                    SPLIT_MERGED_WITH_NEXT, SPLIT_CONTIGUOUS};
    const char *name = member_text(place, object, "behavior");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name && !strcmp(names[i], name))
            return behaviors[i];
    die("%s: %s: the behavior '%s' is not known", place.path, place.part, name ? name : "(none)");
}

/* {"Regex": text} or {"String": text} */
static struct pattern *read_pattern(struct json_place place, const json_t *object)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *expression = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if (json_object_size(pattern) != 1 || (!expression && !literal))
        die("%s: %s: 'pattern' must have one member, 'Regex' or 'String', with text", place.path, place.part);
    char *where = format_string("%s: %s", place.path, place.part);
    struct pattern *read = expression ? pattern_new(expression, where) : pattern_literal(literal, where);
    free(where);
    return read;
}

static struct split_rule read_split(struct json_place place, json_t *object)
{
    static const char *const members[] = {"type", "pattern", "behavior", "invert", NULL};
    check_members(place, object, members);
    return (struct split_rule){.pattern = read_pattern(place, object),
                               .behavior = read_behavior(place, object),
                               .invert = member_flag(place, object, "invert", false)};
}

static struct split_rule read_digits(struct json_place place, json_t *object)
{
    static const char *const members[] = {"type", "individual_digits", NULL};
    check_members(place, object, members);
    bool individual = member_flag(place, object, "individual_digits", false);
    return (struct split_rule){.pattern = pattern_new(digit_expression, place.path),
                               .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS};
}

static struct split_rule read_byte_level(struct json_place place, json_t *object)
{
    static const char *const members[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    check_members(place, object, members);
    bool has_expression = member_flag(place, object, "use_regex", true);
    return (struct split_rule){.pattern = has_expression ? pattern_new(gpt2_expression, place.path) : NULL,
                               .behavior = SPLIT_ISOLATED,
                               .prefix_space = member_flag(place, object, "add_prefix_space", true)};
}

/* *byte_level: a ByteLevel has been read; what would come behind it would see other characters. */
static void read_pretokenizer(struct bpe_parts *parts, json_t *object, size_t depth, bool *byte_level)
{
    struct json_place place = {parts->path, "pre_tokenizer"};
    const char *type = is_nothing(object) ? "null" : member_type(place, object);
    if (*byte_level)
        die("%s: %s: '%s' behind ByteLevel; this program knows ByteLevel as the last only", place.path,
            place.part, type);
    if (!strcmp(type, "Sequence")) {
        const json_t *members = sequence_members(place, object, "pretokenizers", depth);
        for (size_t i = 0; i < json_array_size(members); i++)
            read_pretokenizer(parts, json_array_get(members, i), depth + 1, byte_level);
    } else if (!strcmp(type, "Split")) {
        pretokenizer_add(parts->pretokenizer, read_split(place, object));
    } else if (!strcmp(type, "Digits")) {
        pretokenizer_add(parts->pretokenizer, read_digits(place, object));
    } else if (!strcmp(type, "ByteLevel")) {
        struct split_rule rule = read_byte_level(place, object);
        if (rule.pattern || rule.prefix_space)
            pretokenizer_add(parts->pretokenizer, rule);
        *byte_level = true;
    } else {
        die("%s: the pre_tokenizer '%s' is not known to this program; ByteLevel, Split, Digits and Sequence "
            "are",
            place.path, type);
    }
}

void bpe_source_json(struct bpe_source *source, const char *path)
{
    static const char *const members[] = {"version", "truncation", "padding", "added_tokens", "normalizer",
                                          "pre_tokenizer", "post_processor", "decoder", "model", NULL};
    json_t *file = json_read_object(path, "tokenizer's", "a tokenizer of the tokenizers library");
    json_t *model = json_object_get(file, "model");
    struct json_place place = {path, "tokenizer"};
    bool byte_level = false;
    *source = (struct bpe_source){.parts = {.path = path, .pretokenizer = pretokenizer_new()}, .json = file};
    check_members(place, file, members);
    const char *version = member_text(place, file, "version");
    if (!version || strcmp(version, "1.0"))
        die("%s: version '%s' of the format is not known; 1.0 is", path, version ? version : "(none)");
    read_model(&source->parts, model);
    source->vocabulary = json_object_get(model, "vocab");
    read_added(&source->parts, json_object_get(file, "added_tokens"), source->vocabulary);
    read_normalizer(&source->parts, json_object_get(file, "normalizer"), 0);
    read_pretokenizer(&source->parts, json_object_get(file, "pre_tokenizer"), 0, &byte_level);
    if (!byte_level)
        die("%s: the pre_tokenizer has no ByteLevel; this program knows byte-level BPE only", path);
    check_decoder(path, json_object_get(file, "decoder"), 0);
}

void bpe_source_free(struct bpe_source *source)
{
    free((void *)(uintptr_t)source->parts.tokens);
    free((void *)(uintptr_t)source->parts.merges);
    free((void *)(uintptr_t)source->parts.added);
    free((void *)(uintptr_t)source->merges_text.bytes);
    json_decref(source->json);
}

struct bpe *bpe_read_json(const char *path)
{
    struct bpe_source source;
    bpe_source_json(&source, path);
    struct bpe *bpe = bpe_new(&source.parts);
    bpe_source_free(&source);
    return bpe;
}

/* ---- by the pre-tokenizer's name ---- */

/* What model families have beside their pre-tokenizer; the others have none of it. */
static const struct family {
    const char *pre;
    bool form_c, ignore_merges;
} families[] = {
    {"llama-bpe", false, true},
    {"llama3", false, true},
    {"llama-v3", false, true},
    {"qwen2", true, false},
};

static void set_family(struct bpe_parts *parts, const char *pre)
{
    parts->pretokenizer = pretokenizer_named(pre, parts->path);
    if (!parts->pretokenizer)
        die("%s: the pre-tokenizer '%s' is not known to this program; %s are", parts->path, pre,
            pretokenizer_names());
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].pre, pre)) {
            parts->form_c = families[i].form_c;
            parts->ignore_merges = families[i].ignore_merges;
        }
}

/* ---- vocab.json and merges.txt ---- */

static struct span next_line(struct span *rest)
{
    const char *end = memchr(rest->bytes, '\n', rest->length);
    struct span line = {rest->bytes, end ? (size_t)(end - rest->bytes) : rest->length};
    size_t used = line.length + (end != NULL);
    *rest = (struct span){rest->bytes + used, rest->length - used};
    if (end && line.length && line.bytes[line.length - 1] == '\r')
        line.length--;
    return line;
}

static struct span (*merges_of_lines(const char *path, struct span text, size_t *count))[2]
{
    size_t lines = 1;
    for (size_t i = 0; i < text.length; i++)
        lines += text.bytes[i] == '\n';
    struct span (*merges)[2] = new_array(lines, sizeof *merges);
    *count = 0;
    while (text.length) {
        struct span line = next_line(&text);
        if (is_version_line(line))
            continue;
        split_merge(path, *count + 1, line, merges[*count]);
        (*count)++;
    }
    return merges;
}

void bpe_source_vocabulary(struct bpe_source *source, const char *vocabulary, const char *merges)
{
    struct json_place place = {vocabulary, "vocabulary"};
    struct bpe_parts *parts = &source->parts;
    json_t *json = json_read_object(vocabulary, "tokenizer's", "tokens and their ids: {\"the\": 5}");
    *source = (struct bpe_source){.parts = {.path = vocabulary}, .json = json, .vocabulary = json};
    source->merges_text.bytes = input_read_all(merges, "tokenizer's", &source->merges_text.length);
    parts->tokens = read_vocabulary(place, json, &parts->token_count);
    parts->merges =
        (const struct span(*)[2])merges_of_lines(merges, source->merges_text, &parts->merge_count);
}

/* ---- metadata of GGUF files ---- */

/* What a token's type makes of it. */
static void take_type(const struct bpe_metadata *metadata, const char *path, uint32_t id, struct span *token,
                      struct added_token *added, size_t *added_count)
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

struct bpe *bpe_from_metadata(const char *path, const struct bpe_metadata *metadata)
{
    struct bpe_parts parts = {.path = path, .token_count = metadata->token_count,
                              .merge_count = metadata->merge_count};
    struct span *tokens = new_array(parts.token_count, sizeof *tokens);
    struct span (*merges)[2] = new_array(parts.merge_count, sizeof *merges);
    struct added_token *added = new_array(parts.token_count, sizeof *added);
    for (size_t i = 0; i < parts.token_count; i++) {
        tokens[i] = metadata->tokens[i];
        take_type(metadata, path, (uint32_t)i, &tokens[i], added, &parts.added_count);
    }
    for (size_t i = 0; i < parts.merge_count; i++)
        split_merge(path, i + 1, metadata->merges[i], merges[i]);
    parts.tokens = tokens;
    parts.merges = (const struct span (*)[2])merges;
    parts.added = added;
    set_family(&parts, metadata->pre);
    struct bpe *bpe = bpe_new(&parts);
    free(tokens);
    free(merges);
    free(added);
    return bpe;
}
