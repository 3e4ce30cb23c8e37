#include "text/subword.h"

#include "base/limits.h"
#include "base/messages.h"
#include "base/order.h"
#include "text/byte_tokens.h"
#include "text/token_display.h"
#include "text/unigram.h"
#include "text/word_cache.h"
#include "text/wordpiece.h"

#include <stdlib.h>
#include <string.h>


struct subword_tokenizer {
    char id[HASH_CHARACTERS + 1];
    struct vocabulary *vocabulary;
    struct added_set *added, *added_normalized;
    struct normalizer *normalizer;
    struct pretokenizer *pretokenizer;
    bool by_bytes;           /* words are bytes, which the model takes in GPT-2's characters */
    enum subword_model model;
    struct bpe *bpe;         /* one of these, by model */
    struct unigram *unigram;
    struct wordpiece *wordpiece;
    char space[MARK_BYTES];  /* the character in place of spaces; "": none */
    bool cuts;               /* words are cut where it comes behind another one */
    struct word_cache *cache; /* NULL until something is encoded */
    struct token_display display;
    char *prefix, *suffix;   /* that display points to; NULL: none */
};

/* ---- added tokens ---- */

/* In its normal form, in a copy that the caller frees. */
static char *normalize_added(struct subword_tokenizer *tokenizer, struct added_token *token)
{
    struct span normal = normalizer_apply(tokenizer->normalizer, token->text, NULL);
    if (normal.length == 0)
        die("%s: nothing is left of added token '%.*s' when it is normalized", tokenizer->vocabulary->path,
            (int)token->text.length, token->text.bytes);
    char *text = new_array(normal.length, 1);
    memcpy(text, normal.bytes, normal.length);
    token->text = (struct span){text, normal.length};
    return text;
}

static void set_added(struct subword_tokenizer *tokenizer, const struct subword_parts *parts)
{
    const char *path = parts->path;
    struct added_token *tokens = new_array(parts->added_count, sizeof *tokens);
    char **texts = new_array(parts->added_count, sizeof *texts);
    size_t count = 0;
    for (size_t i = 0; i < parts->added_count; i++)
        if (!parts->added[i].normalized)
            tokens[count++] = parts->added[i];
    tokenizer->added = added_new(tokens, count, path);
    count = 0;
    for (size_t i = 0; i < parts->added_count; i++)
        if (parts->added[i].normalized) {
            tokens[count] = parts->added[i];
            texts[count] = normalize_added(tokenizer, &tokens[count]);
            count++;
        }
    tokenizer->added_normalized = added_new(tokens, count, path);
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
    free(tokens);
}

/* ---- the model ---- */

static struct unigram *make_unigram(const struct vocabulary *vocabulary, const struct subword_parts *parts)
{
    const struct unigram_settings *settings = &parts->unigram;
    uint32_t byte_tokens[UNIGRAM_BYTES];
    double least = parts->token_count ? settings->scores[0] : 0;
    for (size_t i = 0; i < parts->token_count; i++)
        least = settings->scores[i] < least ? settings->scores[i] : least;
    for (unsigned byte = 0; byte < UNIGRAM_BYTES; byte++)
        byte_tokens[byte] = byte_token_find(vocabulary, byte);
    const struct unigram_parts unigram = {
        .path = parts->path, .tokens = parts->tokens, .scores = settings->scores, .count = parts->token_count,
        .unknown_score = least - UNIGRAM_PENALTY, .unknown = settings->unknown,
        .byte_tokens = settings->byte_fallback ? byte_tokens : NULL,
    };
    return unigram_new(&unigram);
}

static struct wordpiece *make_wordpiece(const struct vocabulary *vocabulary,
                                        const struct subword_parts *parts)
{
    const struct wordpiece_settings *settings = &parts->wordpiece;
    const struct wordpiece_parts wordpiece = {
        .path = parts->path, .tokens = parts->tokens, .count = parts->token_count, .prefix = settings->prefix,
        .max_characters = settings->max_characters,
        .unknown = vocabulary_find_text(vocabulary, settings->unknown),
    };
    if (wordpiece.unknown == NO_TOKEN)
        die("%s: the unknown token '%s' is not in the vocabulary", parts->path, settings->unknown);
    return wordpiece_new(&wordpiece);
}

