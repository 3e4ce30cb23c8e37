#include "text/normal_form.h"

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

struct form_writer {
    USet *known;
    enum normal_form form;
    const UNormalizer2 *canonical; /* form C of the characters of all versions */
    UNormalizer2 *normalizer;      /* of those known */
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

static const UNormalizer2 *every_version(enum normal_form form)
{
    UErrorCode code = U_ZERO_ERROR;
    const UNormalizer2 *normalizer = form == FORM_C    ? unorm2_getNFCInstance(&code)
                                     : form == FORM_D  ? unorm2_getNFDInstance(&code)
                                     : form == FORM_KC ? unorm2_getNFKCInstance(&code)
                                                       : unorm2_getNFKDInstance(&code);
    check(code);
    return normalizer;
}

struct form_writer *form_writer_new(enum normal_form form)
{
    struct form_writer *writer = new_array(1, sizeof *writer);
    UErrorCode code = U_ZERO_ERROR;
    writer->known = uset_openPattern(known_characters, -1, &code);
    check(code);
    uset_freeze(writer->known);
    writer->form = form;
    writer->canonical = unorm2_getNFCInstance(&code);
    check(code);
    writer->normalizer = unorm2_openFiltered(every_version(form), writer->known, &code);
    check(code);
    return writer;
}

void form_writer_free(struct form_writer *writer)
{
    unorm2_close(writer->normalizer);
    uset_close(writer->known);
    free(writer->wide);
    free(writer->ordered);
    free(writer->normal);
    free(writer->text);
    free(writer);
}

/*
 * Below U+0300 nothing composes with what is before it; UTF-8 writes such characters with bytes below 0xCC.
 * The other forms leave ASCII alone as it is.
 */
static bool is_plain(const struct form_writer *writer, struct span text)
{
    const unsigned char first_other = writer->form == FORM_C ? 0xCC : 0x80;
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] >= first_other)
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
static int32_t run_end(const struct form_writer *writer, const UChar *text, int32_t length, int32_t start)
{
    for (int32_t at = start; at < length; start = at) {
        UChar32 character = next_character(text, &at, length);
        if (u_getIntPropertyValue(character, UCHAR_LEAD_CANONICAL_COMBINING_CLASS) == 0
            || !uset_contains(writer->known, character))
            break;
    }
    return start;
}

/* Whether there may be a long run: one has a unit at every STEP, and from its first of these STEP more. */
static bool has_long_run(const struct form_writer *writer, const UChar *text, int32_t length)
{
    enum { STEP = LONG_RUN / 2, FIRST_MARK = 0x300 };
    for (int32_t at = 0; at < length; at += STEP) {
        int32_t start = at + U16_IS_TRAIL(text[at]);
        if (text[at] >= FIRST_MARK && run_end(writer, text, length, start) - at >= STEP)
            return true;
    }
    return false;
}

/* The character's canonical decomposition, most often itself. Returns the number of units. */
static int32_t decompose(const struct form_writer *writer, UChar32 character, UChar to[MAX_DECOMPOSED])
{
    UErrorCode code = U_ZERO_ERROR;
    int32_t length = unorm2_getDecomposition(writer->canonical, character, to, MAX_DECOMPOSED, &code);
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
static void place_marks(const struct form_writer *writer, const UChar *run, int32_t length,
                        size_t begin[CLASSES], UChar *to)
{
    for (int32_t at = 0; at < length;) {
        UChar marks[MAX_DECOMPOSED];
        int32_t count = decompose(writer, next_character(run, &at, length), marks);
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
static void order_run(struct form_writer *writer, const UChar *run, int32_t length, size_t *count)
{
    size_t begin[CLASSES] = {0}, total = 0;
    place_marks(writer, run, length, begin, NULL);
    for (size_t i = 0; i < CLASSES; i++) {
        size_t units = begin[i];
        begin[i] = total;
        total += units;
    }
    writer->ordered = reserve_array(writer->ordered, &writer->ordered_capacity, *count + total,
                                        sizeof(UChar));
    place_marks(writer, run, length, begin, writer->ordered + *count);
    *count += total;
}

/* The text with its long runs in order, in the normalizer's array, which is equivalent; its length. */
static int32_t order_marks(struct form_writer *writer, const UChar *text, int32_t length)
{
    size_t count = 0;
    for (int32_t at = 0; at < length;) {
        int32_t end = run_end(writer, text, length, at);
        if (end - at > LONG_RUN) {
            order_run(writer, text + at, end - at, &count);
        } else {
            end += end == at;
            size_t units = (size_t)(end - at);
            writer->ordered = reserve_array(writer->ordered, &writer->ordered_capacity,
                                                count + units, sizeof(UChar));
            memcpy(writer->ordered + count, text + at, units * sizeof(UChar));
            count += units;
        }
        at = end;
    }
    return (int32_t)count;
}

/* ---- normalizing ---- */

/* Normalizes wide text of length units to the writer's array; the length of the result. */
static int32_t normalize(struct form_writer *writer, const UChar *wide, int32_t length)
{
    /* What most text grows to at most; form KC or KD of a few characters is longer. */
    enum { GROWTH = 3 };
    size_t capacity = GROWTH * (size_t)length + 1;
    for (;;) {
        UErrorCode code = U_ZERO_ERROR;
        writer->normal = reserve_array(writer->normal, &writer->normal_capacity, capacity, sizeof(UChar));
        int32_t units = unorm2_normalize(writer->normalizer, wide, length, writer->normal, (int32_t)capacity,
                                         &code);
        if (code != U_BUFFER_OVERFLOW_ERROR) {
            check(code);
            return units;
        }
        capacity = (size_t)units + 1;
    }
}

struct span form_write(struct form_writer *writer, struct span text)
{
    enum { UNIT_BYTES = 3 }; /* of UTF-8, at most */
    UErrorCode code = U_ZERO_ERROR;
    int32_t length, bytes;
    if (is_plain(writer, text))
        return text;
    writer->wide = reserve_array(writer->wide, &writer->wide_capacity, text.length, sizeof(UChar));
    u_strFromUTF8(writer->wide, (int32_t)text.length, &length, text.bytes, (int32_t)text.length, &code);
    check(code == U_STRING_NOT_TERMINATED_WARNING ? U_ZERO_ERROR : code);
    const UChar *wide = writer->wide;
    code = U_ZERO_ERROR;
    if (has_long_run(writer, wide, length)) {
        length = order_marks(writer, wide, length);
        wide = writer->ordered;
    } else if (unorm2_isNormalized(writer->normalizer, wide, length, &code)) {
        return text;
    }
    length = normalize(writer, wide, length);
    size_t capacity = UNIT_BYTES * (size_t)length + 1;
    if (capacity > INT32_MAX)
        die("a text of %zu bytes is too long to be normalized", text.length);
    writer->text = reserve_array(writer->text, &writer->text_capacity, capacity, 1);
    u_strToUTF8(writer->text, (int32_t)capacity, &bytes, writer->normal, length, &code);
    check(code);
    return (struct span){writer->text, (size_t)bytes};
}
