/* tokenizer.json, and vocab.json with merges.txt, into struct subword_parts. */
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "text/subword.h"
#include "text/subword_source.h"
#include "text/subword_steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        if (!json_is_integer(value) || id < 0 || id > SUBWORD_MAX_ID)
            die("%s: %s: the id of '%s' must be a whole number from 0 to %d", place.path, place.part, key,
                SUBWORD_MAX_ID);
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

void subword_split_merge(const char *path, size_t number, struct span text, struct span parts[2])
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
        subword_split_merge(place.path, number, string_span(merge), parts);
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

/* The member as text; NULL where there is none, or nothing in it. */
static const char *text_or_none(struct json_place place, const json_t *object, const char *name)
{
    const char *text = member_text(place, object, name);
    return text && *text ? text : NULL;
}

/* Texts that parts points to belong to the JSON value. */
static void read_bpe(struct subword_parts *parts, struct json_place place, json_t *model)
{
    static const char *const members[] = {"type", "dropout", "unk_token", "continuing_subword_prefix",
        "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges", NULL};
    struct bpe_settings *bpe = &parts->bpe;
    parts->model = SUBWORD_BPE;
    check_members(place, model, members);
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_nothing(dropout) && (!json_is_number(dropout) || json_number_value(dropout) != 0))
        die("%s: model: 'dropout' makes tokens random; set it to null", place.path);
    bpe->prefix = text_or_none(place, model, "continuing_subword_prefix");
    bpe->suffix = text_or_none(place, model, "end_of_word_suffix");
    bpe->byte_fallback = member_flag(place, model, "byte_fallback", false);
    bpe->unknown = member_text(place, model, "unk_token");
    bpe->fuse_unknown = member_flag(place, model, "fuse_unk", false);
    bpe->ignore_merges = member_flag(place, model, "ignore_merges", false);
    parts->tokens = read_vocabulary((struct json_place){place.path, "model: vocab"},
                                    json_object_get(model, "vocab"), &parts->token_count);
    bpe->merges =
        (const struct span(*)[2])read_merges(place, json_object_get(model, "merges"), &bpe->merge_count);
}

/*
 * A number as the tokenizers library reads it: its digits as a whole number, times or divided by a power of
 * ten, both rounded, which is not always the double that is nearest. The digits are taken to be the fewest
 * that tell the number from others, as programs write them. Where tokens tie, the last bit counts.
 */
static double library_number(double value)
{
    enum { MAX_DIGITS = 17, MAX_POWER = 308 };
    char text[32], power[16], digits[MAX_DIGITS + 2];
    int precision = 0;
    do {
        snprintf(text, sizeof text, "%.*e", precision, fabs(value));
    } while (strtod(text, NULL) != fabs(value) && ++precision < MAX_DIGITS);
    const char *exponent_text = strchr(text, 'e');
    snprintf(digits, sizeof digits, "%c%.*s", text[0], precision, precision ? text + 2 : "");
    int exponent = atoi(exponent_text + 1) - precision;
    double read = (double)strtoull(digits, NULL, 10);
    for (; exponent < -MAX_POWER; exponent += MAX_POWER)
        read /= 1e308;
    snprintf(power, sizeof power, "1e%d", abs(exponent));
    read = exponent < 0 ? read / strtod(power, NULL) : read * strtod(power, NULL);
    return value < 0 ? -read : read;
}

/* A token and its score. */
static void read_scored(struct json_place place, const json_t *item, size_t id, struct span *token,
                        double *score)
{
    const json_t *text = json_array_get(item, 0), *number = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(text) || !json_is_number(number))
        die("%s: %s: token %zu must be a list of its text and its score", place.path, place.part, id);
    *token = string_span(text);
    *score = json_is_real(number) ? library_number(json_real_value(number)) : json_number_value(number);
}

/* The id of the unknown token, which there may be none of. */
static uint32_t read_unknown_id(struct json_place place, const json_t *model, size_t tokens)
{
    const json_t *id = json_object_get(model, "unk_id");
    if (is_nothing(id))
        return NO_TOKEN;
    if (!json_is_integer(id) || json_integer_value(id) < 0 || (size_t)json_integer_value(id) >= tokens)
        die("%s: %s: 'unk_id' must be a whole number below %zu, that of the tokens", place.path, place.part,
            tokens);
    return (uint32_t)json_integer_value(id);
}

