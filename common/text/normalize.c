#include "text/normalize.h"

#include "base/messages.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/ustring.h>

/* The library's tables are those of Unicode 9: younger characters stay as they are. */
static const UChar known_characters[] = u"[:age=9.0:]";

struct normalizer {
    USet *known;
    UNormalizer2 *form_c;
    UChar *wide, *normal; /* UTF-16 */
    size_t wide_capacity, normal_capacity;
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
    normalizer->form_c = unorm2_openFiltered(unorm2_getNFCInstance(&code), normalizer->known, &code);
    check(code);
    return normalizer;
}

void normalizer_free(struct normalizer *normalizer)
{
    unorm2_close(normalizer->form_c);
    uset_close(normalizer->known);
    free(normalizer->wide);
    free(normalizer->normal);
    free(normalizer->text);
    free(normalizer);
}

/* Below U+0300 nothing composes with what is before it; UTF-8 writes such characters with bytes below 0xCC. */
static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] >= 0xCC)
            return false;
    return true;
}

static void *reserve(void *array, size_t *capacity, size_t count, size_t size)
{
    if (*capacity >= count)
        return array;
    *capacity = 2 * count;
    return grow_array(array, *capacity, size);
}

struct span normalize(struct normalizer *normalizer, struct span text)
{
    /* No character grows to more than three times its UTF-16 units in form C, nor a unit to more than 3 bytes. */
    enum { GROWTH = 3, UNIT_BYTES = 3 };
    UErrorCode code = U_ZERO_ERROR;
    int32_t length;
    if (is_plain(text))
        return text;
    normalizer->wide = reserve(normalizer->wide, &normalizer->wide_capacity, text.length, sizeof(UChar));
    u_strFromUTF8(normalizer->wide, (int32_t)text.length, &length, text.bytes, (int32_t)text.length, &code);
    bool is_normal = unorm2_isNormalized(normalizer->form_c, normalizer->wide, length, &code);
    check(code == U_STRING_NOT_TERMINATED_WARNING ? U_ZERO_ERROR : code);
    if (is_normal)
        return text;

    size_t capacity = GROWTH * (size_t)length + 1;
    normalizer->normal = reserve(normalizer->normal, &normalizer->normal_capacity, capacity, sizeof(UChar));
    length = unorm2_normalize(normalizer->form_c, normalizer->wide, length, normalizer->normal, (int32_t)capacity,
                              &code);
    check(code);
    capacity = UNIT_BYTES * (size_t)length + 1;
    normalizer->text = reserve(normalizer->text, &normalizer->text_capacity, capacity, 1);
    int32_t bytes;
    u_strToUTF8(normalizer->text, (int32_t)capacity, &bytes, normalizer->normal, length, &code);
    check(code);
    return (struct span){normalizer->text, (size_t)bytes};
}
