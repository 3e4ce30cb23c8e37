/* The suite's version and those of the libraries it was built with. */
#ifndef FFKV_VERSION_H
#define FFKV_VERSION_H

/* The release. Streams' histories have it, since equal results are to be equal bytes; not the commit. */
#define FFKV_VERSION "0.1.0"

/* Prints the answer to --version on standard output. */
void print_version(const char *tool);

#endif
