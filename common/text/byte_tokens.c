#include "text/byte_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = sizeof "<0xFF>" - 1, DIGITS_AT = sizeof "<0x" - 1, BASE = 16 };

uint32_t byte_token_find(const struct vocabulary *vocabulary, unsigned byte)
{
    char name[NAME_BYTES + 1];
    snprintf(name, sizeof name, "<0x%02X>", byte & 0xff);
    return vocabulary_find_text(vocabulary, name);
}

int byte_token_value(struct span text)
{
    static const char digits[] = "0123456789ABCDEF";
    if (text.length != NAME_BYTES || memcmp(text.bytes, "<0x", DIGITS_AT)
        || text.bytes[NAME_BYTES - 1] != '>')
        return -1;
    const char *high = memchr(digits, text.bytes[DIGITS_AT], BASE);
    const char *low = memchr(digits, text.bytes[DIGITS_AT + 1], BASE);
    return high && low ? (int)((high - digits) * BASE + (low - digits)) : -1;
}
