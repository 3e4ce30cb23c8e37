/* Sets of characters, to look characters up in quickly. */
#ifndef FFKV_CHARACTER_SET_H
#define FFKV_CHARACTER_SET_H

#include <stdbool.h>
#include <stdint.h>
#include <unicode/umachine.h>

enum { CHARACTER_SET_BYTES = 0x110000 / 8 };

struct character_set {
    uint8_t bits[CHARACTER_SET_BYTES];
};

/* By a pattern of ICU's USet: [[:P:]&[:age=8.0:]]. */
struct character_set *character_set_new(const UChar *pattern);
void character_set_free(struct character_set *set);

static inline bool character_set_has(const struct character_set *set, int32_t character)
{
    return set->bits[character / 8] >> character % 8 & 1;
}

#endif
