/* Tokens of single bytes as SentencePiece writes them, <0x00> to <0xFF>. */
#ifndef FFKV_BYTE_TOKENS_H
#define FFKV_BYTE_TOKENS_H

#include "text/vocabulary.h"

/* The token of a byte, or NO_TOKEN. */
uint32_t byte_token_find(const struct vocabulary *vocabulary, unsigned byte);

/* The byte of which a token's text is the name, or -1. */
int byte_token_value(struct span text);

#endif