static void set_model(struct subword_tokenizer *tokenizer, const struct subword_parts *parts)
{
    const struct bpe_settings *bpe = &parts->bpe;
    tokenizer->model = parts->model;
    switch (parts->model) {
    case SUBWORD_BPE:
        /* What is written in characters for bytes need not be so where the bytes themselves will do. */
        if (!bpe->byte_fallback && !bpe->prefix && !bpe->suffix)
            tokenizer->by_bytes = pretokenizer_take_bytes(tokenizer->pretokenizer);
        tokenizer->bpe = bpe_new(bpe, tokenizer->vocabulary, tokenizer->by_bytes);
        tokenizer->cuts = *tokenizer->space
            && bpe_can_cut(tokenizer->bpe, (struct span){tokenizer->space, strlen(tokenizer->space)});
        break;
    case SUBWORD_UNIGRAM:
        tokenizer->unigram = make_unigram(tokenizer->vocabulary, parts);
        break;
    case SUBWORD_WORDPIECE:
        tokenizer->wordpiece = make_wordpiece(tokenizer->vocabulary, parts);
        break;
    }
}

static void free_model(struct subword_tokenizer *tokenizer)
{
    switch (tokenizer->model) {
    case SUBWORD_BPE:
        bpe_free(tokenizer->bpe);
        break;
    case SUBWORD_UNIGRAM:
        unigram_free(tokenizer->unigram);
        break;
    case SUBWORD_WORDPIECE:
        wordpiece_free(tokenizer->wordpiece);
        break;
    }
}

/* Appends the tokens of a word. */
static void encode_by_model(struct subword_tokenizer *tokenizer, struct span word, struct token_row *row)
{
    switch (tokenizer->model) {
    case SUBWORD_BPE:
        bpe_encode(tokenizer->bpe, word, row);
        break;
    case SUBWORD_UNIGRAM:
        unigram_encode(tokenizer->unigram, word, row);
        break;
    case SUBWORD_WORDPIECE:
        wordpiece_encode(tokenizer->wordpiece, word, row);
        break;
    }
}

/* Whether this is the token of the byte of a space, in whose place there is another character. */
static bool is_replaced_space(const struct subword_tokenizer *tokenizer, uint32_t id)
{
    return *tokenizer->space && tokenizer->display.byte_tokens
           && byte_token_value(tokenizer->vocabulary->tokens[id]) == ' ';
}

/* Whether a text can have a token, which is not special or is the unknown one. */
static bool can_be_token(const struct subword_tokenizer *tokenizer, uint32_t id, bool is_special)
{
    if (is_replaced_space(tokenizer, id))
        return false;
    switch (tokenizer->model) {
    case SUBWORD_BPE:
        return bpe_can_be_unknown(tokenizer->bpe, id) || (!is_special && bpe_can_be_byte(tokenizer->bpe, id));
    case SUBWORD_UNIGRAM:
        return unigram_can_be_unknown(tokenizer->unigram, id) || !is_special;
    case SUBWORD_WORDPIECE:
        return wordpiece_is_unknown(tokenizer->wordpiece, id) || !is_special;
    }
    return !is_special;
}

static void hash_span(struct hash *hash, struct span text)
{
    uint64_t length = text.length; /* little endian, as the stream is */
    hash_add(hash, &length, sizeof length);
    hash_add(hash, text.bytes, text.length);
}

/* What shapes a word's tokens beside the vocabulary. */
static void hash_model(const struct subword_parts *parts, struct hash *hash)
{
    switch (parts->model) {
    case SUBWORD_BPE:
        bpe_hash(&parts->bpe, hash);
        break;
    case SUBWORD_UNIGRAM:
        hash_add(hash, parts->unigram.scores, parts->token_count * sizeof *parts->unigram.scores);
        hash_add(hash, &parts->unigram.unknown, sizeof parts->unigram.unknown);
        hash_add(hash, &parts->unigram.byte_fallback, sizeof parts->unigram.byte_fallback);
        break;
    case SUBWORD_WORDPIECE:
        if (parts->wordpiece.prefix)
            hash_span(hash, (struct span){parts->wordpiece.prefix, strlen(parts->wordpiece.prefix)});
        hash_span(hash, (struct span){parts->wordpiece.unknown, strlen(parts->wordpiece.unknown)});
        hash_add(hash, &parts->wordpiece.max_characters, sizeof parts->wordpiece.max_characters);
        break;
    }
}

static void set_display(struct subword_tokenizer *tokenizer, const struct subword_parts *parts)
{
    struct token_display *display = &tokenizer->display;
    display->byte_characters = pretokenizer_writes_bytes(parts->pretokenizer)
                            || normalizer_writes_bytes(parts->normalizer);
    memcpy(display->mark, tokenizer->space, sizeof display->mark);
    switch (parts->model) {
    case SUBWORD_BPE:
        display->byte_tokens = parts->bpe.byte_fallback;
        display->prefix = tokenizer->prefix = parts->bpe.prefix ? copy_string(parts->bpe.prefix) : NULL;
        display->suffix = tokenizer->suffix = parts->bpe.suffix ? copy_string(parts->bpe.suffix) : NULL;
        break;
    case SUBWORD_UNIGRAM:
        display->byte_tokens = parts->unigram.byte_fallback;
        break;
    case SUBWORD_WORDPIECE:
        display->prefix = tokenizer->prefix =
            copy_string(parts->wordpiece.prefix ? parts->wordpiece.prefix : "");
        break;
    }
}

