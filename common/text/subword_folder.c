/*
 * The tokenizer of a model's folder. Beside the vocabulary it has settings, in files that
 * came one after the other and may repeat or contradict each other; what counts is
 * transformers 5 (PreTrainedTokenizerBase._from_pretrained, TokenizersBackend.__init__).
 */
#include "text/subword_classes.h"
#include "text/subword_source.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/order.h"
#include "model/checksums.h"
#include "model/families.h"

#include <stdlib.h>
#include <string.h>

/* ---- the folder ---- */

struct folder {
    const char *path;
    char *tokenizer_path, *vocabulary_path, *merges_path; /* NULL: there is none */
    char *settings_path, *specials_path, *added_path, *config_path;
    json_t *settings, *specials, *added, *config;         /* empty where there is none */
    char *class_name;
    const struct tokenizer_class *class;                  /* NULL: tokenizer.json as it is */
    struct subword_source source;
    struct added_token *tokens;                           /* that are found in the text */
    size_t count, capacity;
    json_t *standard;                                     /* special tokens of the class, by name */
    json_t *index;                                        /* a token's text: its index in tokens */
    uint32_t next;                                        /* free id */
};

/* The path of a file of the folder, whose sum is then checked, or NULL where it is not there. */
static char *find_file(const char *folder, const char *name)
{
    char *path = format_string("%s/%s", folder, name);
    if (input_exists(path)) {
        checksums_check_file(folder, name);
        return path;
    }
    free(path);
    return NULL;
}

/* A file of settings: the path and the object, which is empty where there is no file. */
static json_t *read_settings(const char *folder, const char *name, const char *what, char **path)
{
    *path = find_file(folder, name);
    return *path ? json_read_object(*path, "tokenizer's", what) : json_make("{}");
}

static struct json_place in_settings(const struct folder *folder)
{
    return (struct json_place){folder->settings_path, "settings"};
}

/* ---- the class ---- */

/* The text without the "Fast" that names of classes may end in; the caller frees it. */
static char *without_fast(const char *name)
{
    size_t length = strlen(name), fast = strlen("Fast");
    bool has_fast = length > fast && !strcmp(name + length - fast, "Fast");
    return format_string("%.*s", (int)(has_fast ? length - fast : length), name);
}

static const char *stated_class(const struct folder *folder)
{
    const char *name = member_text(in_settings(folder), folder->settings, "tokenizer_class");
    struct json_place config = {folder->config_path, "config"};
    return name ? name : member_text(config, folder->config, "tokenizer_class");
}

static void find_class(struct folder *folder, const char *model_type)
{
    const char *stated = stated_class(folder), *name = stated ? stated : "TokenizersBackend";
    const struct family *family = family_find(model_type);
    if (family && family->tokenizer_class && (!stated || family->tokenizer_class_forced))
        name = family->tokenizer_class;
    folder->class_name = without_fast(name);
    bool byte_level = folder->tokenizer_path && pretokenizer_writes_bytes(folder->source.parts.pretokenizer);
    if (tokenizer_class_is_plain(folder->class_name, byte_level))
        return;
    folder->class = tokenizer_class_find(folder->class_name);
    if (!folder->class) {
        char *names = tokenizer_class_names();
        die("%s: tokenizer_class '%s' is not known to this program; %s, and for tokenizer.json as it is "
            "PreTrainedTokenizerFast are",
            stated == name && folder->settings_path ? folder->settings_path : folder->path, name, names);
    }
    for (size_t i = 0; i < SPECIALS; i++)
        if (folder->class->specials[i])
            json_put(folder->standard, special_names[i], json_string(folder->class->specials[i]));
}

/*
 * Whether text gets a space before it. A class does what the setting says, if it is there; else setting and
 * tokenizer.json must agree.
 */
static bool wants_prefix(const struct folder *folder)
{
    const struct subword_parts *parts = &folder->source.parts;
    bool in_file = parts->pretokenizer && (pretokenizer_prefixes(parts->pretokenizer)
                                           || normalizer_prepends(parts->normalizer));
    bool said = !is_nothing(json_object_get(folder->settings, "add_prefix_space"));
    bool otherwise = folder->class && tokenizer_class_prefixes(folder->class);
    bool wanted = member_flag(in_settings(folder), folder->settings, "add_prefix_space", otherwise);
    if (parts->pretokenizer && wanted != in_file && (said ? !folder->class : folder->class != NULL))
        die("%s: add_prefix_space of the pre_tokenizer is %s, in tokenizer_config.json %s: make them agree",
            folder->tokenizer_path, in_file ? "true" : "false",
            !said    ? "missing"
            : wanted ? "true"
                     : "false");
    return wanted;
}

