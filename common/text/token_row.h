/* Tokens in a row, in an array of the caller's that grows: what encoding appends to. */
#ifndef FFKV_TOKEN_ROW_H
#define FFKV_TOKEN_ROW_H

#include "base/messages.h"

#include <stddef.h>
#include <stdint.h>

struct token_row {
    uint32_t **tokens;
    size_t *capacity;
    size_t count;
};

/* Appends count tokens, which the caller sets. */
static inline uint32_t *token_row_add(struct token_row *row, size_t count)
{
    size_t room = row->count + count + 1; /* never full: there is an array, for no tokens too */
    *row->tokens = reserve_array(*row->tokens, row->capacity, room, sizeof **row->tokens);
    row->count += count;
    return *row->tokens + row->count - count;
}

#endif
