/* Which tokens are common words: by a list, or by their number in a text. */
#ifndef FFKV_STOP_WORDS_H
#define FFKV_STOP_WORDS_H

#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of each token of the vocabulary whether its text, without blanks around it and in small
 * letters (A to Z), is a line of the file; "#" begins a comment. The caller frees the array.
 */
bool *stop_words_read(const char *path, const struct tokenizer *tokenizer, size_t vocabulary);

/* Of each token whether it is one of the count most frequent ones that occur; equal ones: the lower first. */
bool *frequent_tokens(const uint64_t *token_counts, size_t vocabulary, size_t count);

#endif
