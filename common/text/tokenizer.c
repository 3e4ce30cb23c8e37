#include "text/tokenizer.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "formats/gguf.h"
#include "model/families.h"
#include "model/model.h"
#include "stream/header_members.h"
#include "text/dictionary.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece.h"
#include "text/subword.h"

#include <stdlib.h>
#include <string.h>

/* One of the three, and what its files say of BOS. */
struct tokenizer {
    struct dictionary *dictionary;
    struct subword_tokenizer *subword;
    struct sentencepiece *pieces;
    struct stated_bos bos;
};

/* ---- where it is read from ---- */

/* The folder has no other tokenizer: it is to have words. */
static void check_words(const struct model_config *config)
{
    if (input_exists_in(config->path, "dict.txt"))
        return;
    die("%s: there is no tokenizer: it is to be in tokenizer.json, in vocab.json and merges.txt, or in "
        "tokenizer.model%s; copy what there is of them from where the model is from",
        config->path, config->family->word_list ? ", or in dict.txt" : "");
}

static void read_folder(struct tokenizer *tokenizer, const struct model_config *config)
{
    tokenizer->subword = subword_read_folder(config->path, config->family->model_type, &tokenizer->bos);
    if (!tokenizer->subword)
        tokenizer->pieces = sentencepiece_read_folder(config->path);
    if (!tokenizer->subword && !tokenizer->pieces) {
        check_words(config);
        tokenizer->dictionary = dictionary_read(config);
    }
}

static void read_gguf(struct tokenizer *tokenizer, const char *path)
{
    struct gguf *file = gguf_open(path);
    char *model = gguf_word(file, "tokenizer.ggml.model");
    if (!strcmp(model, "gpt2"))
        tokenizer->subword = gguf_subword(file, path, &tokenizer->bos);
    else if (!strcmp(model, "llama"))
        tokenizer->pieces = gguf_pieces(file, path, PIECE_MODEL_BPE);
    else if (!strcmp(model, "t5"))
        tokenizer->pieces = gguf_pieces(file, path, PIECE_MODEL_UNIGRAM);
    else
        die("%s: tokenizer.ggml.model '%s' is not known; gpt2, llama and t5 are: byte-level BPE, and "
            "SentencePiece's BPE and unigram model. The folder that the file was converted from may have "
            "the tokenizer as tokenizer.json",
            path, model);
    free(model);
    gguf_close(file);
}

struct tokenizer *tokenizer_read(const struct model_config *config)
{
    struct tokenizer *tokenizer = new_array(1, sizeof *tokenizer);
    if (is_gguf(config->path))
        read_gguf(tokenizer, config->path);
    else
        read_folder(tokenizer, config);
    if (tokenizer_size(tokenizer) > config->vocabulary)
        die("%s: the tokenizer has %zu tokens, the model a vocabulary of %zu", config->path,
            tokenizer_size(tokenizer), config->vocabulary);
    return tokenizer;
}

void tokenizer_free(struct tokenizer *tokenizer)
{
    if (tokenizer->subword)
        subword_free(tokenizer->subword);
    if (tokenizer->pieces)
        sentencepiece_free(tokenizer->pieces);
    if (tokenizer->dictionary)
        dictionary_free(tokenizer->dictionary);
    free(tokenizer);
}

/* ---- use ---- */

size_t tokenizer_encode(struct tokenizer *tokenizer, struct text_reader *reader, struct span sentence,
                        uint32_t **tokens, size_t *capacity)
{
    if (tokenizer->subword)
        return subword_encode(tokenizer->subword, text_strip(sentence), tokens, capacity);
    if (tokenizer->pieces)
        return sentencepiece_encode(tokenizer->pieces, text_strip(sentence), tokens, capacity);
    size_t count;
    const struct span *words = text_words(reader, sentence, &count);
    *tokens = reserve_array(*tokens, capacity, count, sizeof **tokens);
    for (size_t i = 0; i < count; i++)
        (*tokens)[i] = dictionary_find(tokenizer->dictionary, words[i].bytes, words[i].length);
    return count;
}

size_t tokenizer_encode_text(struct tokenizer *tokenizer, struct span text, uint32_t **tokens,
                             size_t *capacity)
{
    static const char white[] = " \t\n\v\f\r";
    if (tokenizer->subword)
        return subword_encode(tokenizer->subword, text, tokens, capacity);
    if (tokenizer->pieces)
        return sentencepiece_encode(tokenizer->pieces, text, tokens, capacity);
    size_t count = 0, start = 0;
    for (size_t i = 0; i <= text.length; i++) {
        if (i < text.length && !strchr(white, text.bytes[i]))
            continue;
        if (i > start) {
            *tokens = reserve_array(*tokens, capacity, count + 1, sizeof **tokens);
            (*tokens)[count++] = dictionary_find(tokenizer->dictionary, text.bytes + start, i - start);
        }
        start = i + 1;
    }
    return count;
}

