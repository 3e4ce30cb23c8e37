/*
 * Text in: sentences of a file, and the words of a sentence. Text is UTF-8;
 * anything else ends the program with the line's number.
 */
#ifndef FFKV_TEXT_H
#define FFKV_TEXT_H

#include "base/input.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum text_mode {
    TEXT_LINES,    /* a line is a sentence of words between white space; blank lines are none */
    TEXT_WIKITEXT, /* headings are skipped; a sentence ends with a token . ! or ?, and what closes it */
    TEXT_RAW,      /* paragraphs between blank lines; sentences and words as ICU finds them */
    TEXT_PROMPTS,  /* a line, as it is, is a prompt */
    TEXT_PROMPT,   /* all of the text is one, but for the end of its last line */
};

/* Bytes that belong to somebody else. */
struct span {
    const char *bytes;
    size_t length;
};

struct text_reader;

/*
 * language: of raw text, as ISO 639 calls it ("en"); its abbreviations, as far as ICU has them, end no
 * sentence. NULL in the other modes.
 */
struct text_reader *text_open(const char *path, enum text_mode mode, const char *language);

/* Whether a text is UTF-8. */
bool text_is_utf8(struct span text);

/* Whether there is such a language. */
bool text_is_language(const char *language);

/* True: sentence holds the next one, until the next call. False: the end. */
bool text_next(struct text_reader *reader, struct span *sentence);

/* The same text without white space at its ends. */
struct span text_strip(struct span text);

/* The words of a sentence, in an array that holds until the next call. */
const struct span *text_words(struct text_reader *reader, struct span sentence, size_t *count);

/* The line that was read last, from 1. */
uint64_t text_line(const struct text_reader *reader);
struct input *text_input(const struct text_reader *reader);

void text_close(struct text_reader *reader);

#endif
