/* Which file a path leads to, whether there is one or not yet, and whether two paths lead to the same. */
#ifndef FFKV_SAME_FILE_H
#define FFKV_SAME_FILE_H

#include <stdbool.h>

/*
 * Where a chain of symbolic links ends, also when nothing is there: a file that is made
 * under this name is what the links then lead to. The caller frees it. A circle of links
 * ends the program.
 */
char *follow_links(const char *path);

/*
 * Whether what is written to one path is written to the other: one file by two names or
 * through links, or one that both would make. NULL is standard output. False for devices
 * such as /dev/null, in which nothing is lost.
 */
bool is_same_output(const char *a, const char *b);

/*
 * Whether what is written to output is what is read from input (NULL: standard input), or,
 * of a directory, from a file in it. False where one of them is no regular file.
 */
bool is_input(const char *output, const char *input);

#endif
