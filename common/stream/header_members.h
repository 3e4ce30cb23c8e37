/*
 * What the header of a stream that is read says. What is missing, of another type, or out of
 * range ends the program; so each of these takes the reader, whose file and place the message
 * names.
 */
#ifndef FFKV_HEADER_MEMBERS_H
#define FFKV_HEADER_MEMBERS_H

#include "stream/stream_reader.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A number from 0 to most, or a text, under section and name ("model", "layers"; section NULL:
 * at the top). The text is the header's.
 */
uint64_t header_number(const struct stream_reader *reader, const char *section, const char *name,
                       uint64_t most);
const char *header_text(const struct stream_reader *reader, const char *section, const char *name);

/* tokenizer.bos, below vocabulary: the token that is read before each sentence. NO_TOKEN: there is none. */
uint32_t header_bos(const struct stream_reader *reader, size_t vocabulary);

/* The index, in words (NULL-terminated), of what the header says under name. */
int header_choice(const struct stream_reader *reader, const char *name, const char *const *words);

/* A list of rising numbers below bound, or all of 0 .. bound-1 where the header has null. Caller frees. */
size_t *header_list(const struct stream_reader *reader, const char *name, size_t bound, size_t *count);

#endif
