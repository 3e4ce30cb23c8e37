#include "text/normalize.h"

#include "base/messages.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>

/* The library's tables are those of Unicode 9: younger characters stay as they are. */
static const UChar known_characters[] = u"[:age=9.0:]";

struct normalizer {
    USet *known;
    const UNormalizer2 *every_form_c; /* of the characters of all versions */
    UNormalizer2 *form_c;
    UChar *wide, *ordered, *normal; /* UTF-16 */
    size_t wide_capacity, ordered_capacity, normal_capacity;
    char *text;
    size_t text_capacity;
};

static void check(UErrorCode code)
{
    if (U_FAILURE(code))
        die("ICU cannot normalize text: %s", u_errorName(code));
}

struct normalizer *normalizer_new(void)
{
    struct normalizer *normalizer = new_array(1, sizeof *normalizer);
    UErrorCode code = U_ZERO_ERROR;
    normalizer->known = uset_openPattern(known_characters, -1, &code);
    check(code);
    uset_freeze(normalizer->known);
    normalizer->every_form_c = unorm2_getNFCInstance(&code);
    normalizer->form_c = unorm2_openFiltered(normalizer->every_form_c, normalizer->known, &code);
    check(code);
    return normalizer;
}

void normalizer_free(struct normalizer *normalizer)
{
    unorm2_close(normalizer->form_c);
    uset_close(normalizer->known);
    free(normalizer->wide);
    free(normalizer->ordered);
    free(normalizer->normal);
    free(normalizer->text);
    free(normalizer);
}

/*
 * Below U+0300 nothing composes with what is before it; UTF-8 writes such characters with bytes below 0xCC.
 */
static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] >= 0xCC)
            return false;
    return true;
}

/* ---- long runs of combining marks ---- */

/*
 * A run of marks is put in the order of their combining classes. ICU does so by insertion, in a
 * time that grows with the square of the run; longer runs than these are ordered before it sees them.
 */
enum { LONG_RUN = 64, CLASSES = 256, MAX_DECOMPOSED = 8 };

static UChar32 next_character(const UChar *text, int32_t *at, int32_t length)
{
    UChar unit = text[(*at)++];
    if (U16_IS_LEAD(unit) && *at < length && U16_IS_TRAIL(text[*at]))
        return U16_GET_SUPPLEMENTARY(unit, text[(*at)++]);
    return unit;
}

/* Where the run of marks that begins at start ends: at start where there is none. */
static int32_t run_end(const struct normalizer *normalizer, const UChar *text, int32_t length, int32_t start)
{
    for (int32_t at = start; at < length; start = at) {
        UChar32 character = next_character(text, &at, length);
        if (u_getIntPropertyValue(character, UCHAR_LEAD_CANONICAL_COMBINING_CLASS) == 0
            || !uset_contains(normalizer->known, character))
            break;
    }
    return start;
}

/* Whether there may be a long run: one has a unit at every STEP, and from its first of these STEP more. */
static bool has_long_run(const struct normalizer *normalizer, const UChar *text, int32_t length)
{
    enum { STEP = LONG_RUN / 2, FIRST_MARK = 0x300 };
    for (int32_t at = 0; at < length; at += STEP) {
        int32_t start = at + U16_IS_TRAIL(text[at]);
        if (text[at] >= FIRST_MARK && run_end(normalizer, text, length, start) - at >= STEP)
            return true;
    }
    return false;
}

/* The character's canonical decomposition, most often itself. Returns the number of units. */
static int32_t decompose(const struct normalizer *normalizer, UChar32 character, UChar to[MAX_DECOMPOSED])
{
    UErrorCode code = U_ZERO_ERROR;
    int32_t length = unorm2_getDecomposition(normalizer->every_form_c, character, to, MAX_DECOMPOSED, &code);
    check(code == U_STRING_NOT_TERMINATED_WARNING ? U_ZERO_ERROR : code);
    if (length < 0) {
        length = 0;
        U16_APPEND_UNSAFE(to, length, character);
    }
    return length;
}

