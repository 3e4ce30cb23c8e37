/* The token that is called by its text. */
#ifndef FFKV_TOKEN_FIND_H
#define FFKV_TOKEN_FIND_H

#include "text/tokenizer.h"

/*
 * The token below vocabulary whose text, as tokenizer_text has it, is this one. A text that is none,
 * or that several tokens have, ends the program with status 2 and a message that begins with --option,
 * has the tokens that the text splits into, and names the token of the same text with or without a
 * blank before it, where there is one.
 */
uint32_t token_find(struct tokenizer *tokenizer, size_t vocabulary, const char *text, const char *option);

#endif