/* Tokens and merges; of tokenizer.json normalizer and pre-tokenizer, too. */
static void read_source(struct folder *folder)
{
    if (folder->tokenizer_path)
        subword_source_json(&folder->source, folder->tokenizer_path);
    else
        subword_source_vocabulary(&folder->source, folder->vocabulary_path, folder->merges_path);
}

static void apply_class(struct folder *folder)
{
    struct subword_parts *parts = &folder->source.parts;
    if (!folder->tokenizer_path && (!folder->class || folder->class->kind != CLASS_BYTE_LEVEL))
        die("%s: how vocab.json and merges.txt split text is not said: give tokenizer_class in "
            "tokenizer_config.json (GPT2Tokenizer, GPTNeoXTokenizer, Qwen2Tokenizer), or tokenizer.json",
            folder->path);
    bool prefix = wants_prefix(folder);
    if (folder->class)
        tokenizer_class_apply(folder->class, parts, folder->source.vocabulary, prefix,
                              member_flag(in_settings(folder), folder->settings, "legacy", false));
}

/* ---- special tokens, as the files have them ---- */

/* special_tokens_map.json and added_tokens.json count where the settings do not list the added tokens. */
static bool has_decoder(const struct folder *folder)
{
    return json_object_get(folder->settings, "added_tokens_decoder") != NULL;
}

/* Tokens of special_tokens_map.json that are objects are special, whatever they say. */
static void mark_special(json_t *value)
{
    size_t i;
    json_t *member;
    const char *name;
    if (json_object_get(value, "content"))
        json_put(value, "special", json_true());
    else
        json_object_foreach(value, name, member)
            mark_special(member);
    json_array_foreach(value, i, member)
        mark_special(member);
}

/* Appends the members of a list, which may be missing. texts: they must be texts. */
static void extend(const struct folder *folder, json_t *list, const json_t *file, const char *name,
                   bool texts)
{
    size_t i;
    json_t *more = json_object_get(file, name), *value;
    if (!is_nothing(more) && !json_is_array(more) && (texts || !json_is_object(more)))
        die("%s: %s must be a list of special tokens", folder->path, name);
    json_array_foreach(more, i, value) {
        if (texts && !json_is_string(value))
            die("%s: special_tokens_map.json: %s must be a list of texts", folder->path, name);
        json_add(list, json_incref(value));
    }
}

/* The special tokens that have no name. */
static json_t *extra_specials(const struct folder *folder)
{
    json_t *list = json_make("[]");
    extend(folder, list, folder->settings, "extra_special_tokens", false);
    if (json_array_size(list) == 0)
        extend(folder, list, folder->settings, "additional_special_tokens", false);
    if (!has_decoder(folder)) {
        extend(folder, list, folder->specials, "extra_special_tokens", false);
        if (json_array_size(list) == 0)
            extend(folder, list, folder->specials, "additional_special_tokens", true);
    }
    return list;
}

/* The special token of this name, in *value: NULL where there is none. False: no file says anything of it. */
static bool named_special(const struct folder *folder, const char *name, json_t **value)
{
    json_t *said = has_decoder(folder) ? NULL : json_object_get(folder->specials, name);
    if (!said)
        said = json_object_get(folder->settings, name);
    *value = is_nothing(said) ? NULL : said;
    return said;
}

/* The text of a special token, which is text or an object. */
static const char *special_text(struct json_place place, const json_t *value)
{
    const json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(text))
        die("%s: special token %s: text, or an object with 'content', is expected", place.path, place.part);
    return json_string_value(text);
}

/*
 * The texts that transformers takes for special tokens where added_tokens.json has them; objects of the
 * settings are none.
 */
static json_t *special_texts(const struct folder *folder)
{
    json_t *texts = json_make("{}"), *extra = extra_specials(folder), *value;
    size_t i;
    json_array_foreach(extra, i, value)
        if (json_is_string(value))
            json_put(texts, json_string_value(value), json_true());
    for (i = 0; i < SPECIALS; i++)
        if (named_special(folder, special_names[i], &value) && value
            && (json_is_string(value) || value == json_object_get(folder->specials, special_names[i])))
            json_put(texts, special_text((struct json_place){folder->path, special_names[i]}, value),
                     json_true());
    json_decref(extra);
    return texts;
}

