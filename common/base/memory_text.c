#include "base/memory_text.h"

#include "base/messages.h"

FILE *memory_text_open(char **text, size_t *length)
{
    FILE *out = open_memstream(text, length);
    if (!out)
        die("out of memory");
    return out;
}

void memory_text_close(FILE *out)
{
    bool failed = ferror(out);
    if (fclose(out) != 0 || failed)
        die("out of memory");
}
