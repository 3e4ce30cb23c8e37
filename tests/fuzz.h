/*
 * What the fuzzers share: coverage-guided ones by LLVM's libFuzzer, of the readers
 * of what comes from outside. Each is a file tests/fuzz-NAME.c that defines
 * `fuzzer`; make fuzz builds and runs them all, with seeds.
 *
 * Readers end the program when they refuse something. Here die() formats its
 * message and jumps back instead, and what was allocated until then is freed.
 * Findings are what the sanitizers report, an allocation out of proportion to the
 * input, memory that is left when all was read and closed, and an input that
 * takes too long.
 */
#ifndef FFKV_FUZZ_H
#define FFKV_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzzer {
    void (*read)(const uint8_t *bytes, size_t size); /* reads one input, and closes what it opened */
    void (*prepare)(void);   /* has libraries fill their caches, which stay; NULL: none */
    size_t overhead, multiple; /* no allocation is of more than overhead + multiple x size bytes */
};

extern const struct fuzzer fuzzer;

/* Calls work(context). False when something was refused: what it allocated is free again. */
bool fuzz_try(void (*work)(void *context), void *context);

/* The folder that inputs are written to as files. */
const char *fuzz_folder(void);

/* Writes a file of the folder; its path, until the next call. */
const char *fuzz_file(const char *name, const uint8_t *bytes, size_t size);

/*
 * Writes an input that is several files: before each stands a line "%% NAME".
 * Those called one of names (NULL-terminated) are written, other files of these
 * names removed.
 */
void fuzz_files(const uint8_t *bytes, size_t size, const char *const *names);

#endif
