#include "text/byte_characters.h"

#include <stdbool.h>
#include <unicode/utf8.h>

static bool is_itself(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

enum {
    FIRST_ODD_CHARACTER = 0x100,
    LOW_ODD_BYTES = 0x21, /* 0 .. 0x20 */
    FIRST_HIGH_ODD_BYTE = 0x7F,
    LAST_ODD_BYTE = 0xAD, /* behind 0x7F .. 0xA0 */
    ODD_BYTES = 68,
};

static uint32_t character_of_byte(unsigned byte)
{
    if (is_itself(byte))
        return byte;
    return FIRST_ODD_CHARACTER + (byte < LOW_ODD_BYTES ? byte
                                  : byte == LAST_ODD_BYTE ? ODD_BYTES - 1
                                  : byte - FIRST_HIGH_ODD_BYTE + LOW_ODD_BYTES);
}

int byte_of_character(uint32_t character)
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

size_t byte_character_write(char *to, unsigned byte)
{
    size_t length = 0;
    U8_APPEND_UNSAFE((uint8_t *)to, length, character_of_byte(byte));
    return length;
}

struct span byte_characters_write(char *to, struct span text)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++)
        length += byte_character_write(to + length, (unsigned char)text.bytes[i]);
    return (struct span){to, length};
}
