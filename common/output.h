/*
 * Bytes out: standard output, or a file that appears under its name only when
 * it is complete. Until then its bytes are in a temporary file beside it, which
 * goes away when the program fails or is interrupted.
 */
#ifndef FFKV_OUTPUT_H
#define FFKV_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct output;

enum output_form {
    OUTPUT_TEXT,
    OUTPUT_BINARY,     /* refused on a terminal */
    OUTPUT_GZIP,       /* binary, compressed */
};

/* Opens path, or standard output for NULL and "-". Ends the program when it cannot. */
struct output *output_open(const char *path, enum output_form form);

/*
 * Appends bytes. An error ends the program: with a message, or without one when
 * the reader of a pipe has gone.
 */
void output_write(struct output *output, const void *bytes, size_t size);

/* Writes what is left, closes, and gives the file its name. Frees output. */
void output_finish(struct output *output);

#endif
