/* A fuzzer of what reads SentencePiece's tokenizer.model; encodes a file "text", and reads the tokens. */
#include "base/input.h"
#include "fuzz.h"
#include "text/sentencepiece.h"

#include <stdio.h>
#include <stdlib.h>

static void encode(struct sentencepiece *pieces, struct span text)
{
    uint32_t *tokens = NULL;
    size_t capacity = 0, count = sentencepiece_encode(pieces, text, &tokens, &capacity);
    for (size_t i = 0; i < count; i++)
        if (tokens[i] >= sentencepiece_size(pieces))
            abort();
    free(sentencepiece_text(pieces, tokens, count));
    free(tokens);
}

static void read_model(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json", "text", NULL};
    char path[5000];
    fuzz_files(bytes, size, names);
    struct sentencepiece *pieces = sentencepiece_read_folder(fuzz_folder());
    snprintf(path, sizeof path, "%s/text", fuzz_folder());
    if (!pieces)
        return;
    struct span text = {0};
    text.bytes = input_read_all(path, "text's", &text.length);
    encode(pieces, text);
    free((void *)(uintptr_t)text.bytes);
    sentencepiece_free(pieces);
}

const struct fuzzer fuzzer = {read_model, NULL, 1 << 23, 512}; /* a cache of 4 MiB; pieces of a few bytes */
