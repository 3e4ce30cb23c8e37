/* Unicode's normalization forms, as the tokenizers library has them. */
#ifndef FFKV_NORMAL_FORM_H
#define FFKV_NORMAL_FORM_H

#include "text/text.h"

enum normal_form {
    FORM_C,  /* composed */
    FORM_D,  /* decomposed */
    FORM_KC, /* the same of compatible characters */
    FORM_KD,
};

struct form_writer;

struct form_writer *form_writer_new(enum normal_form form);
void form_writer_free(struct form_writer *writer);

/*
 * Text, which is UTF-8 of less than 2^28 bytes, in the form: text itself when it
 * is so, or a buffer that holds until the next call.
 */
struct span form_write(struct form_writer *writer, struct span text);

#endif
