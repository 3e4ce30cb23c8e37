/*
 * A report's data on memories, in pieces that a page loads when they are needed:
 *   layer-L       {"tokens", "cell", "triggers", "coefficient", "confidence", "agree",
 *                 "top", "annotated"}: a list each, an element a memory
 *   memories-L-G  {"tokens", "memories"}: cells G * MEMORIES_A_PIECE and on
 *   tokens        {"token", "text", "value", "last", "anywhere", "pieces"}: a list each
 *   postings-P    [[value, last, anywhere]]: of each token of the piece three
 *                 lists of layer, cell, strength, strongest first
 * A memory whose key has several lists of triggers has in "list" the name of the first, and in "lists" the
 * others, {"list", "triggers", "top", "bottom"}; all else is of the first.
 * Layers count from 1 in the files' names and in postings. In a piece with "tokens" a
 * token is an index into that list of texts. Prefixes, and the lists of postings, are
 * texts of numbers with spaces between.
 */
#ifndef FFKV_REPORT_MEMORIES_H
#define FFKV_REPORT_MEMORIES_H

#include "report/report_tables.h"
#include "stream/records.h"
#include "text/tokenizer.h"

enum { MEMORIES_A_PIECE = 64 };

struct report_memories;

/* folder: where the files go. top: triggers shown of a key, of which alone all speaks. */
struct report_memories *report_memories_new(const char *folder, const struct tokenizer *tokenizer,
                                            size_t vocabulary, size_t top);

/*
 * Keys come by layer, then cell; this is a key's first list, and rank what it is of. Takes measures and
 * annotations, arrays of rows, over.
 */
void report_memories_add(struct report_memories *memories, const struct key_triggers *key, enum rank rank,
                         json_t *measures, json_t *annotations);

/* A further list of the key that was added last. */
void report_memories_add_list(struct report_memories *memories, const struct key_triggers *key,
                              enum rank rank);

/*
 * Writes what is left, and frees memories. Returns the layers that have memories:
 * [{"layer", from 1, "keys", "live"}].
 */
json_t *report_memories_finish(struct report_memories *memories);

#endif
