/*
 * A fuzzer of what reads byte-level BPE: a folder with tokenizer.json, or
 * vocab.json, merges.txt and special_tokens_map.json; encodes the lines of a file
 * "text" there, and reads the tokens.
 */
#include "fuzz.h"
#include "text/normalize.h"
#include "text/text.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { VOCABULARY = 1 << 12 };

static void encode(struct tokenizer *tokenizer, struct text_reader *reader)
{
    uint32_t *tokens = NULL;
    size_t capacity = 0;
    struct span sentence;
    while (text_next(reader, &sentence)) {
        size_t count = tokenizer_encode(tokenizer, reader, sentence, &tokens, &capacity);
        for (size_t i = 0; i < count; i++)
            if (tokens[i] >= VOCABULARY)
                abort();
        free(tokenizer_text(tokenizer, tokens, count));
    }
    free(tokens);
}

static void read_folder(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json",
                                        "text", NULL};
    char path[4096];
    fuzz_files(bytes, size, names);
    struct model_config config = {.path = strcpy(path, fuzz_folder()), .vocabulary = VOCABULARY, .unknown = NO_TOKEN};
    struct tokenizer *tokenizer = tokenizer_read(&config);
    struct text_reader *reader = text_open(strcat(path, "/text"), TEXT_LINES, NULL);
    encode(tokenizer, reader);
    text_close(reader);
    tokenizer_free(tokenizer);
}

/* ICU keeps what it has read of its tables. */
static void prepare(void)
{
    static const char accented[] = "e\xcc\x81";
    struct normalizer *normalizer = normalizer_new();
    normalize(normalizer, (struct span){accented, sizeof accented - 1});
    normalizer_free(normalizer);
}

const struct fuzzer fuzzer = {read_folder, prepare, 1 << 23, 64}; /* BPE has a cache of 4 MiB */
