/* A file as bytes in memory, for formats that are read at any place. */
#ifndef FFKV_MAPPING_H
#define FFKV_MAPPING_H

#include <stddef.h>

struct mapping {
    const unsigned char *bytes;
    size_t size;
};

/*
 * Maps the regular file at path to be read. A file that cannot be opened, or one
 * of fewer bytes than least (at least 1), which cannot be of that format, ends
 * the program.
 */
struct mapping mapping_open(const char *path, size_t least, const char *format);
void mapping_close(struct mapping *mapping);

#endif