static void read_unigram(struct subword_source *source, struct json_place place, json_t *model)
{
    static const char *const members[] = {"type", "unk_id", "vocab", "byte_fallback", NULL};
    struct subword_parts *parts = &source->parts;
    const json_t *list = json_object_get(model, "vocab");
    size_t count = json_array_size(list);
    check_members(place, model, members);
    if (!count || count > SUBWORD_MAX_ID)
        die("%s: model: vocab: a list of 1 to %d tokens is expected", place.path, SUBWORD_MAX_ID);
    struct span *tokens = new_array(count, sizeof *tokens);
    parts->model = SUBWORD_UNIGRAM;
    parts->unigram.scores = new_array(count, sizeof *parts->unigram.scores);
    source->ids = json_make("{}");
    for (size_t i = 0; i < count; i++) {
        read_scored(place, json_array_get(list, i), i, &tokens[i], &parts->unigram.scores[i]);
        json_put(source->ids, tokens[i].bytes, json_integer((json_int_t)i));
    }
    parts->tokens = tokens;
    parts->token_count = count;
    parts->unigram.unknown = read_unknown_id(place, model, count);
    parts->unigram.byte_fallback = member_flag(place, model, "byte_fallback", false);
}

static void read_wordpiece(struct subword_parts *parts, struct json_place place, json_t *model)
{
    static const char *const members[] = {"type", "unk_token", "continuing_subword_prefix",
                                          "max_input_chars_per_word", "vocab", NULL};
    enum { MAX_CHARACTERS = 100 }; /* where the file says nothing */
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    const char *unknown = member_text(place, model, "unk_token"),
               *prefix = member_text(place, model, "continuing_subword_prefix");
    check_members(place, model, members);
    if (!is_nothing(most) && (!json_is_integer(most) || json_integer_value(most) < 0))
        die("%s: %s: 'max_input_chars_per_word' must be a whole number, at least 0", place.path, place.part);
    parts->model = SUBWORD_WORDPIECE;
    parts->wordpiece = (struct wordpiece_settings){
        .prefix = prefix ? prefix : "##", .unknown = unknown ? unknown : "[UNK]",
        .max_characters = is_nothing(most) ? MAX_CHARACTERS : (size_t)json_integer_value(most)};
    parts->tokens = read_vocabulary((struct json_place){place.path, "model: vocab"},
                                    json_object_get(model, "vocab"), &parts->token_count);
}

/* A word is one token. */
static void read_word_level(struct subword_parts *parts, struct json_place place, json_t *model)
{
    static const char *const members[] = {"type", "unk_token", "vocab", NULL};
    const char *unknown = member_text(place, model, "unk_token");
    check_members(place, model, members);
    if (!unknown)
        die("%s: %s: 'unk_token' must be there", place.path, place.part);
    parts->model = SUBWORD_WORDPIECE;
    parts->wordpiece = (struct wordpiece_settings){.unknown = unknown, .max_characters = SIZE_MAX};
    parts->tokens = read_vocabulary((struct json_place){place.path, "model: vocab"},
                                    json_object_get(model, "vocab"), &parts->token_count);
}

/* The model, by its type. */
static void read_model(struct subword_source *source, json_t *model)
{
    struct subword_parts *parts = &source->parts;
    struct json_place place = {parts->path, "model"};
    /* The first versions of the format did not name the type. */
    const char *type = json_object_get(model, "type") || !json_object_get(model, "merges")
                     ? member_type(place, model) : "BPE";
    if (!strcmp(type, "BPE"))
        read_bpe(parts, place, model);
    else if (!strcmp(type, "Unigram"))
        read_unigram(source, place, model);
    else if (!strcmp(type, "WordPiece"))
        read_wordpiece(parts, place, model);
    else if (!strcmp(type, "WordLevel"))
        read_word_level(parts, place, model);
    else
        die("%s: the model is of type '%s'; this program knows BPE, Unigram, WordPiece and WordLevel",
            place.path, type);
}

/* ---- tokenizer.json: added tokens ---- */

static uint32_t read_added_id(struct json_place place, const json_t *object, const char *text)
{
    const json_t *id = json_object_get(object, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > SUBWORD_MAX_ID)
        die("%s: %s: the id of '%s' must be a whole number from 0 to %d", place.path, place.part, text,
            SUBWORD_MAX_ID);
    return (uint32_t)json_integer_value(id);
}

