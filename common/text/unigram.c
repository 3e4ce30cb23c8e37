#include "text/unigram.h"

#include "base/messages.h"
#include "model/config.h"
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

/* The best way to write the text up to a byte: its score, its last token, and where that begins. */
struct best_path {
    double score;
    uint32_t token; /* NO_TOKEN: a character that is none */
    uint32_t start; /* NOWHERE: no way was found yet */
};
#define NOWHERE UINT32_MAX

struct unigram {
    char *path;
    struct trie *trie; /* of the tokens' texts, to ids */
    double *scores;
    double unknown_score;
    uint32_t unknown;
    bool has_byte_tokens, sentencepiece;
    uint32_t byte_tokens[UNIGRAM_BYTES];
    struct best_path *paths; /* to each byte of the text, and its end */
    size_t path_capacity;
};

struct unigram *unigram_new(const struct unigram_parts *parts)
{
    struct unigram *unigram = new_array(1, sizeof *unigram);
    struct trie_key *keys = new_array(parts->count, sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < parts->count; i++)
        if (parts->tokens[i].length)
            keys[count++] = (struct trie_key){parts->tokens[i], (uint32_t)i};
    unigram->path = copy_string(parts->path);
    unigram->trie = trie_new(keys, count, parts->path);
    free(keys);
    unigram->scores = new_array(parts->count, sizeof *unigram->scores);
    if (parts->count)
        memcpy(unigram->scores, parts->scores, parts->count * sizeof *unigram->scores);
    unigram->unknown_score = parts->unknown_score;
    unigram->unknown = parts->unknown;
    unigram->sentencepiece = parts->sentencepiece;
    unigram->has_byte_tokens = parts->byte_tokens;
    if (parts->byte_tokens)
        memcpy(unigram->byte_tokens, parts->byte_tokens, sizeof unigram->byte_tokens);
    return unigram;
}

void unigram_free(struct unigram *unigram)
{
    free(unigram->path);
    trie_free(unigram->trie);
    free(unigram->scores);
    free(unigram->paths);
    free(unigram);
}

bool unigram_can_be_unknown(const struct unigram *unigram, uint32_t id)
{
    bool can = !unigram->has_byte_tokens;
    for (size_t byte = 0; byte < UNIGRAM_BYTES; byte++)
        can = can || unigram->byte_tokens[byte] == NO_TOKEN;
    return can && id == unigram->unknown;
}

/* ---- the best path ---- */

/* Offers a token with this score, from start to end; of two equal ways the first one stays. */
static void offer(struct unigram *unigram, size_t start, size_t end, uint32_t token, double score)
{
    struct best_path *to = &unigram->paths[end];
    double sum = score + unigram->paths[start].score;
    if (unigram->sentencepiece)
        sum = (float)sum;
    if (to->start == NOWHERE || sum > to->score)
        *to = (struct best_path){sum, token, (uint32_t)start};
}

/* Offers every token that the text has from start on. */
static void offer_tokens(struct unigram *unigram, struct span text, size_t start, size_t character_end)
{
    const struct trie *trie = unigram->trie;
    uint32_t node = TRIE_ROOT;
    bool is_token = false;
    for (size_t at = start; at < text.length; at++) {
        node = trie_step(trie, node, text.bytes[at]);
        if (node == TRIE_NO_NODE)
            break;
        uint32_t token = trie_value(trie, node);
        if (token == TRIE_NO_VALUE)
            continue;
        offer(unigram, start, at + 1, token, unigram->scores[token]);
        is_token = is_token || at + 1 == character_end;
    }
    if (!is_token)
        offer(unigram, start, character_end, NO_TOKEN, unigram->unknown_score);
}

static void find_paths(struct unigram *unigram, struct span text)
{
    unigram->paths =
        reserve_array(unigram->paths, &unigram->path_capacity, text.length + 1, sizeof *unigram->paths);
    for (size_t i = 0; i <= text.length; i++)
        unigram->paths[i] = (struct best_path){.start = NOWHERE};
    for (size_t start = 0, end = 0; start < text.length; start = end) {
        U8_FWD_1((const uint8_t *)text.bytes, end, text.length);
        offer_tokens(unigram, text, start, end);
    }
}

/* ---- its tokens ---- */

/* The tokens of a run's bytes; false: some have none. */
static bool append_bytes(const struct unigram *unigram, struct span run, struct token_row *row)
{
    for (size_t i = 0; i < run.length; i++)
        if (unigram->byte_tokens[(unsigned char)run.bytes[i]] == NO_TOKEN)
            return false;
    uint32_t *to = token_row_add(row, run.length);
    for (size_t i = 0; i < run.length; i++)
        to[i] = unigram->byte_tokens[(unsigned char)run.bytes[i]];
    return true;
}

/*
 * A run of characters that are no tokens. The tokenizers library, which joins them first, looks their text
 * up again: it can be that of a token whose score is too low for it to be on the best path.
 */
static void append_unknown(const struct unigram *unigram, struct span run, struct token_row *row)
{
    uint32_t token;
    if (!unigram->sentencepiece && trie_longest(unigram->trie, run, &token) == run.length) {
        *token_row_add(row, 1) = token;
        return;
    }
    if (unigram->has_byte_tokens && append_bytes(unigram, run, row))
        return;
    if (unigram->unknown == NO_TOKEN)
        die("%s: the tokenizer has no token for '%.*s', and none that is for what is unknown", unigram->path,
            (int)run.length, run.bytes);
    *token_row_add(row, 1) = unigram->unknown;
}

/* Whether the token, one of the path, belongs to a run of what is unknown. */
static bool is_unknown(const struct unigram *unigram, uint32_t token)
{
    return token == NO_TOKEN || token == unigram->unknown;
}

/* Has the paths' starts point forward: the start of a token says where it ends. */
static void turn_round(struct unigram *unigram, size_t length)
{
    struct best_path *paths = unigram->paths;
    uint32_t end = (uint32_t)length, token = paths[end].token, start = paths[end].start;
    while (end) {
        uint32_t next_token = paths[start].token, next_start = paths[start].start;
        paths[start].token = token;
        paths[start].start = end;
        end = start;
        token = next_token;
        start = next_start;
    }
}

void unigram_encode(struct unigram *unigram, struct span text, struct token_row *row)
{
    if (!text.length)
        return;
    find_paths(unigram, text);
    turn_round(unigram, text.length);
    const struct best_path *paths = unigram->paths;
    for (size_t start = 0, end; start < text.length; start = end) {
        end = paths[start].start;
        if (!is_unknown(unigram, paths[start].token)) {
            *token_row_add(row, 1) = paths[start].token;
            continue;
        }
        while (end < text.length && is_unknown(unigram, paths[end].token))
            end = paths[end].start;
        append_unknown(unigram, (struct span){text.bytes + start, end - start}, row);
    }
}
