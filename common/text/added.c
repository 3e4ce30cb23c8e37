#include "text/added.h"

#include "base/messages.h"
#include "base/order.h"
#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

enum { BYTES = 256 };

struct added_set {
    struct added_token *tokens; /* sorted by their bytes */
    size_t count;
    size_t first[BYTES + 1];    /* tokens first[b] .. first[b + 1] - 1 begin with byte b */
    char *text;
    struct pattern *word_character; /* NULL: no token asks for it */
};

static int by_text(const void *a, const void *b)
{
    const struct span *left = &((const struct added_token *)a)->text;
    const struct span *right = &((const struct added_token *)b)->text;
    size_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->bytes, right->bytes, shorter);
    return order ? order : compare_numbers(left->length, right->length);
}

struct added_set *added_new(const struct added_token *tokens, size_t count, const char *where)
{
    struct added_set *set = new_array(1, sizeof *set);
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += tokens[i].text.length;
    set->tokens = new_array(count, sizeof *set->tokens);
    set->text = new_array(length, 1);
    set->count = count;
    char *end = set->text;
    for (size_t i = 0; i < count; i++) {
        set->tokens[i] = tokens[i];
        set->tokens[i].text.bytes = end;
        memcpy(end, tokens[i].text.bytes, tokens[i].text.length);
        end += tokens[i].text.length;
        if (tokens[i].single_word && !set->word_character)
            set->word_character = pattern_new("[\\p{L}\\p{M}\\p{Nd}\\p{Nl}]", where);
    }
    qsort(set->tokens, count, sizeof *set->tokens, by_text);
    for (size_t i = 0; i < count; i++) {
        if (i && !by_text(&set->tokens[i - 1], &set->tokens[i]))
            die("%s: two added tokens are '%.*s', ids %u and %u", where, (int)set->tokens[i].text.length,
                set->tokens[i].text.bytes, set->tokens[i - 1].id, set->tokens[i].id);
        set->first[(unsigned char)set->tokens[i].text.bytes[0] + 1] = i + 1;
    }
    for (size_t b = 0; b < BYTES; b++)
        if (set->first[b + 1] < set->first[b])
            set->first[b + 1] = set->first[b];
    return set;
}

void added_free(struct added_set *set)
{
    if (set->word_character)
        pattern_free(set->word_character);
    free(set->tokens);
    free(set->text);
    free(set);
}

/* The first of tokens low .. high - 1, equal up to byte depth, whose byte there is at least `byte`. */
static size_t lower_bound(const struct added_set *set, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)set->tokens[middle].text.bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that begins at byte `at` of text, or NULL. */
static const struct added_token *longest_at(const struct added_set *set, struct span text, size_t at)
{
    const struct added_token *longest = NULL;
    unsigned byte = (unsigned char)text.bytes[at];
    size_t low = set->first[byte], high = set->first[byte + 1];
    for (size_t depth = 1; low < high; depth++) {
        /* Sorted: of tokens that share depth bytes, the one that has no more comes first. */
        if (set->tokens[low].text.length == depth)
            longest = &set->tokens[low++];
        if (at + depth >= text.length)
            break;
        byte = (unsigned char)text.bytes[at + depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return longest;
}

/* White space as Rust's regular expressions have it. */
static bool is_space(UChar32 character)
{
    return u_isUWhiteSpace(character);
}

/* The character before or behind a byte of the text; U+0000, which is no space, where there is none. */
static UChar32 character_before(struct span text, size_t at)
{
    UChar32 character = 0;
    int32_t i = (int32_t)at;
    if (at)
        U8_PREV((const uint8_t *)text.bytes, 0, i, character);
    return character;
}

static UChar32 character_at(struct span text, size_t at)
{
    UChar32 character = 0;
    if (at < text.length)
        U8_NEXT((const uint8_t *)text.bytes, at, text.length, character);
    return character;
}

/*
 * Rust's \w: alphabetic, marks, decimal digits, connectors, joiners. The pattern
 * knows letters and digits that are younger than ICU's tables.
 */
static bool is_word_character(const struct added_set *set, struct span text, size_t at)
{
    UChar32 character = character_at(text, at);
    struct span match;
    return u_isUAlphabetic(character)
           || (U_GET_GC_MASK(character) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK))
           || u_hasBinaryProperty(character, UCHAR_JOIN_CONTROL)
           || pattern_find(set->word_character, (struct span){text.bytes, at + (size_t)U8_LENGTH(character)},
                           false, at, &match);
}

static bool stands_alone(const struct added_set *set, struct span text, size_t start, size_t end)
{
    if (start && is_word_character(set, text, start - (size_t)U8_LENGTH(character_before(text, start))))
        return false;
    return end == text.length || !is_word_character(set, text, end);
}

static size_t skip_spaces_back(struct span text, size_t at, size_t least)
{
    UChar32 character;
    while (at > least && is_space(character = character_before(text, at)))
        at -= (size_t)U8_LENGTH(character);
    return at;
}

static size_t skip_spaces(struct span text, size_t at)
{
    UChar32 character;
    while (is_space(character = character_at(text, at)))
        at += (size_t)U8_LENGTH(character);
    return at;
}

bool added_next(struct added_search *search, struct span *before, uint32_t *id)
{
    struct span text = search->text;
    while (search->searched < text.length) {
        size_t start = search->searched;
        const struct added_token *token = longest_at(search->set, text, start);
        search->searched += token ? token->text.length : 1;
        size_t end = search->searched;
        if (!token || (token->single_word && !stands_alone(search->set, text, start, end)))
            continue;
        /* White space that the token before has taken is not taken twice. */
        if (token->left_strip)
            start = skip_spaces_back(text, start, search->given);
        if (token->right_strip)
            end = skip_spaces(text, end);
        *before =
            (struct span){text.bytes + search->given, start > search->given ? start - search->given : 0};
        *id = token->id;
        search->given = end;
        return true;
    }
    *before = (struct span){text.bytes + search->given, text.length - search->given};
    return false;
}