/* ---- the id ---- */

static int by_id(const void *a, const void *b)
{
    return compare_numbers(((const struct added_token *)a)->id, ((const struct added_token *)b)->id);
}

static void hash_added(struct hash *hash, const struct subword_parts *parts)
{
    struct added_token *tokens = new_array(parts->added_count, sizeof *tokens);
    if (parts->added_count)
        memcpy(tokens, parts->added, parts->added_count * sizeof *tokens);
    qsort(tokens, parts->added_count, sizeof *tokens, by_id);
    for (size_t i = 0; i < parts->added_count; i++) {
        const struct added_token *token = &tokens[i];
        const unsigned char flags[] = {token->single_word, token->left_strip, token->right_strip,
                                       token->normalized};
        hash_add(hash, &token->id, sizeof token->id);
        hash_add(hash, flags, sizeof flags);
    }
    free(tokens);
}

/* The pre-tokenizer is as the model left it. */
static void set_id(struct subword_tokenizer *tokenizer, const struct subword_parts *parts)
{
    struct hash *hash = hash_new();
    const struct vocabulary *vocabulary = tokenizer->vocabulary;
    const uint64_t sizes[] = {vocabulary->size, parts->bpe.merge_count, parts->added_count};
    const unsigned char flags[] = {normalizer_is_form_c(parts->normalizer), parts->bpe.ignore_merges,
                                   parts->bpe.fuse_unknown};
    uint32_t unknown = vocabulary_find_text(vocabulary, parts->bpe.unknown);
    hash_add(hash, sizes, sizeof sizes);
    hash_add(hash, flags, sizeof flags);
    hash_add(hash, &unknown, sizeof unknown);
    for (size_t i = 0; i < vocabulary->size; i++)
        hash_span(hash, vocabulary->tokens[i]);
    hash_model(parts, hash);
    hash_added(hash, parts);
    pretokenizer_hash(parts->pretokenizer, hash);
    normalizer_hash(parts->normalizer, hash);
    if (!tokenizer->by_bytes)
        hash_add(hash, &tokenizer->model, sizeof tokenizer->model);
    hash_finish(hash, tokenizer->id);
}

/* ---- making and freeing ---- */

static void set_space(struct subword_tokenizer *tokenizer)
{
    const char *space = normalizer_space(tokenizer->normalizer);
    if (!space)
        space = pretokenizer_space(tokenizer->pretokenizer);
    if (space)
        strcpy(tokenizer->space, space);
}

struct subword_tokenizer *subword_new(const struct subword_parts *parts)
{
    struct subword_tokenizer *tokenizer = new_array(1, sizeof *tokenizer);
    tokenizer->normalizer = parts->normalizer;
    tokenizer->pretokenizer = parts->pretokenizer;
    tokenizer->vocabulary = vocabulary_new(parts->path, parts->tokens, parts->token_count, parts->added,
                                           parts->added_count);
    if (pretokenizer_loses_start(parts->pretokenizer, !normalizer_is_empty(parts->normalizer)))
        die("%s: pre_tokenizer: Metaspace with prepend_scheme first behind a step that splits, where the "
            "text has been changed before; this program knows it as the first step only",
            parts->path);
    set_space(tokenizer);
    set_display(tokenizer, parts);
    set_model(tokenizer, parts);
    set_added(tokenizer, parts);
    set_id(tokenizer, parts);
    return tokenizer;
}

void subword_free(struct subword_tokenizer *tokenizer)
{
    free_model(tokenizer);
    vocabulary_free(tokenizer->vocabulary);
    added_free(tokenizer->added);
    added_free(tokenizer->added_normalized);
    normalizer_free(tokenizer->normalizer);
    pretokenizer_free(tokenizer->pretokenizer);
    if (tokenizer->cache)
        word_cache_free(tokenizer->cache);
    free(tokenizer->prefix);
    free(tokenizer->suffix);
    free(tokenizer);
}

/* ---- encoding ---- */

/* A call of subword_encode. */
struct encoding {
    struct subword_tokenizer *tokenizer;
    struct token_row row;
};

static void encode_part(struct encoding *encoding, struct span word)
{
    struct token_row *row = &encoding->row;
    bool found;
    struct cached_word *cached = word_cache_find(encoding->tokenizer->cache, word, &found);
    if (found) {
        memcpy(token_row_add(row, cached->count), cached->tokens, cached->count * sizeof *cached->tokens);
        return;
    }
    size_t before = row->count;
    encode_by_model(encoding->tokenizer, word, row);
    size_t count = row->count - before;
    if (cached && count && count <= CACHED_TOKENS)
        word_cache_add(cached, word, *row->tokens + before, count);
}

