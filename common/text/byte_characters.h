/*
 * GPT-2's characters for bytes, in which byte-level tokenizers write their tokens: printable ones of
 * Latin-1 stand for themselves, the others are U+0100 and up, in their order.
 */
#ifndef FFKV_BYTE_CHARACTERS_H
#define FFKV_BYTE_CHARACTERS_H

#include "text/text.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes that the character of a byte takes in UTF-8, at most. */
enum { BYTE_CHARACTER_BYTES = 2 };

/* Writes the character of a byte as UTF-8; how many bytes it has. */
size_t byte_character_write(char *to, unsigned byte);

/* The text with a character for each byte of it; to has room for BYTE_CHARACTER_BYTES times its length. */
struct span byte_characters_write(char *to, struct span text);

/* The byte that a character stands for, or -1. */
int byte_of_character(uint32_t character);

#endif
