#include "text/character_set.h"

#include "base/messages.h"

#include <stdlib.h>
#include <unicode/uset.h>

struct character_set *character_set_new(const UChar *pattern)
{
    struct character_set *set = new_array(1, sizeof *set);
    UErrorCode code = U_ZERO_ERROR;
    USet *found = uset_openPattern(pattern, -1, &code);
    if (U_FAILURE(code))
        die("ICU has no such set of characters: %s", u_errorName(code));
    for (int32_t i = 0; i < uset_getItemCount(found); i++) {
        UChar32 first, last;
        UErrorCode item = U_ZERO_ERROR;
        if (uset_getItem(found, i, &first, &last, NULL, 0, &item) == 0)
            for (UChar32 c = first; c <= last; c++)
                set->bits[c / 8] |= (uint8_t)(1 << c % 8);
    }
    uset_close(found);
    return set;
}

void character_set_free(struct character_set *set)
{
    free(set);
}