char *tokenizer_text(const struct tokenizer *tokenizer, const uint32_t *tokens, size_t count)
{
    if (tokenizer->subword)
        return subword_text(tokenizer->subword, tokens, count);
    if (tokenizer->pieces)
        return sentencepiece_text(tokenizer->pieces, tokens, count);
    return dictionary_text(tokenizer->dictionary, tokens, count);
}

char *tokenizer_bytes(const struct tokenizer *tokenizer, const uint32_t *tokens, size_t count,
                      size_t *length)
{
    if (tokenizer->subword)
        return subword_bytes(tokenizer->subword, tokens, count, length);
    if (tokenizer->pieces)
        return sentencepiece_bytes(tokenizer->pieces, tokens, count, length);
    char *text = dictionary_text(tokenizer->dictionary, tokens, count);
    *length = strlen(text);
    return text;
}

const char *tokenizer_joint(const struct tokenizer *tokenizer)
{
    return tokenizer->dictionary ? " " : "";
}

uint32_t tokenizer_unknown(const struct tokenizer *tokenizer)
{
    return tokenizer->dictionary ? tokenizer->dictionary->unknown : NO_TOKEN;
}

uint32_t tokenizer_bos(const struct tokenizer *tokenizer, const struct model_config *config)
{
    uint32_t bos = tokenizer->bos.stated ? tokenizer->bos.token : config->bos;
    if (bos != NO_TOKEN && bos >= config->vocabulary)
        die("%s: the tokenizer puts token %u before a text, the model has a vocabulary of %zu", config->path,
            bos, config->vocabulary);
    return bos;
}

/* ---- which tokens can follow ---- */

static bool token_can_follow(const struct tokenizer *tokenizer, uint32_t token)
{
    return tokenizer->subword ? subword_can_follow(tokenizer->subword, token)
         : tokenizer->pieces ? sentencepiece_can_follow(tokenizer->pieces, token)
                             : dictionary_can_follow(tokenizer->dictionary, token);
}

struct candidates tokenizer_candidates(const struct tokenizer *tokenizer, const struct model_config *config)
{
    bool *can_follow = new_array(config->vocabulary, sizeof *can_follow);
    for (uint32_t token = 0; token < config->vocabulary; token++)
        can_follow[token] = token_can_follow(tokenizer, token);
    struct candidates candidates = candidates_new(can_follow, config->vocabulary, config->path);
    free(can_follow);
    return candidates;
}

/* Whether the model comes with a tokenizer, be it one that is not known here. */
static bool has_tokenizer(const struct model_config *config)
{
    static const char *const files[] = {"tokenizer.json", "vocab.json", "merges.txt", "dict.txt",
                                        "tokenizer.model", NULL};
    bool has = false;
    if (is_gguf(config->path)) {
        struct gguf *file = gguf_open(config->path);
        has = gguf_has_key(file, "tokenizer.ggml.model");
        gguf_close(file);
    }
    for (size_t i = 0; !is_gguf(config->path) && files[i]; i++)
        has = has || input_exists_in(config->path, files[i]);
    return has;
}

struct candidates candidates_read(const struct model_config *config, bool all_tokens)
{
    if (all_tokens || !has_tokenizer(config))
        return candidates_all(config->vocabulary);
    struct tokenizer *tokenizer = tokenizer_read(config);
    struct candidates candidates = tokenizer_candidates(tokenizer, config);
    tokenizer_free(tokenizer);
    return candidates;
}

/* ---- in headers and messages ---- */

const char *tokenizer_kind(const struct tokenizer *tokenizer)
{
    return tokenizer->subword ? subword_kind(tokenizer->subword)
         : tokenizer->pieces ? sentencepiece_kind(tokenizer->pieces) : "words";
}

size_t tokenizer_size(const struct tokenizer *tokenizer)
{
    return tokenizer->subword ? subword_size(tokenizer->subword)
         : tokenizer->pieces ? sentencepiece_size(tokenizer->pieces) : tokenizer->dictionary->size;
}

static const char *id_of(const struct tokenizer *tokenizer)
{
    return tokenizer->subword ? subword_id(tokenizer->subword)
         : tokenizer->pieces ? sentencepiece_id(tokenizer->pieces) : tokenizer->dictionary->id;
}

json_t *tokenizer_json(const struct tokenizer *tokenizer, const struct model_config *config, uint32_t bos)
{
    json_t *json = json_make("{s:s, s:I, s:o}", "id", id_of(tokenizer), "vocabulary",
                             (json_int_t)config->vocabulary, "bos",
                             bos == NO_TOKEN ? json_null() : json_integer((json_int_t)bos));
    if (tokenizer_unknown(tokenizer) != NO_TOKEN)
        json_put(json, "unknown", json_integer((json_int_t)tokenizer_unknown(tokenizer)));
    return json;
}

void tokenizer_check(const struct tokenizer *tokenizer, const struct model_config *config,
                     const struct stream_reader *reader)
{
    const char *id = header_text(reader, "tokenizer", "id");
    if (strcmp(id, id_of(tokenizer))
        || header_number(reader, "tokenizer", "vocabulary", UINT32_MAX) != config->vocabulary)
        stream_fail(reader, "made with another tokenizer (id %s) than that of %s (id %s)", id,
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