/* ---- added tokens ---- */

static struct added_token *find_token(const struct folder *folder, const char *text)
{
    const json_t *index = json_object_get(folder->index, text);
    return index ? &folder->tokens[json_integer_value(index)] : NULL;
}

/* Adds a token as the tokenizers library does: one of the same text takes the new one's flags. */
static void add_token(struct folder *folder, struct json_place place, struct added_token token)
{
    struct added_token *known = find_token(folder, token.text.bytes);
    uint32_t id = known ? known->id
                        : subword_library_id(place, folder->source.vocabulary, &token, folder->next);
    if (known && token.id != NO_TOKEN && token.id != id)
        die("%s: %s: '%s' has id %u, and id %u in another file", place.path, place.part, token.text.bytes,
            token.id, id);
    token.id = id;
    if (known) {
        *known = token;
        return;
    }
    folder->tokens = reserve_array(folder->tokens, &folder->capacity, folder->count + 1,
                                   sizeof *folder->tokens);
    if (json_object_set_new(folder->index, token.text.bytes, json_integer((json_int_t)folder->count)) != 0)
        die("out of memory");
    folder->tokens[folder->count++] = token;
    folder->next = id >= folder->next ? id + 1 : folder->next;
}

/* A token and the file that has it; order: among those of the same id, the last one's flags count. */
struct found_token {
    struct added_token token;
    struct json_place place;
    size_t order;
};

static int by_id(const void *a, const void *b)
{
    const struct found_token *left = a, *right = b;
    int order = compare_numbers(left->token.id, right->token.id);
    return order ? order : compare_numbers(left->order, right->order);
}

static uint32_t checked_id(struct json_place place, const char *text, json_int_t id)
{
    if (id < 0 || id > SUBWORD_MAX_ID)
        die("%s: %s: the id of '%s' must be a whole number from 0 to %d", place.path, place.part, text,
            SUBWORD_MAX_ID);
    return (uint32_t)id;
}

/* added_tokens_decoder of tokenizer_config.json: {"id": {"content": text, ...}}. */
static size_t read_decoder(const struct folder *folder, json_t *decoder, struct found_token *found)
{
    struct json_place place = {folder->settings_path, "added_tokens_decoder"};
    const char *key;
    json_t *value;
    size_t count = 0;
    json_object_foreach(decoder, key, value) {
        struct added_token token = subword_added_token(place, value);
        char *end;
        long id = strtol(key, &end, 10);
        token.id = checked_id(place, token.text.bytes, *end || end == key ? -1 : id);
        found[count] = (struct found_token){token, place, count};
        count++;
    }
    return count;
}

/* added_tokens.json: {text: id}; and of tokenizer.json what its class would not take over otherwise. */
static size_t read_legacy(const struct folder *folder, struct found_token *found)
{
    struct json_place place = {folder->added_path, "added tokens"};
    const struct subword_parts *parts = &folder->source.parts;
    const char *text;
    json_t *id, *specials = special_texts(folder);
    size_t count = 0;
    json_object_foreach(folder->added, text, id) {
        bool special = json_object_get(specials, text);
        struct added_token token = {.text = {text, strlen(text)}, .special = special,
                                    .normalized = !special};
        token.id = checked_id(place, text, json_is_integer(id) ? json_integer_value(id) : -1);
        const struct added_token *known = find_token(folder, text);
        if (known && known->id == token.id)
            continue;
        found[count] = (struct found_token){token, place, count};
        count++;
    }
    for (size_t i = 0; folder->class && i < parts->added_count; i++, count++)
        found[count] = (struct found_token){parts->added[i], {folder->tokenizer_path, "added_tokens"}, count};
    json_decref(specials);
    return count;
}

/* Where the settings list added tokens, a class has no others. */
static void check_decoder(const struct folder *folder)
{
    const struct subword_parts *parts = &folder->source.parts;
    for (size_t i = 0; i < parts->added_count; i++)
        if (!find_token(folder, parts->added[i].text.bytes))
            die("%s: added token '%s' of tokenizer.json is not in added_tokens_decoder; add it there",
                folder->settings_path, parts->added[i].text.bytes);
}

