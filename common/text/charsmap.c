#define _DEFAULT_SOURCE /* u_char, of resolv.h */
#include "text/charsmap.h"

#include "base/messages.h"
#include "text/pattern.h"

#include <resolv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

struct charsmap {
    char *where;
    char *table;
    size_t size;
    const unsigned char *units; /* of the double array, 32 bits each, little endian */
    size_t unit_count;
    struct span texts;          /* that the values point into; each ends with a NUL byte */
    UBreakIterator *graphemes;  /* NULL until there is text that needs them */
    char *normal;
    size_t capacity, length;
};

/* ---- the table ---- */

enum { UNIT_BYTES = 4 };

static uint32_t read_unit(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static struct charsmap *take_table(char *table, size_t size, const char *where)
{
    struct charsmap *charsmap = new_array(1, sizeof *charsmap);
    const unsigned char *bytes = (const unsigned char *)table;
    size_t trie = size < UNIT_BYTES ? 0 : read_unit(bytes), rest = size < UNIT_BYTES ? 0 : size - UNIT_BYTES;
    if (trie < UNIT_BYTES || trie % UNIT_BYTES || trie >= rest || table[size - 1])
        die("%s: the table of replacements (precompiled_charsmap) of %zu bytes is damaged", where, size);
    *charsmap = (struct charsmap){.where = copy_string(where), .table = table, .size = size,
                                  .units = bytes + UNIT_BYTES, .unit_count = trie / UNIT_BYTES,
                                  .texts = {table + UNIT_BYTES + trie, rest - trie}};
    if (!text_is_utf8(charsmap->texts))
        die("%s: the table of replacements (precompiled_charsmap) has text that is not UTF-8", where);
    return charsmap;
}

struct charsmap *charsmap_new(struct span table, const char *where)
{
    char *copy = new_array(table.length + 1, 1);
    if (table.length)
        memcpy(copy, table.bytes, table.length);
    return take_table(copy, table.length, where);
}

struct charsmap *charsmap_from_base64(const char *text, const char *where)
{
    size_t room = strlen(text) / 4 * 3 + 4; /* for 3 bytes of each 4 characters */
    char *table = new_array(room, 1);
    int size = b64_pton(text, (u_char *)table, room);
    if (size < 0)
        die("%s: the table of replacements (precompiled_charsmap) is not base64", where);
    return take_table(table, (size_t)size, where);
}

void charsmap_free(struct charsmap *charsmap)
{
    if (charsmap->graphemes)
        ubrk_close(charsmap->graphemes);
    free(charsmap->where);
    free(charsmap->table);
    free(charsmap->normal);
    free(charsmap);
}

struct span charsmap_table(const struct charsmap *charsmap)
{
    return (struct span){charsmap->table, charsmap->size};
}

/* ---- the double array ---- */

static uint32_t unit_at(const struct charsmap *charsmap, size_t index)
{
    if (index >= charsmap->unit_count)
        die("%s: the table of replacements (precompiled_charsmap) is damaged: it leads out of itself",
            charsmap->where);
    return read_unit(charsmap->units + index * UNIT_BYTES);
}

/* Where the children of a unit are, as what is to be combined with its own index by exclusive or. */
static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static struct span text_at(const struct charsmap *charsmap, uint32_t offset)
{
    if (offset >= charsmap->texts.length || U8_IS_TRAIL(charsmap->texts.bytes[offset]))
        die("%s: the table of replacements (precompiled_charsmap) is damaged: no text begins at %u",
            charsmap->where, offset);
    const char *text = charsmap->texts.bytes + offset;
    return (struct span){text, strlen(text)}; /* the table ends with a NUL byte */
}

/*
 * The longest string of the table that text begins with, or the shortest one: its length, and the number
 * of its replacement. 0: none.
 */
static size_t find(const struct charsmap *charsmap, struct span text, bool shortest, uint32_t *value)
{
    static const uint32_t label_bits = 1u << 31 | 0xFF, leaf_bit = 1u << 8, value_bits = (1u << 31) - 1;
    size_t found = 0;
    size_t index = unit_offset(unit_at(charsmap, 0));
    for (size_t i = 0; i < text.length && text.bytes[i] && !(found && shortest); i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        index ^= byte;
        uint32_t unit = unit_at(charsmap, index);
        if ((unit & label_bits) != byte)
            break;
        index ^= unit_offset(unit);
        if (!(unit & leaf_bit))
            continue;
        *value = unit_at(charsmap, index) & value_bits;
        found = i + 1;
    }
    return found;
}

size_t charsmap_longest(const struct charsmap *charsmap, struct span text, struct span *replacement)
{
    uint32_t value;
    size_t length = find(charsmap, text, false, &value);
    if (length)
        *replacement = text_at(charsmap, value);
    return length;
}

/* ---- as the tokenizers library normalizes ---- */

static void add(struct charsmap *charsmap, struct span text)
{
    charsmap->normal = reserve_array(charsmap->normal, &charsmap->capacity,
                                     charsmap->length + text.length + 1, 1);
    memcpy(charsmap->normal + charsmap->length, text.bytes, text.length);
    charsmap->length += text.length;
}

/* Adds what the whole of text becomes. False: the table has nothing that it begins with. */
static bool add_replacement(struct charsmap *charsmap, struct span text)
{
    uint32_t value;
    bool found = find(charsmap, text, true, &value);
    if (found)
        add(charsmap, text_at(charsmap, value));
    return found;
}

static void add_grapheme(struct charsmap *charsmap, struct span grapheme)
{
    enum { LONG_GRAPHEME = 6 };
    if (grapheme.length < LONG_GRAPHEME && add_replacement(charsmap, grapheme))
        return;
    for (size_t at = 0, end = 0; at < grapheme.length; at = end) {
        U8_FWD_1((const uint8_t *)grapheme.bytes, end, grapheme.length);
        struct span character = {grapheme.bytes + at, end - at};
        if (!add_replacement(charsmap, character))
            add(charsmap, character);
    }
}

static void check(UErrorCode code)
{
    if (U_FAILURE(code))
        die("ICU cannot find graphemes: %s", u_errorName(code));
}

/*
 * Marks of Unicode 15.1 to 17. The library knows Unicode 17, ICU what its release does, which is 15 in
 * Debian 12; other characters that are younger make no difference to graphemes of less than six bytes.
 */
static const struct {
    UChar32 first, last;
} young_marks[] = {
    {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D}, {0x10EFA, 0x10EFC},
    {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
    {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

static bool is_young_mark(UChar32 character)
{
    for (size_t i = 0; i < sizeof young_marks / sizeof *young_marks; i++)
        if (character >= young_marks[i].first && character <= young_marks[i].last)
            return true;
    return false;
}

/* Whether the grapheme that ends at byte `end` goes on there, with a mark that ICU may not know. */
static bool goes_on(struct span text, int32_t end)
{
    const uint8_t *bytes = (const uint8_t *)text.bytes;
    int32_t start = end, next = end;
    UChar32 before, behind;
    if ((size_t)end == text.length || bytes[end] < 0xE0) /* of two bytes at most */
        return false;
    U8_NEXT_UNSAFE(bytes, next, behind);
    if (!is_young_mark(behind))
        return false;
    U8_BACK_1_UNSAFE(bytes, start);
    U8_NEXT_UNSAFE(bytes, start, before);
    int32_t kind = u_getIntPropertyValue(before, UCHAR_GRAPHEME_CLUSTER_BREAK);
    return kind != U_GCB_CONTROL && kind != U_GCB_CR && kind != U_GCB_LF;
}

static void add_graphemes(struct charsmap *charsmap, struct span text)
{
    UErrorCode code = U_ZERO_ERROR;
    UText source = UTEXT_INITIALIZER;
    utext_openUTF8(&source, text.bytes, (int64_t)text.length, &code);
    if (!charsmap->graphemes)
        charsmap->graphemes = ubrk_open(UBRK_CHARACTER, "", NULL, 0, &code);
    check(code);
    ubrk_setUText(charsmap->graphemes, &source, &code);
    check(code);
    for (int32_t at = 0, end; (end = ubrk_next(charsmap->graphemes)) != UBRK_DONE;)
        if (!goes_on(text, end)) {
            add_grapheme(charsmap, (struct span){text.bytes + at, (size_t)(end - at)});
            at = end;
        }
    utext_close(&source);
}

/* In ASCII a grapheme is a character, but for the two that end a line together. */
static void add_ascii(struct charsmap *charsmap, struct span text)
{
    for (size_t at = 0, length; at < text.length; at += length) {
        length = text.bytes[at] == '\r' && at + 1 < text.length && text.bytes[at + 1] == '\n' ? 2 : 1;
        add_grapheme(charsmap, (struct span){text.bytes + at, length});
    }
}

struct span charsmap_normalize(struct charsmap *charsmap, struct span text)
{
    if (!text.length)
        return text;
    charsmap->length = 0;
    if (is_ascii(text))
        add_ascii(charsmap, text);
    else
        add_graphemes(charsmap, text);
    return (struct span){charsmap->normal, charsmap->length};
}
