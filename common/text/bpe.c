#include "text/bpe.h"

#include "base/heap.h"
#include "base/memory_text.h"
#include "base/messages.h"
#include "base/order.h"
#include "text/normalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

/* Bounds that no tokenizer reaches; they keep a damaged file from using up the memory. */
enum {
    MAX_TOKENS = 1 << 22,
    MAX_MERGES = 1 << 22,
    MAX_ADDED_BYTES = 1024, /* of one added token: a search may look at so many for each byte of text */
    MAX_TEXT_BYTES = (1 << 28) - 1,
};

enum { BYTES = 256 };

/* A merge in the table of all merges: an open hash table, by left and right. */
struct merge {
    uint32_t left, right; /* left BPE_NO_TOKEN: an empty place */
    uint32_t rank;        /* lower ones go first */
    uint32_t token;       /* what the two become */
};

/*
 * What words were encoded as: a table of sets of a few words. In a set the word of
 * the last hit is the first; a new word goes before it, and the last one is forgotten.
 * A word is a cache line.
 */
enum { CACHED_SETS = 1 << 14, SET_WORDS = 4, CACHED_BYTES = 30, CACHED_TOKENS = 8 };
struct cached_word {
    uint8_t length; /* of the word; 0: an empty place */
    uint8_t count;
    char bytes[CACHED_BYTES];
    uint32_t tokens[CACHED_TOKENS];
};

/* A word's symbols while it is merged: a doubly linked list within an array. */
struct symbol {
    uint32_t token;          /* BPE_NO_TOKEN: merged into one before it */
    uint32_t previous, next; /* NOWHERE at the ends */
};
#define NOWHERE UINT32_MAX

/* A pair of symbols that may be merged, in a heap with the least on top. */
struct candidate {
    uint32_t rank, place;    /* place: of the left symbol */
    uint32_t token;
};

struct bpe {
    char *path;
    char id[HASH_CHARACTERS + 1];
    struct span *tokens;     /* by id */
    bool *special;           /* by id */
    size_t size;
    char *text;              /* that tokens point into */
    size_t longest;          /* token's text in bytes */
    uint32_t *index;         /* open hash table of the vocabulary's ids, by text; BPE_NO_TOKEN: empty */
    size_t index_size;       /* a power of 2 */
    struct merge *merges;
    size_t merges_size;      /* a power of 2 */
    uint32_t byte_token[BYTES];
    uint32_t unknown;
    bool ignore_merges, fuse_unknown;
    struct added_set *added, *added_normalized;
    struct normalizer *normalizer; /* NULL: none */
    struct pretokenizer *pretokenizer;
    struct cached_word *cache; /* NULL until something is encoded */
    struct symbol *symbols;  /* of the current word */
    struct candidate *heap;  /* its pairs */
    size_t symbol_capacity, heap_capacity, heap_count;
    char *mapped;            /* the current word as the vocabulary writes it */
};

/* ---- bytes and characters ---- */

/*
 * GPT-2's characters for bytes: printable ones of Latin-1 stand for themselves,
 * the others are U+0100 and up, in their order. Two bytes of UTF-8 at most.
 */
