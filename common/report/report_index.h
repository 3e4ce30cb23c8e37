/*
 * A report's index of tokens: the values among whose most probable tokens one is, and
 * the keys with triggers that end with it or contain it. Memory: POSTINGS_A_TOKEN
 * places of each of the three kinds for each token, 12 bytes each.
 */
#ifndef FFKV_REPORT_INDEX_H
#define FFKV_REPORT_INDEX_H

#include "stream/records.h"
#include "text/token_texts.h"

enum { POSTINGS_A_TOKEN = 200 };

struct report_index;

struct report_index *report_index_new(size_t vocabulary);

/* Keys come by layer, then cell; of each the first count triggers. */
void report_index_add(struct report_index *index, const struct key_triggers *key, size_t count);

/* Writes the pieces tokens and postings-P, see common/report/report_memories.h. Frees index. */
void report_index_finish(struct report_index *index, const char *folder, struct token_texts *texts);

#endif
