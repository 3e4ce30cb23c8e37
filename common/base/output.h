/*
 * Bytes out: standard output, or a file that appears under its name only when
 * it is complete. Until then its bytes are in a temporary file beside it, which
 * goes away when the program fails or is interrupted. So does a directory of files.
 * A file that is replaced keeps its mode, a symbolic link stays one.
 */
#ifndef FFKV_OUTPUT_H
#define FFKV_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct output;

/*
 * The outputs that the command line names (NULL and "-": standard output), which appear
 * together: each must be opened by the same name, and the files take their names when the
 * last of all is finished. One that is named twice, or that is among the inputs (NULL and
 * "-": standard input), is wrong usage. cli_parse calls this; other outputs, such as those
 * in a directory, appear by themselves.
 */
void outputs_declare(const char *const *outputs, size_t count, const char *const *inputs, size_t input_count);

enum output_form {
    OUTPUT_TEXT,
    OUTPUT_BINARY,     /* refused on a terminal */
    OUTPUT_GZIP,       /* binary, compressed */
};

/* Opens path, or standard output for NULL and "-". Ends the program when it cannot. */
struct output *output_open(const char *path, enum output_form form);

/*
 * Appends bytes. The last ones stay with output until it is finished, so that a pipe's reader
 * does not have all before that. An error ends the program: with a message, or without one
 * when the reader of a pipe has gone.
 */
void output_write(struct output *output, const void *bytes, size_t size);

/* Hands on what was appended, of a text that is read while it grows. */
void output_flush(struct output *output);

/*
 * Ends the program when a file that is mapped now was written to since (mapping.h). Else writes
 * what is left, closes, and gives the file its name, or, where it is one of those that appear
 * together, when the last of them is finished. Frees output. Of a stream in a pipe this must be
 * the last thing that can fail: the next stage has the trailer then.
 */
void output_finish(struct output *output);

/*
 * A directory that appears under its name only when complete; one at a time.
 * What is opened by output_open below output_directory_place, a temporary
 * directory beside it, goes into it.
 */
struct output_directory;

/* Ends the program when something of that name exists, or when it cannot be made. */
struct output_directory *output_directory_open(const char *path);
const char *output_directory_place(const struct output_directory *directory);

/* Makes a folder in it; its path below output_directory_place, which the caller frees. */
char *output_directory_folder(const struct output_directory *directory, const char *name);

/* All files in it must be finished. Gives the directory its name and frees it. */
void output_directory_finish(struct output_directory *directory);

#endif
