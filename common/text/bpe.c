#include "text/bpe.h"

#include "base/heap.h"
#include "base/limits.h"
#include "base/messages.h"
#include "text/byte_characters.h"
#include "text/byte_tokens.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

enum {
    BYTES = 256,
    CHARACTERS = 1 << 16, /* that have a table; younger scripts and pictures are searched for */
};

/* A merge in the table of all merges: an open hash table, by left and right. */
struct merge {
    uint32_t left, right; /* left NO_TOKEN: an empty place */
    uint32_t rank;        /* lower ones go first */
    uint32_t token;       /* what the two become */
};

/* A word's symbols while it is merged: a doubly linked list within an array. */
struct symbol {
    uint32_t token;          /* NO_TOKEN: merged into one before it */
    uint32_t previous, next; /* NOWHERE at the ends */
};
#define NOWHERE UINT32_MAX

/* A pair of symbols that may be merged, in a heap with the least on top. */
struct candidate {
    uint32_t rank, place;    /* place: of the left symbol */
    uint32_t token;
};

struct bpe {
    const struct vocabulary *vocabulary;
    struct merge *merges;
    size_t merges_size;      /* a power of 2 */
    uint32_t byte_token[BYTES]; /* by_bytes: of each byte; else of byte_fallback */
    uint32_t *character_token;  /* of characters below CHARACTERS; NULL: by_bytes */
    uint32_t unknown;
    bool by_bytes, ignore_merges, fuse_unknown, byte_fallback;
    bool lone_byte[BYTES];   /* with byte_fallback: a character without a token has this byte */
    char *prefix, *suffix;   /* NULL: none */
    struct symbol *symbols;  /* of the current word */
    struct candidate *heap;  /* its pairs */
    size_t symbol_capacity, symbol_count, heap_capacity, heap_count;
    char *mapped;            /* the current word, or symbol, as the vocabulary writes it */
};

/* ---- start symbols ---- */

static void set_byte_tokens(struct bpe *bpe)
{
    for (unsigned byte = 0; byte < BYTES; byte++) {
        char text[BYTE_CHARACTER_BYTES];
        struct span character = {text, byte_character_write(text, byte)};
        bpe->byte_token[byte] = bpe->by_bytes ? vocabulary_find(bpe->vocabulary, character)
                              : bpe->byte_fallback ? byte_token_find(bpe->vocabulary, byte)
                                                   : NO_TOKEN;
    }
}

static void set_character_tokens(struct bpe *bpe)
{
    const struct vocabulary *vocabulary = bpe->vocabulary;
    bpe->character_token = new_array(CHARACTERS, sizeof *bpe->character_token);
    memset(bpe->character_token, 0xff, CHARACTERS * sizeof *bpe->character_token);
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        struct span text = vocabulary->tokens[id];
        UChar32 character = -1;
        size_t used = 0;
        if (text.length && text.length <= U8_MAX_LENGTH)
            U8_NEXT((const uint8_t *)text.bytes, used, text.length, character);
        /* An added token that the model lacks is no symbol. */
        if (used && used == text.length && character < CHARACTERS && vocabulary_find(vocabulary, text) == id)
            bpe->character_token[character] = id;
    }
}

/* The bytes of characters that have no token. */
static void set_lone_bytes(struct bpe *bpe)
{
    for (uint32_t character = 0; character <= UCHAR_MAX_VALUE; character++) {
        char text[U8_MAX_LENGTH];
        size_t length = 0;
        bool has_token = character < CHARACTERS && bpe->character_token[character] != NO_TOKEN;
        if (U_IS_SURROGATE(character) || has_token)
            continue;
        U8_APPEND_UNSAFE((uint8_t *)text, length, character);
        for (size_t i = 0; i < length; i++)
            bpe->lone_byte[(unsigned char)text[i]] = true;
    }
}

bool bpe_can_be_byte(const struct bpe *bpe, uint32_t id)
{
    int byte = bpe->byte_fallback ? byte_token_value(bpe->vocabulary->tokens[id]) : -1;
    return byte < 0 || bpe->lone_byte[byte];
}

static bool lacks_bytes(const struct bpe *bpe)
{
    for (unsigned byte = 0; byte < BYTES; byte++)
        if (bpe->byte_token[byte] == NO_TOKEN)
            return true;
    return false;
}

bool bpe_can_be_unknown(const struct bpe *bpe, uint32_t id)
{
    return id == bpe->unknown && id != NO_TOKEN && lacks_bytes(bpe);
}

/* ---- the merges ---- */

