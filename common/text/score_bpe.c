#include "text/score_bpe.h"

#include "base/heap.h"
#include "text/trie.h"
#include "text/word_cache.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { BYTES = 256 };

const struct span piece_space = {"\xe2\x96\x81", 3};

/* A piece on its way: a doubly linked list within an array. */
struct symbol {
    uint32_t start, length;  /* in the text, in bytes; length 0: joined to one before it */
    uint32_t previous, next; /* NOWHERE at the ends */
    uint32_t token;          /* NO_TOKEN: it is no piece */
    bool frozen;             /* user defined: it is not joined */
};
#define NOWHERE UINT32_MAX

/* Two symbols that may be joined, in a heap with the best on top. */
struct candidate {
    float score;
    uint32_t place;  /* of the left one */
    uint32_t length; /* of both */
    uint32_t token;  /* that they become */
};

struct score_bpe {
    const struct vocabulary *vocabulary;
    float *scores;
    enum piece_type *types;
    uint32_t unknown;
    bool has_byte_tokens, can_cut;
    uint32_t byte_tokens[BYTES];
    struct trie *user_defined;
    uint32_t *left_lengths; /* of an unused piece: of the left one of the two that it was last seen to be */
    struct word_cache *cache;
    const char *text;       /* that is being encoded */
    struct symbol *symbols;
    struct candidate *heap;
    size_t symbol_capacity, heap_capacity, heap_count;
};

/* ---- making and freeing ---- */

static bool is_joined(enum piece_type type)
{
    return type == PIECE_NORMAL || type == PIECE_USER_DEFINED || type == PIECE_UNUSED;
}

/* Where the space behind another character is the first one is; the end where there is none. */
static size_t next_cut(struct span text)
{
    size_t at = 0;
    bool after_other = false;
    while (at < text.length) {
        bool is_space = text.length - at >= piece_space.length
                     && !memcmp(text.bytes + at, piece_space.bytes, piece_space.length);
        if (is_space && after_other)
            break;
        after_other = !is_space;
        U8_FWD_1((const uint8_t *)text.bytes, at, text.length);
    }
    return at;
}

/* Whether a symbol can be text: a character, or a piece that symbols are joined to. */
static bool is_symbol(const struct score_bpe_parts *parts, struct span text)
{
    size_t character = 0;
    U8_FWD_1((const uint8_t *)text.bytes, character, text.length);
    uint32_t token = vocabulary_find(parts->vocabulary, text);
    return character == text.length || (token != NO_TOKEN && is_joined(parts->pieces[token].type));
}

/* Whether two symbols can be joined to text. Fillers of a vocabulary, [PAD5], are not. */
static bool is_reached(const struct score_bpe_parts *parts, struct span text)
{
    bool is = false;
    for (size_t at = 0; at < text.length && !is;) {
        U8_FWD_1((const uint8_t *)text.bytes, at, text.length);
        is = at < text.length && is_symbol(parts, (struct span){text.bytes, at})
          && is_symbol(parts, (struct span){text.bytes + at, text.length - at});
    }
    return is;
}

/*
 * Whether the pieces of a text are those of its words when it is cut wherever a space comes behind
 * another character: no piece reaches beyond that, and none is taken apart again, as which two it is taken
 * apart is decided by the whole text.
 */
static bool can_cut(const struct score_bpe_parts *parts)
{
    bool can = vocabulary_find(parts->vocabulary, piece_space) != NO_TOKEN;
    for (size_t i = 0; i < parts->vocabulary->size && can; i++) {
        struct span text = parts->vocabulary->tokens[i];
        if (parts->pieces[i].type == PIECE_UNUSED)
            can = !is_reached(parts, text);
        else if (is_joined(parts->pieces[i].type))
            can = next_cut(text) == text.length;
    }
    return can;
}

