/*
 * The records of some layers and cells, of any kind of stream that has layers: what else is in
 * the stream is passed over without being looked into, and where records are in order, which is
 * checked, reading stops when nothing more can come.
 *
 *   triggers, values         keys of these layers and cells, and what is made of each key
 *   activations              of each batch its tokens, and these layers, with these cells' columns
 *   sentences with keys      of each batch the sentences of these keys
 *   composition, refinement  these layers' sums
 */
#ifndef FFKV_SELECTION_H
#define FFKV_SELECTION_H

#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct selection;

/*
 * layers and cells: lists as cli_layers and cli_list have them; NULL: all.
 * A stream of a kind that has no layers or cells ends the program. The reader stays the caller's.
 */
struct selection *selection_new(struct stream_reader *reader, const char *layers, const char *cells);

/* The stream's header; where arrays have lost columns, it says how many they have and of which cells. */
const json_t *selection_header(const struct selection *selection);

/*
 * True: record holds the next one, as stream_next has it, with no more than was asked for. False:
 * nothing more can come; stream_trailer is NULL where what follows was not read.
 */
bool selection_next(struct selection *selection, struct record *record);

/*
 * Frees it. Where nothing was found, the program ends, with a message that says what was asked for, unless
 * the caller did not read on until selection_next was false.
 */
void selection_free(struct selection *selection);

#endif
