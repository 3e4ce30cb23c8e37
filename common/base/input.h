/* Bytes in: a file or standard input, plain or gzip-compressed. */
#ifndef FFKV_INPUT_H
#define FFKV_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input;

/*
 * Whether there is a file of this name. Only "no such file" is a no, and errno then tells why: when that
 * cannot be found out the program ends with a message, as what is optional must not be left out then.
 */
bool input_exists(const char *path);

/* The same for a file of a folder. */
bool input_exists_in(const char *folder, const char *name);

/* Opens path, or standard input for NULL. Ends the program when it cannot. */
struct input *input_open(const char *path);

/* Says what is waited for ("text") where the input is a terminal: somebody types, or has forgotten a file. */
void input_expect(const struct input *input, const char *what);

/*
 * Reads size bytes, fewer only at the end. Returns how many. A read error, compressed
 * data that are damaged or cut, what follows a member of gzip and is not another one,
 * and compression of another kind end the program with a message. At the end the file
 * is closed, so that no result of it has to wait for that.
 */
size_t input_read(struct input *input, void *buffer, size_t size);

/*
 * All bytes of a small file, which the caller frees. One of more than 64 MiB ends the program;
 * whose says what it cannot be then: "tokenizer's".
 */
char *input_read_all(const char *path, const char *whose, size_t *length);

/* Path or "standard input", for messages. */
const char *input_name(const struct input *input);

/*
 * Counts units of work ("tokens") that came from this input. On a terminal this
 * shows progress, rate and time left, where the input is a regular file: only
 * then is its size known, and in a pipeline only the first stage speaks.
 */
void input_count(struct input *input, uint64_t count, const char *unit);

void input_close(struct input *input);

#endif