static struct trie *user_defined_pieces(const struct score_bpe_parts *parts)
{
    struct trie_key *keys = new_array(parts->vocabulary->size, sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < parts->vocabulary->size; i++)
        if (parts->pieces[i].type == PIECE_USER_DEFINED)
            keys[count++] = (struct trie_key){parts->vocabulary->tokens[i], (uint32_t)i};
    struct trie *trie = trie_new(keys, count, parts->vocabulary->path);
    free(keys);
    return trie;
}

struct score_bpe *score_bpe_new(const struct score_bpe_parts *parts)
{
    struct score_bpe *bpe = new_array(1, sizeof *bpe);
    size_t size = parts->vocabulary->size;
    bpe->vocabulary = parts->vocabulary;
    bpe->scores = new_array(size, sizeof *bpe->scores);
    bpe->types = new_array(size, sizeof *bpe->types);
    bpe->left_lengths = new_array(size, sizeof *bpe->left_lengths);
    for (size_t i = 0; i < size; i++) {
        bpe->scores[i] = parts->pieces[i].score;
        bpe->types[i] = parts->pieces[i].type;
    }
    bpe->unknown = parts->unknown;
    bpe->has_byte_tokens = parts->byte_tokens;
    if (parts->byte_tokens)
        memcpy(bpe->byte_tokens, parts->byte_tokens, sizeof bpe->byte_tokens);
    bpe->can_cut = can_cut(parts);
    bpe->user_defined = user_defined_pieces(parts);
    return bpe;
}

void score_bpe_free(struct score_bpe *bpe)
{
    if (bpe->cache)
        word_cache_free(bpe->cache);
    trie_free(bpe->user_defined);
    free(bpe->scores);
    free(bpe->types);
    free(bpe->left_lengths);
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe);
}

/* ---- joining ---- */

static bool goes_before(const struct candidate *left, const struct candidate *right)
{
    return left->score > right->score || (!(left->score < right->score) && left->place < right->place);
}

DEFINE_HEAP(candidate, struct candidate, goes_before);

/* Offers the pair that begins at this place, when the two are a piece. */
static void offer_pair(struct score_bpe *bpe, uint32_t place)
{
    const struct symbol *left = &bpe->symbols[place];
    const struct symbol *right = left->next == NOWHERE ? NULL : &bpe->symbols[left->next];
    if (!right || left->frozen || right->frozen || left->length + right->length > bpe->vocabulary->longest)
        return;
    struct span both = {bpe->text + left->start, left->length + right->length};
    uint32_t token = vocabulary_find(bpe->vocabulary, both);
    if (token == NO_TOKEN || !is_joined(bpe->types[token]))
        return;
    if (bpe->types[token] == PIECE_UNUSED)
        bpe->left_lengths[token] = left->length;
    bpe->heap = reserve_array(bpe->heap, &bpe->heap_capacity, bpe->heap_count + 1, sizeof *bpe->heap);
    candidate_push(bpe->heap, bpe->heap_count++,
                   (struct candidate){bpe->scores[token], place, (uint32_t)both.length, token});
}

/* A symbol a character, or user-defined piece. Returns how many. */
static uint32_t first_symbols(struct score_bpe *bpe, struct span text)
{
    uint32_t count = 0;
    bpe->symbols = reserve_array(bpe->symbols, &bpe->symbol_capacity, text.length, sizeof *bpe->symbols);
    for (size_t at = 0, end = 0; at < text.length; at = end) {
        uint32_t token;
        size_t length = trie_longest(bpe->user_defined, (struct span){text.bytes + at, text.length - at},
                                     &token);
        end = at + length;
        if (!length) {
            U8_FWD_1((const uint8_t *)text.bytes, end, text.length);
            token = vocabulary_find(bpe->vocabulary, (struct span){text.bytes + at, end - at});
        }
        bpe->symbols[count] = (struct symbol){(uint32_t)at, (uint32_t)(end - at),
                                              count ? count - 1 : NOWHERE, count + 1, token, length};
        count++;
    }
    bpe->symbols[count - 1].next = NOWHERE;
    return count;
}