/*
 * Decomposes a run and sorts it by class, marks of one class in their order. The units of a class go
 * to `to` from begin[class] on, which moves on behind them; without `to` they are only counted.
 */
static void place_marks(const struct normalizer *normalizer, const UChar *run, int32_t length,
                        size_t begin[CLASSES], UChar *to)
{
    for (int32_t at = 0; at < length;) {
        UChar marks[MAX_DECOMPOSED];
        int32_t count = decompose(normalizer, next_character(run, &at, length), marks);
        for (int32_t i = 0; i < count;) {
            UChar32 mark = next_character(marks, &i, count);
            size_t *end = &begin[u_getCombiningClass(mark)];
            if (to)
                U16_APPEND_UNSAFE(to, *end, mark);
            else
                *end += (size_t)U16_LENGTH(mark);
        }
    }
}

/* Puts a run in order, behind the first *count units of the normalizer's array. */
static void order_run(struct normalizer *normalizer, const UChar *run, int32_t length, size_t *count)
{
    size_t begin[CLASSES] = {0}, total = 0;
    place_marks(normalizer, run, length, begin, NULL);
    for (size_t i = 0; i < CLASSES; i++) {
        size_t units = begin[i];
        begin[i] = total;
        total += units;
    }
    normalizer->ordered = reserve_array(normalizer->ordered, &normalizer->ordered_capacity, *count + total,
                                        sizeof(UChar));
    place_marks(normalizer, run, length, begin, normalizer->ordered + *count);
    *count += total;
}

/* The text with its long runs in order, in the normalizer's array, which is equivalent; its length. */
static int32_t order_marks(struct normalizer *normalizer, const UChar *text, int32_t length)
{
    size_t count = 0;
    for (int32_t at = 0; at < length;) {
        int32_t end = run_end(normalizer, text, length, at);
        if (end - at > LONG_RUN) {
            order_run(normalizer, text + at, end - at, &count);
        } else {
            end += end == at;
            size_t units = (size_t)(end - at);
            normalizer->ordered = reserve_array(normalizer->ordered, &normalizer->ordered_capacity,
                                                count + units, sizeof(UChar));
            memcpy(normalizer->ordered + count, text + at, units * sizeof(UChar));
            count += units;
        }
        at = end;
    }
    return (int32_t)count;
}

/* ---- normalizing ---- */

struct span normalize(struct normalizer *normalizer, struct span text)
{
    /*
     * No character grows to more than three times its UTF-16 units in form C,
     * nor a unit to more than 3 bytes.
     */
    enum { GROWTH = 3, UNIT_BYTES = 3 };
    UErrorCode code = U_ZERO_ERROR;
    int32_t length;
    if (is_plain(text))
        return text;
    normalizer->wide = reserve_array(normalizer->wide, &normalizer->wide_capacity, text.length,
                                     sizeof(UChar));
    u_strFromUTF8(normalizer->wide, (int32_t)text.length, &length, text.bytes, (int32_t)text.length, &code);
    check(code == U_STRING_NOT_TERMINATED_WARNING ? U_ZERO_ERROR : code);
    const UChar *wide = normalizer->wide;
    code = U_ZERO_ERROR;
    if (has_long_run(normalizer, wide, length)) {
        length = order_marks(normalizer, wide, length);
        wide = normalizer->ordered;
    } else if (unorm2_isNormalized(normalizer->form_c, wide, length, &code)) {
        return text;
    }

    size_t capacity = GROWTH * (size_t)length + 1;
    normalizer->normal = reserve_array(normalizer->normal, &normalizer->normal_capacity, capacity,
                                       sizeof(UChar));
    length = unorm2_normalize(normalizer->form_c, wide, length, normalizer->normal, (int32_t)capacity, &code);
    check(code);
    capacity = UNIT_BYTES * (size_t)length + 1;
    normalizer->text = reserve_array(normalizer->text, &normalizer->text_capacity, capacity, 1);
    int32_t bytes;
    u_strToUTF8(normalizer->text, (int32_t)capacity, &bytes, normalizer->normal, length, &code);
    check(code);
    return (struct span){normalizer->text, (size_t)bytes};
}
