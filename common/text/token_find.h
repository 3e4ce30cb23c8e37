/* The token that is called by its text. */
#ifndef FFKV_TOKEN_FIND_H
#define FFKV_TOKEN_FIND_H

#include "base/cli.h"
#include "text/tokenizer.h"

/*
 * The token below vocabulary whose text, as tokenizer_text has it, is this one. A text that is none,
 * or that several tokens have, ends the program with status 2 and a message that begins with --option,
 * has the tokens that the text splits into, and names the token of the same text with or without a
 * blank before it, where there is one.
 */
uint32_t token_find(struct tokenizer *tokenizer, size_t vocabulary, const char *text, const char *option);

/* The option that says BOS, and what it says: a token, by its text, or none; NULL: as the model has it. */
#define OPTION_BOS(text)                                                                                \
    {0, "bos", "TOKEN", "what is read before each sentence, or none (default: as the model has it)",    \
     OPTION_TEXT, text, 0, 0, NULL}
uint32_t bos_find(struct tokenizer *tokenizer, const struct model_config *config, const char *text);

#endif
