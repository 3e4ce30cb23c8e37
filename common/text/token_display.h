/* What a token's text, as the vocabulary has it, stands for when it is read. */
#ifndef FFKV_TOKEN_DISPLAY_H
#define FFKV_TOKEN_DISPLAY_H

#include "text/pretokenize.h"
#include "text/text.h"
#include "text/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token_display {
    bool byte_characters;  /* texts are written in GPT-2's characters for bytes */
    bool byte_tokens;      /* <0x00> to <0xFF> are bytes */
    char mark[MARK_BYTES]; /* a character that stands for a space; "": none does */
    const char *prefix;    /* of tokens that do not begin a word; a space is before all others. NULL: none */
    const char *suffix;    /* of tokens that end a word, which stands for a space; NULL: none */
};

/*
 * The bytes that a row of tokens stands for, without a NUL; *length: how many. A special token is shown as
 * it is called, an id without a token as "<token N>". The caller frees them.
 */
char *token_display_row(const struct token_display *display, const struct vocabulary *vocabulary,
                        const uint32_t *tokens, size_t count, size_t *length);

/* The text with \xNN for each byte that is not UTF-8 or is NUL; the caller frees it. */
char *token_display_escape(struct span bytes);

#endif
