/*
 * The table of replacements that SentencePiece models normalize text by (precompiled_charsmap): a trie of
 * strings, as a double array of Darts, and what each becomes.
 *
 * Two programs use it in two ways. SentencePiece replaces the longest string of the table that it finds
 * at a place. The tokenizers library looks at a grapheme of less than six bytes as a whole, which becomes
 * what the shortest string that it begins with does; where there is none, and in longer ones, it does the
 * same with each character.
 */
#ifndef FFKV_CHARSMAP_H
#define FFKV_CHARSMAP_H

#include "text/text.h"

#include <stdint.h>

struct charsmap;

/* Copies the table. One that is damaged ends the program; where is for the message. */
struct charsmap *charsmap_new(struct span table, const char *where);

/* The same of a table in base64, as tokenizer.json has it. */
struct charsmap *charsmap_from_base64(const char *text, const char *where);
void charsmap_free(struct charsmap *charsmap);

/* The table's bytes, for hashes. */
struct span charsmap_table(const struct charsmap *charsmap);

/* The longest string of the table that text begins with: its length, and what it becomes; 0: none. */
size_t charsmap_longest(const struct charsmap *charsmap, struct span text, struct span *replacement);

/*
 * Text, which is UTF-8, as the tokenizers library normalizes it: text itself where nothing changes, or a
 * buffer that holds until the next call.
 */
struct span charsmap_normalize(struct charsmap *charsmap, struct span text);

#endif