static void read_added(struct folder *folder)
{
    const struct subword_parts *parts = &folder->source.parts;
    json_t *decoder = json_object_get(folder->settings, "added_tokens_decoder");
    if (has_decoder(folder) && !json_is_object(decoder))
        die("%s: added_tokens_decoder: an object of ids and tokens is expected", folder->settings_path);
    for (size_t i = 0; !folder->class && i < parts->added_count; i++)
        add_token(folder, (struct json_place){folder->tokenizer_path, "added_tokens"}, parts->added[i]);
    struct found_token *found = new_array(json_object_size(decoder) + json_object_size(folder->added)
                                          + parts->added_count, sizeof *found);
    size_t count = decoder ? read_decoder(folder, decoder, found) : read_legacy(folder, found);
    qsort(found, count, sizeof *found, by_id);
    for (size_t i = 0; i < count; i++) {
        if (i && found[i].token.id == found[i - 1].token.id
            && strcmp(found[i].token.text.bytes, found[i - 1].token.text.bytes))
            die("%s: %s: '%s' has id %u, and so has '%s'", found[i].place.path, found[i].place.part,
                found[i].token.text.bytes, found[i].token.id, found[i - 1].token.text.bytes);
        add_token(folder, found[i].place, found[i].token);
    }
    if (decoder && folder->class)
        check_decoder(folder);
    free(found);
}

/* ---- special tokens ---- */

/*
 * Adds a special token, unless it is one of the first `before` tokens or stood among texts, which it joins.
 */
static void add_special(struct folder *folder, struct json_place place, const json_t *value, size_t before,
                        json_t *texts)
{
    const char *text = special_text(place, value);
    const struct added_token *known = find_token(folder, text);
    struct added_token token = {.text = {text, strlen(text)}, .id = NO_TOKEN};
    bool plain = folder->class && folder->class->plain_specials;
    if (!plain && json_is_object(value))
        token = subword_added_token(place, (json_t *)(uintptr_t)value);
    if (plain || !((known && (size_t)(known - folder->tokens) < before)
                   || (json_is_string(value) && json_object_get(texts, text))))
        add_token(folder, place, token);
    find_token(folder, text)->special = true;
    if (json_is_string(value))
        json_put(texts, text, json_true());
}

/* NAME_token, where NAME is none of the usual. */
static bool is_own_special(const char *name)
{
    const char *end = strrchr(name, '_');
    return end && !strcmp(end, "_token") && !is_listed(name, special_names);
}

/* Special tokens by names that a model has for itself: NAME_token, or in an object extra_special_tokens. */
static void add_own_specials(struct folder *folder, const char *path, json_t *file, size_t before,
                             json_t *texts)
{
    const char *name;
    json_t *value, *extra = json_object_get(file, "extra_special_tokens");
    json_object_foreach(file, name, value)
        if (is_own_special(name) && (json_is_string(value) || json_is_object(value)))
            add_special(folder, (struct json_place){path, name}, value, before, texts);
    json_object_foreach(extra, name, value)
        add_special(folder, (struct json_place){path, name}, value, before, texts);
}

static void add_specials(struct folder *folder)
{
    size_t before = folder->count, i;
    json_t *texts = json_make("{}"), *extra = extra_specials(folder), *value;
    for (i = 0; i < SPECIALS; i++) {
        if (!named_special(folder, special_names[i], &value))
            value = json_object_get(folder->standard, special_names[i]);
        if (value)
            add_special(folder, (struct json_place){folder->path, special_names[i]}, value, before, texts);
    }
    add_own_specials(folder, folder->settings_path, folder->settings, before, texts);
    if (!has_decoder(folder))
        add_own_specials(folder, folder->specials_path, folder->specials, before, texts);
    json_array_foreach(extra, i, value)
        add_special(folder, (struct json_place){folder->path, "extra_special_tokens"}, value, before, texts);
    json_decref(extra);
    json_decref(texts);
}

/* ---- settings ---- */

/* Settings that are read above, and those that leave the tokens of a text as they are. */
static const char *const known_settings[] = {"tokenizer_class", "add_prefix_space", "added_tokens_decoder",
                                             "additional_special_tokens", "extra_special_tokens",
                                             /* BOS and EOS, which the tools put where they are wanted */
                                             "add_bos_token", "add_eos_token",
                                             /* reading tokens, chats, padding, cutting, offsets */
                                             "clean_up_tokenization_spaces", "spaces_between_special_tokens",
                                             "errors", "chat_template", "chat_control_tokens",
                                             "response_template", "response_schema",
                                             "use_default_system_prompt", "padding_side", "pad_token_type_id",
                                             "pad_to_multiple_of", "truncation_side", "truncation_strategy",
                                             "max_length", "stride", "model_max_length", "max_len",
                                             "model_input_names", "return_token_type_ids", "trim_offsets",
                                             /* SentencePiece's */
                                             "legacy", "sp_model_kwargs",
                                             /* where the files come from */
                                             "name_or_path", "special_tokens_map_file", "tokenizer_file",
                                             "vocab_file", "merges_file", "processor_class", "backend",
                                             "is_local", "local_files_only", "files_loaded", "device_map",
                                             "transformers_version", "slow_tokenizer_class", "verbose", NULL};