static size_t merge_place(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    size_t place = hash_random(0, left, right) & (bpe->merges_size - 1);
    while (bpe->merges[place].left != NO_TOKEN
           && (bpe->merges[place].left != left || bpe->merges[place].right != right))
        place = (place + 1) & (bpe->merges_size - 1);
    return place;
}

/* The merge of two tokens, or NULL. */
static const struct merge *find_merge(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    const struct merge *merge = &bpe->merges[merge_place(bpe, left, right)];
    return merge->left == NO_TOKEN ? NULL : merge;
}

static uint32_t merge_part(const struct bpe *bpe, size_t rank, struct span text, const char *what)
{
    uint32_t token = text.length ? vocabulary_find(bpe->vocabulary, text) : NO_TOKEN;
    if (token == NO_TOKEN)
        die("%s: merge %zu: its %s '%.*s' is not in the vocabulary", bpe->vocabulary->path, rank + 1, what,
            (int)text.length, text.bytes);
    return token;
}

/* What two tokens become: the right one without its prefix, of prefix bytes, behind the left one. */
static uint32_t merge_result(const struct bpe *bpe, size_t rank, struct span left, struct span right)
{
    size_t prefix = bpe->prefix ? strlen(bpe->prefix) : 0;
    if (right.length < prefix || memcmp(right.bytes, bpe->prefix ? bpe->prefix : "", prefix))
        die("%s: merge %zu: its right side '%.*s' does not begin with '%s', the continuing_subword_prefix",
            bpe->vocabulary->path, rank + 1, (int)right.length, right.bytes, bpe->prefix);
    struct span joined = {NULL, left.length + right.length - prefix};
    char *both = new_array(joined.length, 1);
    memcpy(both, left.bytes, left.length);
    memcpy(both + left.length, right.bytes + prefix, right.length - prefix);
    joined.bytes = both;
    uint32_t token = merge_part(bpe, rank, joined, "result");
    free(both);
    return token;
}

static void set_merges(struct bpe *bpe, const struct bpe_settings *settings)
{
    if (settings->merge_count > MAX_TOKENIZER_TOKENS)
        die("%s: %zu merges; at most %d are possible", bpe->vocabulary->path, settings->merge_count,
            MAX_TOKENIZER_TOKENS);
    bpe->merges_size = vocabulary_table_size(settings->merge_count);
    bpe->merges = new_array(bpe->merges_size, sizeof *bpe->merges);
    memset(bpe->merges, 0xff, bpe->merges_size * sizeof *bpe->merges);
    for (size_t i = 0; i < settings->merge_count; i++) {
        struct span left = settings->merges[i][0], right = settings->merges[i][1];
        struct merge merge = {merge_part(bpe, i, left, "left side"), merge_part(bpe, i, right, "right side"),
                              (uint32_t)i, 0};
        merge.token = merge_result(bpe, i, left, right);
        /* The same merge a second time: the library goes by the last. */
        bpe->merges[merge_place(bpe, merge.left, merge.right)] = merge;
    }
}

static bool begins_with(struct span text, struct span start)
{
    return text.length >= start.length && !memcmp(text.bytes, start.bytes, start.length);
}

static bool ends_with_span(struct span text, struct span end)
{
    return text.length >= end.length
           && !memcmp(text.bytes + text.length - end.length, end.bytes, end.length);
}

bool bpe_can_cut(const struct bpe *bpe, struct span mark)
{
    const struct span *tokens = bpe->vocabulary->tokens;
    /* Else the mark itself is made of other symbols, or one word's unknown token runs into the next's. */
    if (bpe->by_bytes || bpe->ignore_merges || bpe->prefix || bpe->suffix
        || vocabulary_find(bpe->vocabulary, mark) == NO_TOKEN
        || (bpe->unknown != NO_TOKEN && ends_with_span(tokens[bpe->unknown], mark)))
        return false;
    for (size_t i = 0; i < bpe->merges_size; i++) {
        const struct merge *merge = &bpe->merges[i];
        if (merge->left != NO_TOKEN && !ends_with_span(tokens[merge->left], mark)
            && begins_with(tokens[merge->right], mark))
            return false;
    }
    return true;
}

/* ---- making and freeing ---- */

static char *copy_or_null(const char *text)
{
    return text && *text ? copy_string(text) : NULL;
}

