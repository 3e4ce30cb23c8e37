/* A fuzzer of what reads fairseq's dict.txt; looks its words up, and reads them. */
#include "fuzz.h"
#include "text/dictionary.h"

#include <stdlib.h>
#include <string.h>

enum { VOCABULARY = 40, UNKNOWN = 3 };

static void read_dictionary(const uint8_t *bytes, size_t size)
{
    struct dictionary *dictionary =
        dictionary_read_file(fuzz_file("dict.txt", bytes, size), VOCABULARY, UNKNOWN);
    for (uint32_t i = 0; i < dictionary->size; i++) {
        char *text = dictionary_text(dictionary, &i, 1);
        if (dictionary_find(dictionary, text, strlen(text)) != i)
            abort();
        free(text);
    }
    dictionary_free(dictionary);
}

const struct fuzzer fuzzer = {read_dictionary, NULL, 1 << 19, 64}; /* zlib has buffers of 256 KiB */
