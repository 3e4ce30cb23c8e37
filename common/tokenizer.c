#include "tokenizer.h"

#include "bpe.h"
#include "dictionary.h"
#include "gguf_model.h"
#include "input.h"
#include "messages.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>

/* One of the two. */
struct tokenizer {
    struct dictionary *dictionary;
    struct bpe *bpe;
};

/* ---- where it is read from ---- */

/* The path of a file in the model's folder, or NULL when it is not there. */
static char *find_file(const struct model_config *config, const char *name)
{
    char *path = format_string("%s/%s", config->path, name);
    if (input_exists(path))
        return path;
    free(path);
    return NULL;
}

/*
 * The special tokens' texts that special_tokens_map.json lists: a member is a
 * text or has it as "content". The caller frees the array and the JSON.
 */
static const char **read_specials(const struct model_config *config, size_t *count, json_t **json)
{
    char *path = find_file(config, "special_tokens_map.json");
    json_error_t error = {.text = ""};
    *count = 0;
    *json = path ? json_load_file(path, JSON_REJECT_DUPLICATES, &error) : json_make("{}");
    if (!json_is_object(*json))
        die("%s: line %d: not a JSON object: %s", path, error.line, error.text);
    free(path);
    const char **specials = new_array(json_object_size(*json), sizeof *specials);
    const char *name;
    json_t *token;
    json_object_foreach(*json, name, token) {
        const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
        if (text)
            specials[(*count)++] = text;
    }
    return specials;
}

static struct bpe *read_vocabulary(const struct model_config *config, const char *vocabulary, const char *merges)
{
    size_t count;
    json_t *json;
    const char **specials = read_specials(config, &count, &json);
    struct bpe *bpe = bpe_read_vocabulary(vocabulary, merges, "gpt-2", specials, count);
    free(specials);
    json_decref(json);
    return bpe;
}

static struct bpe *read_bpe(const struct model_config *config)
{
    char *whole = find_file(config, "tokenizer.json");
    char *vocabulary = find_file(config, "vocab.json"), *merges = find_file(config, "merges.txt");
    struct bpe *bpe = whole ? bpe_read_json(whole)
                    : vocabulary && merges ? read_vocabulary(config, vocabulary, merges) : NULL;
    free(whole);
    free(vocabulary);
    free(merges);
    return bpe;
}

struct tokenizer *tokenizer_read(const struct model_config *config)
{
    struct tokenizer *tokenizer = new_array(1, sizeof *tokenizer);
    if (config->bos == NO_TOKEN)
        die("%s: the model names no BOS, which is read before each sentence: %s", config->path,
            model_is_gguf(config->path) ? "the file's metadata lack tokenizer.ggml.bos_token_id"
                                        : "write the token as bos_token_id into config.json");
    tokenizer->bpe = model_is_gguf(config->path) ? gguf_bpe(config->path) : read_bpe(config);
    if (tokenizer->bpe && bpe_size(tokenizer->bpe) > config->vocabulary)
        die("%s: the tokenizer has %zu tokens, the model a vocabulary of %zu", config->path,
            bpe_size(tokenizer->bpe), config->vocabulary);
    if (!tokenizer->bpe)
        tokenizer->dictionary = dictionary_read(config);
    return tokenizer;
}

void tokenizer_free(struct tokenizer *tokenizer)
{
    if (tokenizer->bpe)
        bpe_free(tokenizer->bpe);
    if (tokenizer->dictionary)
        dictionary_free(tokenizer->dictionary);
    free(tokenizer);
}

/* ---- use ---- */

size_t tokenizer_encode(struct tokenizer *tokenizer, struct text_reader *reader, struct span sentence,
                        uint32_t **tokens, size_t *capacity)
{
    if (tokenizer->bpe)
        return bpe_encode(tokenizer->bpe, text_strip(sentence), tokens, capacity);
    size_t count;
    const struct span *words = text_words(reader, sentence, &count);
    if (count > *capacity) {
        *capacity = 2 * count;
        *tokens = grow_array(*tokens, *capacity, sizeof **tokens);
    }
    for (size_t i = 0; i < count; i++)
        (*tokens)[i] = dictionary_find(tokenizer->dictionary, words[i].bytes, words[i].length);
    return count;
}

char *tokenizer_text(const struct tokenizer *tokenizer, const uint32_t *tokens, size_t count)
{
    if (tokenizer->bpe)
        return bpe_text(tokenizer->bpe, tokens, count);
    return dictionary_text(tokenizer->dictionary, tokens, count);
}

const char *tokenizer_joint(const struct tokenizer *tokenizer)
{
    return tokenizer->bpe ? "" : " ";
}

uint32_t tokenizer_unknown(const struct tokenizer *tokenizer)
{
    return tokenizer->dictionary ? tokenizer->dictionary->unknown : NO_TOKEN;
}

static const char *id_of(const struct tokenizer *tokenizer)
{
    return tokenizer->bpe ? bpe_id(tokenizer->bpe) : tokenizer->dictionary->id;
}

json_t *tokenizer_json(const struct tokenizer *tokenizer, const struct model_config *config)
{
    json_t *json = json_make("{s:s, s:I, s:I}", "id", id_of(tokenizer), "vocabulary",
                             (json_int_t)config->vocabulary, "bos", (json_int_t)config->bos);
    if (tokenizer_unknown(tokenizer) != NO_TOKEN)
        json_put(json, "unknown", json_integer((json_int_t)tokenizer_unknown(tokenizer)));
    return json;
}

void tokenizer_check(const struct tokenizer *tokenizer, const struct model_config *config,
                     const struct stream_reader *reader)
{
    const char *id = header_text(reader, "tokenizer", "id");
    if (strcmp(id, id_of(tokenizer)) || header_number(reader, "tokenizer", "bos", UINT32_MAX) != config->bos
        || header_number(reader, "tokenizer", "vocabulary", UINT32_MAX) != config->vocabulary)
        stream_fail(reader, "made with another tokenizer or BOS (id %s) than that of %s (id %s)", id,
                    config->path, id_of(tokenizer));
}

struct tokenizer *tokenizer_open(const char *path, const struct stream_reader *reader)
{
    struct model_config config = model_config_read(path);
    struct tokenizer *tokenizer = tokenizer_read(&config);
    tokenizer_check(tokenizer, &config, reader);
    config_free(&config);
    return tokenizer;
}
