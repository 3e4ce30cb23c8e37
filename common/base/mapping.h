/*
 * A file as bytes in memory, for formats that are read at any place. Where another program
 * makes the file shorter while it is mapped, the bytes are gone: reading one ends the program,
 * with a message that names the file. So does the end of an output, where a file that is still
 * mapped was written to.
 */
#ifndef FFKV_MAPPING_H
#define FFKV_MAPPING_H

#include "base/hash.h"

#include <stddef.h>

struct mapping {
    const unsigned char *bytes;
    size_t size;
};

/*
 * Maps the regular file at path to be read. A file that cannot be opened, or one
 * of fewer bytes than least (at least 1), which cannot be of that format, ends
 * the program. From the main thread, as the other two.
 */
struct mapping mapping_open(const char *path, size_t least, const char *format);

/* The same of a descriptor, which stays the caller's, of path's size bytes. */
struct mapping mapping_make(int descriptor, const char *path, size_t size);
void mapping_close(struct mapping *mapping);

/*
 * Bytes of a mapping no longer count as memory of this program until they are read again. Programs that
 * read files larger than memory call it; the system may keep the bytes for others as it likes.
 */
void mapping_drop_pages(const void *bytes, size_t size);

/* Adds bytes of a mapping to a hash, and to own, unless that is NULL; their pages are dropped on the way. */
void mapping_hash(const void *bytes, size_t size, struct hash *hash, struct hash *own);

/*
 * Ends the program when a file that is mapped now was written to since.
 * Called before an output is complete.
 */
void mappings_check(void);

#endif