/* Settings that must be false, null, or not there. */
static const char *const unwanted_settings[] = {"split_special_tokens", "do_lower_case",
                                                "fast_tokenizer_files", "auto_map",
                                                "fix_mistral_regex",    NULL};

static const char *const known_lists[] = {"additional_special_tokens", "extra_special_tokens", NULL};

static bool is_special_name(const char *name, const json_t *value)
{
    return (is_listed(name, special_names) || is_own_special(name))
        && (is_nothing(value) || json_is_string(value) || json_is_object(value));
}

void subword_check_settings(const char *path, json_t *settings)
{
    const char *name;
    json_t *value;
    json_object_foreach(settings, name, value) {
        if (is_listed(name, unwanted_settings) && (is_nothing(value) || json_is_false(value)))
            continue;
        if (!is_listed(name, known_settings) && !is_special_name(name, value))
            die("%s: this program does not know what the setting '%s' does to the tokens of a text", path,
                name);
    }
}

static void check_settings(const struct folder *folder)
{
    const char *name;
    json_t *value;
    subword_check_settings(folder->settings_path, folder->settings);
    json_object_foreach(folder->specials, name, value)
        if (!is_listed(name, known_lists) && !is_special_name(name, value))
            die("%s: '%s' is no name of a special token, or its value none", folder->specials_path, name);
}

/* ---- all of it ---- */

/* False: the folder has no tokenizer of this kind. */
static bool find_files(struct folder *folder)
{
    folder->tokenizer_path = find_file(folder->path, "tokenizer.json");
    folder->vocabulary_path = find_file(folder->path, "vocab.json");
    folder->merges_path = find_file(folder->path, "merges.txt");
    if (!folder->tokenizer_path && !folder->vocabulary_path != !folder->merges_path)
        die("%s: %s is missing beside %s; a tokenizer needs both, or tokenizer.json", folder->path,
            folder->merges_path ? "vocab.json" : "merges.txt",
            folder->merges_path ? "merges.txt" : "vocab.json");
    return folder->tokenizer_path || folder->vocabulary_path;
}

static void read_files(struct folder *folder)
{
    static const char settings[] = "names and values of settings",
                      added[] = "tokens and their ids: {\"<x>\": 5}",
                      specials[] = "names and texts of special tokens: {\"bos_token\": \"<s>\"}";
    folder->settings = read_settings(folder->path, "tokenizer_config.json", settings, &folder->settings_path);
    folder->specials =
        read_settings(folder->path, "special_tokens_map.json", specials, &folder->specials_path);
    folder->added = read_settings(folder->path, "added_tokens.json", added, &folder->added_path);
    folder->config = read_settings(folder->path, "config.json", settings, &folder->config_path);
    folder->index = json_make("{}");
    folder->standard = json_make("{}");
    mark_special(folder->specials);
}

static void free_folder(struct folder *folder)
{
    json_t *const values[] = {folder->settings, folder->specials, folder->added,
                              folder->config,   folder->index,    folder->standard};
    char *const paths[] = {folder->tokenizer_path, folder->vocabulary_path, folder->merges_path,
                           folder->settings_path,  folder->specials_path,   folder->added_path,
                           folder->config_path};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        json_decref(values[i]);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        free(paths[i]);
    free(folder->class_name);
    free(folder->tokens);
}

struct subword_tokenizer *subword_read_folder(const char *path, const char *model_type)
{
    struct folder folder = {.path = path};
    struct subword_tokenizer *tokenizer = NULL;
    if (find_files(&folder)) {
        read_files(&folder);
        check_settings(&folder);
        read_source(&folder);
        find_class(&folder, model_type);
        apply_class(&folder);
        folder.next = (uint32_t)json_object_size(folder.source.vocabulary);
        read_added(&folder);
        add_specials(&folder);
        struct subword_parts parts = folder.source.parts;
        parts.added = folder.tokens;
        parts.added_count = folder.count;
        tokenizer = subword_new(&parts);
        subword_source_free(&folder.source);
    }
    free_folder(&folder);
    return tokenizer;
}
