/*
 * Normalization of text as the tokenizers library does it: a list of steps, each of which works on what
 * the one before it made.
 */
#ifndef FFKV_NORMALIZER_H
#define FFKV_NORMALIZER_H

#include "base/hash.h"
#include "text/character_edits.h"
#include "text/charsmap.h"
#include "text/normal_form.h"
#include "text/pattern.h"
#include "text/text.h"

#include <stdbool.h>

struct normalizer;

/* Without steps: text stays as it is. */
struct normalizer *normalizer_new(void);
void normalizer_free(struct normalizer *normalizer);

/* Each adds a step. */
void normalizer_add_form(struct normalizer *normalizer, enum normal_form form);
void normalizer_add_edit(struct normalizer *normalizer, enum character_edit edit);

/* Puts something before every text that is not empty. */
void normalizer_add_prepend(struct normalizer *normalizer, struct span content);

/* Puts content in place of each match of the pattern, which is the normalizer's from now on. */
void normalizer_add_replace(struct normalizer *normalizer, struct pattern *pattern, struct span content);

/* Takes white space away at the text's ends. */
void normalizer_add_strip(struct normalizer *normalizer, bool left, bool right);

/* Puts in what a table of SentencePiece has; it is the normalizer's from now on. */
void normalizer_add_charsmap(struct normalizer *normalizer, struct charsmap *charsmap);

/* Writes the text in GPT-2's characters for bytes. */
void normalizer_add_byte_characters(struct normalizer *normalizer);

/* Whether the steps are just these: none, or form C. */
bool normalizer_is_empty(const struct normalizer *normalizer);
bool normalizer_is_form_c(const struct normalizer *normalizer);

/* Whether a step writes the text in GPT-2's characters for bytes. */
bool normalizer_writes_bytes(const struct normalizer *normalizer);

/* Whether a step puts something before the text. */
bool normalizer_prepends(const struct normalizer *normalizer);

/* The one character that a step puts in place of each space, or NULL. */
const char *normalizer_space(const struct normalizer *normalizer);

/*
 * Text, which is UTF-8 of less than 2^28 bytes, as the steps make it: itself where it does not change, or a
 * buffer that holds until the next call. *at_start, unless NULL, becomes false where the beginning of the
 * text has been dropped.
 */
struct span normalizer_apply(struct normalizer *normalizer, struct span text, bool *at_start);

/* Adds the steps to the hash; nothing where there are none but form C. */
void normalizer_hash(const struct normalizer *normalizer, struct hash *hash);

#endif