static bool is_itself(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

enum {
    FIRST_ODD_CHARACTER = 0x100,
    LOW_ODD_BYTES = 0x21,  /* 0 .. 0x20 */
    FIRST_HIGH_ODD_BYTE = 0x7F,
    LAST_ODD_BYTE = 0xAD,  /* behind 0x7F .. 0xA0 */
    ODD_BYTES = 68,
    CHARACTER_BYTES = 2,
};

static uint32_t character_of_byte(unsigned byte)
{
    if (is_itself(byte))
        return byte;
    return FIRST_ODD_CHARACTER + (byte < LOW_ODD_BYTES ? byte
                                  : byte == LAST_ODD_BYTE ? ODD_BYTES - 1
                                  : byte - FIRST_HIGH_ODD_BYTE + LOW_ODD_BYTES);
}

/* The byte that a character stands for, or -1. */
static int byte_of_character(uint32_t character)
{
    uint32_t odd = character - FIRST_ODD_CHARACTER;
    if (character < FIRST_ODD_CHARACTER)
        return is_itself(character) ? (int)character : -1;
    if (odd >= ODD_BYTES)
        return -1;
    return (int)(odd < LOW_ODD_BYTES ? odd
                 : odd == ODD_BYTES - 1 ? LAST_ODD_BYTE
                 : odd - LOW_ODD_BYTES + FIRST_HIGH_ODD_BYTE);
}

static size_t write_character(char *to, uint32_t character)
{
    size_t length = 0;
    U8_APPEND_UNSAFE((uint8_t *)to, length, character);
    return length;
}

/* ---- the vocabulary ---- */

static bool same_text(struct span left, struct span right)
{
    return left.length == right.length && !memcmp(left.bytes, right.bytes, left.length);
}

/* Where the token with this text is in the index, or belongs. */
static size_t index_place(const struct bpe *bpe, struct span text)
{
    size_t place = hash_bytes(text.bytes, text.length) & (bpe->index_size - 1);
    while (bpe->index[place] != BPE_NO_TOKEN && !same_text(bpe->tokens[bpe->index[place]], text))
        place = (place + 1) & (bpe->index_size - 1);
    return place;
}

static uint32_t find_text(const struct bpe *bpe, struct span text)
{
    return bpe->index[index_place(bpe, text)];
}

size_t bpe_size(const struct bpe *bpe)
{
    return bpe->size;
}

bool bpe_can_follow(const struct bpe *bpe, uint32_t id)
{
    if (id >= bpe->size || !bpe->tokens[id].bytes)
        return false;
    bool can = !bpe->special[id];
    for (unsigned byte = 0; id == bpe->unknown && byte < BYTES; byte++)
        can = can || bpe->byte_token[byte] == BPE_NO_TOKEN;
    return can;
}

const char *bpe_id(const struct bpe *bpe)
{
    return bpe->id;
}

/* At most half of a table is full, so that searches are short. */
static size_t table_size(size_t entries)
{
    size_t size = 16;
    while (size < 2 * entries)
        size *= 2;
    return size;
}

static bool is_utf8(struct span text)
{
    for (size_t at = 0; at < text.length;) {
        UChar32 character;
        U8_NEXT((const uint8_t *)text.bytes, at, text.length, character);
        if (character < 0)
            return false;
    }
    return true;
}

/* Takes a copy of text, behind *end, as the token's. */
static void set_token(struct bpe *bpe, uint32_t id, struct span text, char **end)
{
    if (!is_utf8(text))
        die("%s: the text of token %u is not UTF-8: the file is damaged", bpe->path, id);
    bpe->tokens[id] = (struct span){*end, text.length};
    if (text.length)
        memcpy(*end, text.bytes, text.length);
    *end += text.length;
    if (text.length > bpe->longest)
        bpe->longest = text.length;
}

static void add_to_index(struct bpe *bpe, uint32_t id)
{
    struct span text = bpe->tokens[id];
    size_t place = index_place(bpe, text);
    if (bpe->index[place] != BPE_NO_TOKEN)
        die("%s: tokens %u and %u are both '%.*s'", bpe->path, bpe->index[place], id, (int)text.length,
            text.bytes);
    bpe->index[place] = id;
}

static void check_added(const struct bpe_parts *parts, const struct added_token *token)
{
    if (token->text.length == 0 || token->text.length > MAX_ADDED_BYTES)
        die("%s: added token %u has %zu bytes; 1 to %d are possible", parts->path, token->id,
            token->text.length, MAX_ADDED_BYTES);
    if (token->id >= MAX_TOKENS)
        die("%s: added token '%.*s' has id %u; ids below %d are possible", parts->path,
            (int)token->text.length, token->text.bytes, token->id, MAX_TOKENS);
}

/* Tokens, and those of the added tokens that are not among them. */
static void set_vocabulary(struct bpe *bpe, const struct bpe_parts *parts)
{
    size_t length = 0, count = parts->token_count + parts->added_count;
    if (parts->token_count > MAX_TOKENS || parts->added_count > MAX_TOKENS)
        die("%s: %zu tokens; at most %d are possible", parts->path, count, MAX_TOKENS);
    bpe->size = parts->token_count;
    for (size_t i = 0; i < parts->token_count; i++)
        length += parts->tokens[i].length;
    for (size_t i = 0; i < parts->added_count; i++) {
        check_added(parts, &parts->added[i]);
        length += parts->added[i].text.length;
        bpe->size = bpe->size > parts->added[i].id ? bpe->size : parts->added[i].id + 1;
    }
    bpe->tokens = new_array(bpe->size, sizeof *bpe->tokens);
    bpe->special = new_array(bpe->size, sizeof *bpe->special);
    bpe->text = new_array(length, 1);
    bpe->index_size = table_size(parts->token_count);
    bpe->index = new_array(bpe->index_size, sizeof *bpe->index);
    memset(bpe->index, 0xff, bpe->index_size * sizeof *bpe->index);

    char *end = bpe->text;
    for (size_t i = 0; i < parts->token_count; i++)
        if (parts->tokens[i].bytes) {
            set_token(bpe, (uint32_t)i, parts->tokens[i], &end);
            add_to_index(bpe, (uint32_t)i);
        }
    added_free(added_new(parts->added, parts->added_count, bpe->path)); /* looks for repetitions */
    for (size_t i = 0; i < parts->added_count; i++) {
        const struct added_token *token = &parts->added[i];
        bpe->special[token->id] = token->special;
        if (!bpe->tokens[token->id].bytes)
            set_token(bpe, token->id, token->text, &end);
        else if (!same_text(bpe->tokens[token->id], token->text))
            die("%s: added token '%.*s' has the id %u of token '%.*s'", bpe->path, (int)token->text.length,
                token->text.bytes, token->id, (int)bpe->tokens[token->id].length,
                bpe->tokens[token->id].bytes);
    }
    bpe->mapped = new_array(bpe->longest, CHARACTER_BYTES);
}

static void set_byte_tokens(struct bpe *bpe, const struct bpe_parts *parts)
{
    bpe->unknown = parts->unknown ? find_text(bpe, (struct span){parts->unknown, strlen(parts->unknown)})
                                  : BPE_NO_TOKEN;
    bpe->fuse_unknown = parts->fuse_unknown;
    for (unsigned byte = 0; byte < BYTES; byte++) {
        char text[CHARACTER_BYTES];
        bpe->byte_token[byte] =
            find_text(bpe, (struct span){text, write_character(text, character_of_byte(byte))});
        if (bpe->byte_token[byte] == BPE_NO_TOKEN && parts->unknown && bpe->unknown == BPE_NO_TOKEN)
            die("%s: there is no token for byte 0x%02X, and the unknown token '%s' is not in the vocabulary",
                bpe->path, byte, parts->unknown);
    }
}

/* ---- the merges ---- */

static size_t merge_place(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    size_t place = hash_random(0, left, right) & (bpe->merges_size - 1);
    while (bpe->merges[place].left != BPE_NO_TOKEN
           && (bpe->merges[place].left != left || bpe->merges[place].right != right))
        place = (place + 1) & (bpe->merges_size - 1);
    return place;
}

/* The merge of two tokens, or NULL. */
static const struct merge *find_merge(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    const struct merge *merge = &bpe->merges[merge_place(bpe, left, right)];
    return merge->left == BPE_NO_TOKEN ? NULL : merge;
}

static uint32_t merge_part(const struct bpe *bpe, size_t rank, struct span text, const char *what)
{
    uint32_t token = text.length ? find_text(bpe, text) : BPE_NO_TOKEN;
    if (token == BPE_NO_TOKEN)
        die("%s: merge %zu: its %s '%.*s' is not in the vocabulary", bpe->path, rank + 1, what,
            (int)text.length, text.bytes);
    return token;
}

static void set_merges(struct bpe *bpe, const struct bpe_parts *parts)
{
    char *both = NULL;
    size_t capacity = 0;
    if (parts->merge_count > MAX_MERGES)
        die("%s: %zu merges; at most %d are possible", parts->path, parts->merge_count, MAX_MERGES);
    bpe->merges_size = table_size(parts->merge_count);
    bpe->merges = new_array(bpe->merges_size, sizeof *bpe->merges);
    memset(bpe->merges, 0xff, bpe->merges_size * sizeof *bpe->merges);
    for (size_t i = 0; i < parts->merge_count; i++) {
        struct span left = parts->merges[i][0], right = parts->merges[i][1];
        struct merge merge = {merge_part(bpe, i, left, "left side"), merge_part(bpe, i, right, "right side"),
                              (uint32_t)i, 0};
        struct span joined = {NULL, left.length + right.length};
        both = reserve_array(both, &capacity, joined.length, 1);
        memcpy(both, left.bytes, left.length);
        memcpy(both + left.length, right.bytes, right.length);
        joined.bytes = both;
        merge.token = merge_part(bpe, i, joined, "result");
        /* The same merge a second time: the library goes by the last. */
        bpe->merges[merge_place(bpe, merge.left, merge.right)] = merge;
    }
    free(both);
}

/* ---- added tokens ---- */

static void set_added(struct bpe *bpe, const struct bpe_parts *parts)
{
    struct added_token *tokens = new_array(parts->added_count, sizeof *tokens);
    char **texts = new_array(parts->added_count, sizeof *texts);
    size_t count = 0;
    for (size_t i = 0; i < parts->added_count; i++)
        if (!parts->added[i].normalized)
            tokens[count++] = parts->added[i];
    bpe->added = added_new(tokens, count, bpe->path);
    count = 0;
    for (size_t i = 0; i < parts->added_count; i++) {
        if (!parts->added[i].normalized)
            continue;
        struct added_token *token = &tokens[count];
        *token = parts->added[i];
        if (bpe->normalizer)
            token->text = normalize(bpe->normalizer, token->text);
        texts[count] = new_array(token->text.length, 1);
        memcpy(texts[count], token->text.bytes, token->text.length);
        token->text.bytes = texts[count++];
    }
    bpe->added_normalized = added_new(tokens, count, bpe->path);
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
    free(tokens);
}

/* ---- the id ---- */

static void hash_span(struct hash *hash, struct span text)
{
    uint64_t length = text.length; /* little endian, as the stream is */
    hash_add(hash, &length, sizeof length);
    hash_add(hash, text.bytes, text.length);
}

static int by_id(const void *a, const void *b)
{
    return compare_numbers(((const struct added_token *)a)->id, ((const struct added_token *)b)->id);
}

static void hash_added(struct hash *hash, const struct bpe_parts *parts)
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

static void set_id(struct bpe *bpe, const struct bpe_parts *parts)
{
    struct hash *hash = hash_new();
    const uint64_t sizes[] = {bpe->size, parts->merge_count, parts->added_count};
    const unsigned char flags[] = {parts->form_c, parts->ignore_merges, parts->fuse_unknown};
    hash_add(hash, sizes, sizeof sizes);
    hash_add(hash, flags, sizeof flags);
    hash_add(hash, &bpe->unknown, sizeof bpe->unknown);
    for (size_t i = 0; i < bpe->size; i++)
        hash_span(hash, bpe->tokens[i]);
    for (size_t i = 0; i < parts->merge_count; i++) {
        hash_span(hash, parts->merges[i][0]);
        hash_span(hash, parts->merges[i][1]);
    }
    hash_added(hash, parts);
    pretokenizer_hash(parts->pretokenizer, hash);
    hash_finish(hash, bpe->id);
}

/* ---- making and freeing ---- */

struct bpe *bpe_new(const struct bpe_parts *parts)
{
    struct bpe *bpe = new_array(1, sizeof *bpe);
    bpe->path = copy_string(parts->path);
    bpe->pretokenizer = parts->pretokenizer;
    bpe->ignore_merges = parts->ignore_merges;
    bpe->normalizer = parts->form_c ? normalizer_new() : NULL;
    set_vocabulary(bpe, parts);
    set_byte_tokens(bpe, parts);
    set_merges(bpe, parts);
    set_added(bpe, parts);
    set_id(bpe, parts);
    return bpe;
}

void bpe_free(struct bpe *bpe)
{
    free(bpe->path);
    free(bpe->tokens);
    free(bpe->special);
    free(bpe->text);
    free(bpe->index);
    free(bpe->merges);
    added_free(bpe->added);
    added_free(bpe->added_normalized);
    if (bpe->normalizer)
        normalizer_free(bpe->normalizer);
    pretokenizer_free(bpe->pretokenizer);
    free(bpe->cache);
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->mapped);
    free(bpe);
}

