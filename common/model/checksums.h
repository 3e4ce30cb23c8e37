/*
 * A model directory may have a list of its files' sums, XXH128SUMS, as
 * `xxhsum -H2 FILE... > XXH128SUMS` writes and `xxhsum -c XXH128SUMS` checks it.
 * Where it is, each file that is read must be on it and have that sum.
 */
#ifndef FFKV_CHECKSUMS_H
#define FFKV_CHECKSUMS_H

#include "base/hash.h"

#define CHECKSUMS_NAME "XXH128SUMS"

struct checksums;

/* Reads the list of a directory. NULL: it has none. A list that is not valid ends the program. */
struct checksums *checksums_open(const char *directory);

/*
 * Ends the program when the file called name, of that sum, is not on the list or
 * has another sum there. checksums may be NULL: nothing is checked.
 */
void checksums_check(const struct checksums *checksums, const char *name,
                     const char sum[HASH_CHARACTERS + 1]);

void checksums_close(struct checksums *checksums);

/* The same for a small file of the directory, which is read for it. */
void checksums_check_file(const char *directory, const char *name);

/* A line of such a list, as a string to free. */
char *checksums_line(const char *name, const char sum[HASH_CHARACTERS + 1]);

#endif