/* Joins the symbol to the one behind it. */
static void join(struct symbol *symbols, uint32_t place, uint32_t token)
{
    struct symbol *left = &symbols[place], *right = &symbols[left->next];
    left->token = token;
    left->length += right->length;
    left->next = right->next;
    right->length = 0;
    if (left->next != NOWHERE)
        symbols[left->next].previous = place;
}

static void join_symbols(struct score_bpe *bpe, uint32_t symbols)
{
    for (uint32_t i = 0; i < symbols; i++)
        offer_pair(bpe, i);
    while (bpe->heap_count) {
        struct candidate top = candidate_pop(bpe->heap, bpe->heap_count--);
        const struct symbol *left = &bpe->symbols[top.place];
        if (!left->length || left->next == NOWHERE
            || left->length + bpe->symbols[left->next].length != top.length) /* one has changed since */
            continue;
        join(bpe->symbols, top.place, top.token);
        if (left->previous != NOWHERE)
            offer_pair(bpe, left->previous);
        offer_pair(bpe, top.place);
    }
}

/* ---- giving out ---- */

static bool is_unknown(const struct score_bpe *bpe, uint32_t token)
{
    return token == NO_TOKEN || token == bpe->unknown;
}

/* Appends a symbol's piece; unused ones are taken apart again. */
static void give_out(const struct score_bpe *bpe, struct span text, uint32_t token, struct token_row *row)
{
    if (token != NO_TOKEN && bpe->types[token] == PIECE_UNUSED && bpe->left_lengths[token]) {
        struct span left = {text.bytes, bpe->left_lengths[token]};
        struct span right = {text.bytes + left.length, text.length - left.length};
        give_out(bpe, left, vocabulary_find(bpe->vocabulary, left), row);
        give_out(bpe, right, vocabulary_find(bpe->vocabulary, right), row);
    } else if (!is_unknown(bpe, token)) {
        *token_row_add(row, 1) = token;
    } else if (bpe->has_byte_tokens) {
        uint32_t *to = token_row_add(row, text.length);
        for (size_t i = 0; i < text.length; i++)
            to[i] = bpe->byte_tokens[(unsigned char)text.bytes[i]];
    } else if (!row->count || (*row->tokens)[row->count - 1] != bpe->unknown) {
        *token_row_add(row, 1) = bpe->unknown;
    }
}

static void encode_word(struct score_bpe *bpe, struct span word, struct token_row *row)
{
    bpe->text = word.bytes;
    join_symbols(bpe, first_symbols(bpe, word));
    for (uint32_t i = 0; i != NOWHERE; i = bpe->symbols[i].next) {
        const struct symbol *symbol = &bpe->symbols[i];
        give_out(bpe, (struct span){word.bytes + symbol->start, symbol->length}, symbol->token, row);
    }
}

static void encode_cached(struct score_bpe *bpe, struct span word, struct token_row *row)
{
    bool found;
    struct cached_word *cached = word_cache_find(bpe->cache, word, &found);
    if (found) {
        memcpy(token_row_add(row, cached->count), cached->tokens, cached->count * sizeof *cached->tokens);
        return;
    }
    size_t before = row->count;
    encode_word(bpe, word, row);
    size_t count = row->count - before;
    if (cached && count && count <= CACHED_TOKENS)
        word_cache_add(cached, word, *row->tokens + before, count);
}

void score_bpe_encode(struct score_bpe *bpe, struct span text, struct token_row *row)
{
    if (!bpe->can_cut) {
        if (text.length)
            encode_word(bpe, text, row);
        return;
    }
    if (!bpe->cache)
        bpe->cache = word_cache_new();
    while (text.length) {
        size_t length = next_cut(text);
        encode_cached(bpe, (struct span){text.bytes, length}, row);
        text = (struct span){text.bytes + length, text.length - length};
    }
}