/* ---- encoding a word ---- */

/* Tokens on their way to the caller of bpe_encode. */
struct encoding {
    struct bpe *bpe;
    uint32_t **tokens;
    size_t *capacity;
    size_t count;
};

static uint32_t *add_tokens(struct encoding *encoding, size_t count)
{
    size_t room = encoding->count + count + 1; /* never full: there is an array, for no tokens too */
    *encoding->tokens = reserve_array(*encoding->tokens, encoding->capacity, room, sizeof **encoding->tokens);
    encoding->count += count;
    return *encoding->tokens + encoding->count - count;
}

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

/* One symbol a byte; bytes without a token become the unknown one or nothing. Returns how many. */
static uint32_t first_symbols(struct bpe *bpe, struct span word)
{
    uint32_t count = 0;
    bool after_unknown = false;
    bpe->symbols = reserve_array(bpe->symbols, &bpe->symbol_capacity, word.length, sizeof *bpe->symbols);
    for (size_t i = 0; i < word.length; i++) {
        uint32_t token = bpe->byte_token[(unsigned char)word.bytes[i]];
        bool is_unknown = token == BPE_NO_TOKEN;
        if (is_unknown)
            token = after_unknown && bpe->fuse_unknown ? BPE_NO_TOKEN : bpe->unknown;
        after_unknown = is_unknown;
        if (token == BPE_NO_TOKEN)
            continue;
        bpe->symbols[count] = (struct symbol){token, count ? count - 1 : NOWHERE, count + 1};
        count++;
    }
    if (count)
        bpe->symbols[count - 1].next = NOWHERE;
    return count;
}

