/* Text that is printed to memory, where all that can fail, for want of memory, ends the program. */
#ifndef FFKV_MEMORY_TEXT_H
#define FFKV_MEMORY_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* What is printed is *text, of *length bytes, when closed; the caller frees it. */
FILE *memory_text_open(char **text, size_t *length);
void memory_text_close(FILE *out);

#endif