/* The bytes of a word up to the first mark that comes behind another character. */
static size_t first_part(struct span word, const char *mark)
{
    const size_t length = strlen(mark);
    size_t at = 0;
    while (at + length <= word.length && !memcmp(word.bytes + at, mark, length))
        at += length;
    for (; at + length <= word.length; at++) {
        const char *next = memchr(word.bytes + at, *mark, word.length - at - length + 1);
        if (!next)
            break;
        at = (size_t)(next - word.bytes);
        if (!memcmp(next, mark, length))
            return at;
    }
    return word.length;
}

/* A word_function. */
static void encode_word(void *context, struct span word)
{
    struct encoding *encoding = context;
    const struct subword_tokenizer *tokenizer = encoding->tokenizer;
    if (!tokenizer->cuts) {
        encode_part(encoding, word);
        return;
    }
    for (size_t used; word.length; word = (struct span){word.bytes + used, word.length - used}) {
        used = first_part(word, tokenizer->space);
        encode_part(encoding, (struct span){word.bytes, used});
    }
}

static void encode_words(struct encoding *encoding, struct span text, bool at_start)
{
    pretokenize(encoding->tokenizer->pretokenizer, text, at_start, encode_word, encoding);
}

/* Text between added tokens that are found before normalization. */
static void encode_piece(struct encoding *encoding, struct span piece, bool at_start)
{
    struct subword_tokenizer *tokenizer = encoding->tokenizer;
    piece = normalizer_apply(tokenizer->normalizer, piece, &at_start);
    struct added_search search = {.set = tokenizer->added_normalized, .text = piece};
    struct span before;
    uint32_t token;
    while (added_next(&search, &before, &token)) {
        encode_words(encoding, before, at_start && before.bytes == piece.bytes);
        *token_row_add(&encoding->row, 1) = token;
    }
    encode_words(encoding, before, at_start && before.bytes == piece.bytes);
}

size_t subword_encode(struct subword_tokenizer *tokenizer, struct span text, uint32_t **tokens,
                      size_t *capacity)
{
    struct encoding encoding = {tokenizer, {tokens, capacity, 0}};
    if (text.length > MAX_ENCODED_BYTES)
        die("a text of %zu bytes; at most %d can be encoded at once", text.length, MAX_ENCODED_BYTES);
    if (!text_is_utf8(text))
        die("a text that is not UTF-8 cannot be encoded; convert it, for instance with iconv");
    if (!tokenizer->cache)
        tokenizer->cache = word_cache_new();
    token_row_add(&encoding.row, 0);
    struct added_search search = {.set = tokenizer->added, .text = text};
    struct span before;
    uint32_t token;
    while (added_next(&search, &before, &token)) {
        encode_piece(&encoding, before, before.bytes == text.bytes);
        *token_row_add(&encoding.row, 1) = token;
    }
    encode_piece(&encoding, before, before.bytes == text.bytes);
    return encoding.row.count;
}

/* ---- tokens ---- */

const char *subword_kind(const struct subword_tokenizer *tokenizer)
{
    switch (tokenizer->model) {
    case SUBWORD_BPE:
        return tokenizer->by_bytes ? "byte-level BPE" : "BPE of characters";
    case SUBWORD_UNIGRAM:
        return "Unigram";
    case SUBWORD_WORDPIECE:
        return wordpiece_splits(tokenizer->wordpiece) ? "WordPiece" : "WordLevel";
    }
    return NULL;
}

size_t subword_size(const struct subword_tokenizer *tokenizer)
{
    return tokenizer->vocabulary->size;
}

bool subword_can_follow(const struct subword_tokenizer *tokenizer, uint32_t id)
{
    const struct vocabulary *vocabulary = tokenizer->vocabulary;
    return id < vocabulary->size && vocabulary->tokens[id].bytes
           && can_be_token(tokenizer, id, vocabulary->special[id]);
}

const char *subword_id(const struct subword_tokenizer *tokenizer)
{
    return tokenizer->id;
}

char *subword_bytes(const struct subword_tokenizer *tokenizer, const uint32_t *tokens, size_t count,
                    size_t *length)
{
    return token_display_row(&tokenizer->display, tokenizer->vocabulary, tokens, count, length);
}

char *subword_text(const struct subword_tokenizer *tokenizer, const uint32_t *tokens, size_t count)
{
    size_t length;
    char *bytes = subword_bytes(tokenizer, tokens, count, &length);
    char *text = token_display_escape((struct span){bytes, length});
    free(bytes);
    return text;
}