struct added_token subword_added_token(struct json_place place, json_t *object)
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
        .id = NO_TOKEN,
        .single_word = member_flag(place, object, "single_word", false),
        .left_strip = member_flag(place, object, "lstrip", false),
        .right_strip = member_flag(place, object, "rstrip", false),
        .special = special,
        .normalized = member_flag(place, object, "normalized", !special),
    };
}

uint32_t subword_library_id(struct json_place place, const json_t *vocabulary,
                            const struct added_token *token, uint32_t next)
{
    const json_t *id = json_object_get(vocabulary, token->text.bytes);
    uint32_t expected = id ? (uint32_t)json_integer_value(id) : next;
    if (token->id != NO_TOKEN && token->id != expected)
        die("%s: %s: '%s' has id %u, but the tokenizers library would give it %u", place.path, place.part,
            token->text.bytes, token->id, expected);
    return expected;
}

static void read_added(struct subword_parts *parts, const json_t *list, const json_t *vocabulary)
{
    struct json_place place = {parts->path, "added_tokens"};
    if (!is_nothing(list) && !json_is_array(list))
        die("%s: %s: a list is expected", place.path, place.part);
    struct added_token *added = new_array(json_array_size(list), sizeof *added);
    uint32_t next = (uint32_t)json_object_size(vocabulary);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *token = json_array_get(list, i);
        added[i] = subword_added_token(place, token);
        added[i].id = read_added_id(place, token, added[i].text.bytes);
        subword_library_id(place, vocabulary, &added[i], next);
        next = added[i].id >= next ? added[i].id + 1 : next;
    }
    parts->added = added;
    parts->added_count = json_array_size(list);
}

/* ---- all of tokenizer.json ---- */

void subword_source_json(struct subword_source *source, const char *path)
{
    static const char *const members[] = {"version", "truncation", "padding", "added_tokens", "normalizer",
                                          "pre_tokenizer", "post_processor", "decoder", "model", NULL};
    json_t *file = json_read_object(path, "tokenizer's", "a tokenizer of the tokenizers library");
    json_t *model = json_object_get(file, "model");
    struct json_place place = {path, "tokenizer"};
    *source = (struct subword_source){.parts = {.path = path}, .json = file};
    check_members(place, file, members);
    const char *version = member_text(place, file, "version");
    if (!version || strcmp(version, "1.0"))
        die("%s: version '%s' of the format is not known; 1.0 is", path, version ? version : "(none)");
    read_model(source, model);
    source->vocabulary = source->ids ? source->ids : json_object_get(model, "vocab");
    read_added(&source->parts, json_object_get(file, "added_tokens"), source->vocabulary);
    source->parts.normalizer = read_normalizer(path, json_object_get(file, "normalizer"));
    source->parts.pretokenizer = read_pretokenizer(path, json_object_get(file, "pre_tokenizer"));
    check_decoder(path, json_object_get(file, "decoder"));
}

void subword_source_free(struct subword_source *source)
{
    free((void *)(uintptr_t)source->parts.tokens);
    free((void *)(uintptr_t)source->parts.bpe.merges);
    free((void *)(uintptr_t)source->parts.added);
    free((void *)(uintptr_t)source->merges_text.bytes);
    free(source->parts.unigram.scores);
    json_decref(source->ids);
    json_decref(source->json);
}

struct subword_tokenizer *subword_read_json(const char *path)
{
    struct subword_source source;
    subword_source_json(&source, path);
    struct subword_tokenizer *tokenizer = subword_new(&source.parts);
    subword_source_free(&source);
    return tokenizer;
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
        subword_split_merge(path, *count + 1, line, merges[*count]);
        (*count)++;
    }
    return merges;
}

void subword_source_vocabulary(struct subword_source *source, const char *vocabulary, const char *merges)
{
    struct json_place place = {vocabulary, "vocabulary"};
    struct subword_parts *parts = &source->parts;
    json_t *json = json_read_object(vocabulary, "tokenizer's", "tokens and their ids: {\"the\": 5}");
    *source = (struct subword_source){.parts = {.path = vocabulary}, .json = json, .vocabulary = json};
    source->merges_text.bytes = input_read_all(merges, "tokenizer's", &source->merges_text.length);
    parts->tokens = read_vocabulary(place, json, &parts->token_count);
    parts->bpe.merges =
        (const struct span(*)[2])merges_of_lines(merges, source->merges_text, &parts->bpe.merge_count);
}
