/*
 * Records of any kind of stream as people read them: words in the place of tokens, layers from 1.
 * stream-cat(1) describes the output of each kind.
 */
#ifndef FFKV_RECORD_WORDS_H
#define FFKV_RECORD_WORDS_H

#include "text/tokenizer.h"

struct record_words;

/* header: the stream's, or what a selection makes of it. It and the others stay the caller's. */
struct record_words *record_words_new(const struct stream_reader *reader, const json_t *header,
                                      const struct tokenizer *tokenizer, size_t vocabulary);
void record_words_free(struct record_words *words);

/*
 * A record as an object. Its numbers keep their names. Arrays that have a row of each sentence, row,
 * trigger or change are one list under that name in the plural, an object each; other arrays of a
 * common dimension are a list of lists. A number that is out of range ends the program. The caller
 * frees it.
 */
json_t *record_words_json(struct record_words *words, const struct record *record);

#endif