struct bpe *bpe_new(const struct bpe_settings *settings, const struct vocabulary *vocabulary, bool by_bytes)
{
    struct bpe *bpe = new_array(1, sizeof *bpe);
    bpe->vocabulary = vocabulary;
    bpe->by_bytes = by_bytes;
    bpe->ignore_merges = settings->ignore_merges;
    bpe->fuse_unknown = settings->fuse_unknown;
    bpe->byte_fallback = settings->byte_fallback;
    bpe->prefix = copy_or_null(settings->prefix);
    bpe->suffix = copy_or_null(settings->suffix);
    bpe->unknown = vocabulary_find_text(vocabulary, settings->unknown);
    size_t affixes = (bpe->prefix ? strlen(bpe->prefix) : 0) + (bpe->suffix ? strlen(bpe->suffix) : 0);
    bpe->mapped = new_array(BYTE_CHARACTER_BYTES * vocabulary->longest + affixes + U8_MAX_LENGTH, 1);
    set_byte_tokens(bpe);
    if (!by_bytes)
        set_character_tokens(bpe);
    if (bpe->byte_fallback)
        set_lone_bytes(bpe);
    if (settings->unknown && bpe->unknown == NO_TOKEN && lacks_bytes(bpe))
        die("%s: not all that a text can have has a token, and the unknown token '%s' is not in the "
            "vocabulary",
            vocabulary->path, settings->unknown);
    set_merges(bpe, settings);
    return bpe;
}

void bpe_free(struct bpe *bpe)
{
    free(bpe->merges);
    free(bpe->character_token);
    free(bpe->prefix);
    free(bpe->suffix);
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->mapped);
    free(bpe);
}

static void hash_span(struct hash *hash, struct span text)
{
    uint64_t length = text.length; /* little endian, as the stream is */
    hash_add(hash, &length, sizeof length);
    hash_add(hash, text.bytes, text.length);
}

void bpe_hash(const struct bpe_settings *settings, struct hash *hash)
{
    for (size_t i = 0; i < settings->merge_count; i++) {
        hash_span(hash, settings->merges[i][0]);
        hash_span(hash, settings->merges[i][1]);
    }
    const char *const affixes[] = {settings->prefix, settings->suffix};
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++)
        if (affixes[i] && *affixes[i]) {
            hash_add(hash, &i, sizeof i);
            hash_add(hash, affixes[i], strlen(affixes[i]));
        }
    if (settings->byte_fallback)
        hash_add(hash, "bytes", sizeof "bytes");
}

/* ---- a word's start symbols ---- */

static void add_symbol(struct bpe *bpe, uint32_t token)
{
    uint32_t count = (uint32_t)bpe->symbol_count++;
    bpe->symbols[count] = (struct symbol){token, count ? count - 1 : NOWHERE, count + 1};
}

/* One symbol a byte; bytes without a token become the unknown one or nothing. */
static void byte_symbols(struct bpe *bpe, struct span word)
{
    bool after_unknown = false;
    bpe->symbols = reserve_array(bpe->symbols, &bpe->symbol_capacity, word.length, sizeof *bpe->symbols);
    for (size_t i = 0; i < word.length; i++) {
        uint32_t token = bpe->byte_token[(unsigned char)word.bytes[i]];
        bool is_unknown = token == NO_TOKEN;
        if (is_unknown)
            token = after_unknown && bpe->fuse_unknown ? NO_TOKEN : bpe->unknown;
        after_unknown = is_unknown;
        if (token != NO_TOKEN)
            add_symbol(bpe, token);
    }
}

/* A character as the vocabulary writes it there: with the prefix unless first, with the suffix if last. */
static struct span with_affixes(const struct bpe *bpe, struct span character, bool first, bool last)
{
    const char *const parts[] = {bpe->prefix && !first ? bpe->prefix : "",
                                 bpe->suffix && last ? bpe->suffix : ""};
    size_t before = strlen(parts[0]), behind = strlen(parts[1]);
    if (!before && !behind)
        return character;
    memcpy(bpe->mapped, parts[0], before);
    memcpy(bpe->mapped + before, character.bytes, character.length);
    memcpy(bpe->mapped + before + character.length, parts[1], behind);
    return (struct span){bpe->mapped, before + character.length + behind};
}

/* The tokens of the text's bytes; false: some have none. */
static bool fall_back(struct bpe *bpe, struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (bpe->byte_token[(unsigned char)text.bytes[i]] == NO_TOKEN)
            return false;
    bpe->symbols = reserve_array(bpe->symbols, &bpe->symbol_capacity, bpe->symbol_count + text.length + 2,
                                 sizeof *bpe->symbols);
    for (size_t i = 0; i < text.length; i++)
        add_symbol(bpe, bpe->byte_token[(unsigned char)text.bytes[i]]);
    return true;
}