/* Joins the symbol to the one behind it. */
static void join(struct symbol *symbols, uint32_t place, uint32_t token)
{
    struct symbol *left = &symbols[place], *right = &symbols[left->next];
    left->token = token;
    left->next = right->next;
    right->token = BPE_NO_TOKEN;
    if (left->next != NOWHERE)
        symbols[left->next].previous = place;
}

/* Merges as long as there is one to do: the one of lowest rank first, of equal ones the leftmost. */
static void merge_symbols(struct bpe *bpe, uint32_t symbols)
{
    for (uint32_t i = 0; i < symbols; i++)
        offer_pair(bpe, i);
    while (bpe->heap_count) {
        struct candidate top = candidate_pop(bpe->heap, bpe->heap_count--);
        const struct symbol *left = &bpe->symbols[top.place];
        if (left->token == BPE_NO_TOKEN || left->next == NOWHERE)
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

/* The token that is the whole word, or BPE_NO_TOKEN. */
static uint32_t whole_word(struct bpe *bpe, struct span word)
{
    size_t length = 0;
    if (word.length > bpe->longest)
        return BPE_NO_TOKEN;
    for (size_t i = 0; i < word.length; i++)
        length += write_character(bpe->mapped + length, character_of_byte((unsigned char)word.bytes[i]));
    return find_text(bpe, (struct span){bpe->mapped, length});
}

static void merge_word(struct encoding *encoding, struct span word)
{
    struct bpe *bpe = encoding->bpe;
    uint32_t token = bpe->ignore_merges ? whole_word(bpe, word) : BPE_NO_TOKEN;
    if (token != BPE_NO_TOKEN) {
        *add_tokens(encoding, 1) = token;
        return;
    }
    uint32_t symbols = first_symbols(bpe, word);
    merge_symbols(bpe, symbols);
    uint32_t *to = add_tokens(encoding, symbols);
    size_t count = 0;
    for (uint32_t i = 0; i < symbols; i++)
        if (bpe->symbols[i].token != BPE_NO_TOKEN)
            to[count++] = bpe->symbols[i].token;
    encoding->count -= symbols - count;
}

/* The word's set in the cache, with the word as the first when it is there; NULL: it cannot be. */
static struct cached_word *find_cached(const struct bpe *bpe, struct span word, bool *found)
{
    *found = false;
    if (word.length > CACHED_BYTES)
        return NULL;
    struct cached_word *set = bpe->cache + hash_bytes(word.bytes, word.length) % CACHED_SETS * SET_WORDS;
    for (size_t i = 0; i < SET_WORDS && !*found; i++)
        if (set[i].length == word.length && !memcmp(set[i].bytes, word.bytes, word.length)) {
            struct cached_word hit = set[i];
            set[i] = set[0];
            set[0] = hit;
            *found = true;
        }
    return set;
}

static void add_cached(struct cached_word *set, struct span word, const uint32_t *tokens, size_t count)
{
    memmove(set + 1, set, (SET_WORDS - 1) * sizeof *set);
    set->length = (uint8_t)word.length;
    set->count = (uint8_t)count;
    memcpy(set->bytes, word.bytes, word.length);
    memcpy(set->tokens, tokens, count * sizeof *tokens);
}

/* A word_function. */
static void encode_word(void *context, struct span word)
{
    struct encoding *encoding = context;
    bool found;
    struct cached_word *cached = find_cached(encoding->bpe, word, &found);
    if (found) {
        memcpy(add_tokens(encoding, cached->count), cached->tokens, cached->count * sizeof *cached->tokens);
        return;
    }
    size_t before = encoding->count;
    merge_word(encoding, word);
    size_t count = encoding->count - before;
    if (cached && count && count <= CACHED_TOKENS)
        add_cached(cached, word, *encoding->tokens + before, count);
}

/* ---- encoding a text ---- */

/* Text between added tokens that are found before normalization. */
static void encode_piece(struct encoding *encoding, struct span piece)
{
    struct bpe *bpe = encoding->bpe;
    if (bpe->normalizer)
        piece = normalize(bpe->normalizer, piece);
    struct added_search search = {.set = bpe->added_normalized, .text = piece};
    struct span before;
    uint32_t token;
    while (added_next(&search, &before, &token)) {
        pretokenize(bpe->pretokenizer, before, encode_word, encoding);
        *add_tokens(encoding, 1) = token;
    }
    pretokenize(bpe->pretokenizer, before, encode_word, encoding);
}

size_t bpe_encode(struct bpe *bpe, struct span text, uint32_t **tokens, size_t *capacity)
{
    struct encoding encoding = {bpe, tokens, capacity, 0};
    if (text.length > MAX_TEXT_BYTES)
        die("a text of %zu bytes; at most %d can be encoded at once", text.length, MAX_TEXT_BYTES);
    if (!is_utf8(text))
        die("a text that is not UTF-8 cannot be encoded; convert it, for instance with iconv");
    if (!bpe->cache)
        bpe->cache = new_aligned(CACHED_SETS * SET_WORDS, sizeof *bpe->cache);
    struct added_search search = {.set = bpe->added, .text = text};
    struct span before;
    uint32_t token;
    while (added_next(&search, &before, &token)) {
        encode_piece(&encoding, before);
        *add_tokens(&encoding, 1) = token;
    }
    encode_piece(&encoding, before);
    return encoding.count;
}

/* ---- reading tokens ---- */

/* To a stream in memory, which does not set its error indicator where it cannot grow. */
static void put(FILE *out, const char *bytes, size_t length)
{
    if (fwrite(bytes, 1, length, out) != length)
        die("out of memory");
}

/*
 * A token's bytes: the characters of its text undone, or the text itself when
 * one of them stands for no byte.
 */
static void write_bytes(FILE *out, struct span text)
{
    for (int write = 0; write < 2; write++)
        for (size_t at = 0; at < text.length;) {
            UChar32 character;
            U8_NEXT((const uint8_t *)text.bytes, at, text.length, character);
            int byte = byte_of_character((uint32_t)character);
            if (byte < 0) {
                put(out, text.bytes, text.length);
                return;
            }
            if (write)
                put(out, &(char){(char)byte}, 1);
        }
}

/* The bytes with \xNN for what is not UTF-8; the caller frees it. */
static char *escape(struct span bytes)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = memory_text_open(&text, &length);
    for (size_t at = 0; at < bytes.length;) {
        size_t start = at;
        UChar32 character;
        U8_NEXT((const uint8_t *)bytes.bytes, at, bytes.length, character);
        if (character > 0)
            put(out, bytes.bytes + start, at - start);
        for (; character <= 0 && start < at; start++)
            fprintf(out, "\\x%02X", (unsigned char)bytes.bytes[start]);
    }
    memory_text_close(out);
    return text;
}

char *bpe_text(const struct bpe *bpe, const uint32_t *tokens, size_t count)
{
    char *bytes = NULL;
    size_t length = 0;
    FILE *out = memory_text_open(&bytes, &length);
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < bpe->size && bpe->tokens[tokens[i]].bytes)
            write_bytes(out, bpe->tokens[tokens[i]]);
        else
            fprintf(out, "<token %u>", tokens[i]);
    }
    memory_text_close(out);
    char *text = escape((struct span){bytes, length});
    free(bytes);
    return text;
}
