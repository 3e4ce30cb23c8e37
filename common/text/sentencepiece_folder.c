/* tokenizer.model of a model's folder, and what the files beside it say of it. */
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/checksums.h"
#include "text/json_members.h"
#include "text/sentencepiece.h"
#include "text/subword_source.h"

#include <stdlib.h>
#include <string.h>

static const char advice[] = "transformers' AutoTokenizer.from_pretrained and save_pretrained write all of "
                             "it as tokenizer.json, which this program reads";

/* Classes of transformers whose ids are those of the pieces. */
static const char *const classes[] = {"LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                      "CodeLlamaTokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast",
                                      "PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend",
                                      NULL};

/* The file as an object, which is empty where there is no file; the caller gives up both. */
static json_t *read_file(const char *folder, const char *name, const char *what, char **path)
{
    *path = format_string("%s/%s", folder, name);
    if (!input_exists(*path))
        return json_make("{}");
    checksums_check_file(folder, name);
    return json_read_object(*path, "tokenizer's", what);
}

/* A token that a file names must be a piece, and where the file has its id, that one. */
static void check_token(const struct sentencepiece *pieces, const char *path, const char *text,
                        json_int_t id)
{
    uint32_t known = sentencepiece_find(pieces, (struct span){text, strlen(text)});
    if (known == NO_TOKEN)
        die("%s: '%s' is added to the pieces of tokenizer.model, which is then not all of the tokenizer; %s",
            path, text, advice);
    if (id >= 0 && (json_int_t)known != id)
        die("%s: '%s' has id %lld, but in tokenizer.model %u", path, text, (long long)id, known);
}

/* A token as text, or as an object with it. */
static void check_value(const struct sentencepiece *pieces, const char *path, const json_t *value,
                        json_int_t id)
{
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (text)
        check_token(pieces, path, text, id);
    else if (!is_nothing(value))
        die("%s: a token is expected, as text or as an object with 'content'", path);
}

/* Special tokens by their names, of tokenizer_config.json and special_tokens_map.json. */
static void check_specials(const struct sentencepiece *pieces, const char *path, json_t *file)
{
    const char *name;
    json_t *value, *item;
    size_t i;
    json_object_foreach(file, name, value) {
        if (ends_with(name, "_token") && !json_is_boolean(value))
            check_value(pieces, path, value, -1);
        if (ends_with(name, "_special_tokens"))
            json_array_foreach(value, i, item)
                check_value(pieces, path, item, -1);
    }
}

/* {"5": token} */
static void check_decoder(const struct sentencepiece *pieces, const char *path, json_t *decoder)
{
    const char *name;
    json_t *value;
    json_object_foreach(decoder, name, value)
        check_value(pieces, path, value, strtoll(name, NULL, 10));
}

static void check_settings(const struct sentencepiece *pieces, const char *path, json_t *settings)
{
    struct json_place place = {path, "settings"};
    const char *class = member_text(place, settings, "tokenizer_class");
    bool adds_space = sentencepiece_adds_space(pieces);
    subword_check_settings(path, settings);
    if (class && !is_listed(class, classes))
        die("%s: tokenizer_class '%s' is not known to use the ids of tokenizer.model; %s", path, class,
            advice);
    if (member_flag(place, settings, "add_prefix_space", adds_space) != adds_space)
        die("%s: add_prefix_space is %s, but tokenizer.model has it otherwise; make them agree", path,
            adds_space ? "false" : "true");
    if (json_object_size(json_object_get(settings, "sp_model_kwargs")))
        die("%s: this program knows no sp_model_kwargs", path);
    check_specials(pieces, path, settings);
    check_decoder(pieces, path, json_object_get(settings, "added_tokens_decoder"));
}

static void check_added(const struct sentencepiece *pieces, const char *path, json_t *added)
{
    const char *text;
    json_t *id;
    json_object_foreach(added, text, id)
        check_token(pieces, path, text, json_integer_value(id));
}

static void check_files(const struct sentencepiece *pieces, const char *folder)
{
    static const struct {
        const char *name, *what;
        void (*check)(const struct sentencepiece *pieces, const char *path, json_t *file);
    } files[] = {
        {"tokenizer_config.json", "names and values of settings", check_settings},
        {"special_tokens_map.json", "names and texts of special tokens: {\"bos_token\": \"<s>\"}",
            check_specials},
        {"added_tokens.json", "tokens and their ids: {\"<x>\": 5}", check_added},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path;
        json_t *file = read_file(folder, files[i].name, files[i].what, &path);
        files[i].check(pieces, path, file);
        json_decref(file);
        free(path);
    }
}

struct sentencepiece *sentencepiece_read_folder(const char *folder)
{
    static const char name[] = "tokenizer.model";
    struct sentencepiece *pieces = NULL;
    char *path = format_string("%s/%s", folder, name);
    if (input_exists(path)) {
        checksums_check_file(folder, name);
        pieces = sentencepiece_read(path);
        check_files(pieces, folder);
    }
    free(path);
    return pieces;
}