/* One symbol a character. An unknown one waits for the next that has a token, behind bytes even. */
static void character_symbols(struct bpe *bpe, struct span word)
{
    bool waits = false, affixes = bpe->prefix || bpe->suffix;
    for (size_t at = 0, start = 0; at < word.length; start = at) {
        UChar32 character;
        U8_NEXT_UNSAFE((const uint8_t *)word.bytes, at, character);
        struct span text = {word.bytes + start, at - start};
        if (affixes)
            text = with_affixes(bpe, text, start == 0, at == word.length);
        uint32_t token = !affixes && character < CHARACTERS ? bpe->character_token[character]
                                                            : vocabulary_find(bpe->vocabulary, text);
        bpe->symbols = reserve_array(bpe->symbols, &bpe->symbol_capacity, bpe->symbol_count + 2,
                                     sizeof *bpe->symbols);
        if (token == NO_TOKEN && ((bpe->byte_fallback && fall_back(bpe, text)) || bpe->unknown == NO_TOKEN))
            continue;
        if (waits && (token != NO_TOKEN || !bpe->fuse_unknown))
            add_symbol(bpe, bpe->unknown);
        waits = token == NO_TOKEN;
        if (!waits)
            add_symbol(bpe, token);
    }
    if (waits)
        add_symbol(bpe, bpe->unknown);
}

/* ---- merging ---- */

static bool goes_before(const struct candidate *left, const struct candidate *right)
{
    return left->rank != right->rank ? left->rank < right->rank : left->place < right->place;
}

DEFINE_HEAP(candidate, struct candidate, goes_before);

/* Offers the pair that begins at this place, when there is a merge for it. */
static void offer_pair(struct bpe *bpe, uint32_t place)
{
    const struct symbol *symbol = &bpe->symbols[place];
    const struct merge *merge = symbol->next == NOWHERE ? NULL
                              : find_merge(bpe, symbol->token, bpe->symbols[symbol->next].token);
    if (!merge)
        return;
    bpe->heap = reserve_array(bpe->heap, &bpe->heap_capacity, bpe->heap_count + 1, sizeof *bpe->heap);
    candidate_push(bpe->heap, bpe->heap_count++, (struct candidate){merge->rank, place, merge->token});
}

/* Joins the symbol to the one behind it. */
static void join(struct symbol *symbols, uint32_t place, uint32_t token)
{
    struct symbol *left = &symbols[place], *right = &symbols[left->next];
    left->token = token;
    left->next = right->next;
    right->token = NO_TOKEN;
    if (left->next != NOWHERE)
        symbols[left->next].previous = place;
}

/* Merges as long as there is one to do: the one of lowest rank first, of equal ones the leftmost. */
static void merge_symbols(struct bpe *bpe)
{
    for (uint32_t i = 0; i < bpe->symbol_count; i++)
        offer_pair(bpe, i);
    while (bpe->heap_count) {
        struct candidate top = candidate_pop(bpe->heap, bpe->heap_count--);
        const struct symbol *left = &bpe->symbols[top.place];
        if (left->token == NO_TOKEN || left->next == NOWHERE)
            continue;
        const struct merge *merge = find_merge(bpe, left->token, bpe->symbols[left->next].token);
        if (!merge || merge->token != top.token) /* one of the two has changed since */
            continue;
        join(bpe->symbols, top.place, top.token);
        if (left->previous != NOWHERE)
            offer_pair(bpe, left->previous);
        offer_pair(bpe, top.place);
    }
}

/* The token that is the whole word, or NO_TOKEN. */
static uint32_t whole_word(struct bpe *bpe, struct span word)
{
    if (word.length > bpe->vocabulary->longest)
        return NO_TOKEN;
    return vocabulary_find(bpe->vocabulary, bpe->by_bytes ? byte_characters_write(bpe->mapped, word) : word);
}

void bpe_encode(struct bpe *bpe, struct span word, struct token_row *row)
{
    uint32_t token = bpe->ignore_merges ? whole_word(bpe, word) : NO_TOKEN;
    if (token != NO_TOKEN) {
        *token_row_add(row, 1) = token;
        return;
    }
    bpe->symbol_count = 0;
    (bpe->by_bytes ? byte_symbols : character_symbols)(bpe, word);
    if (bpe->symbol_count)
        bpe->symbols[bpe->symbol_count - 1].next = NOWHERE;
    merge_symbols(bpe);
    uint32_t *to = token_row_add(row, bpe->symbol_count);
    size_t count = 0;
    for (size_t i = 0; i < bpe->symbol_count; i++)
        if (bpe->symbols[i].token != NO_TOKEN)
            to[count++] = bpe->symbols[i].token;
    row->count -= bpe->symbol_count - count;
}
