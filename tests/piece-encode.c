/*
 * piece-encode: SentencePiece by itself, for the tests. Reads texts that end with a NUL byte, and prints
 * each one's tokens on a line. The model: tokenizer.model, or a GGUF file, of whose metadata it is.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "formats/gguf.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *input;
    bool unigram, lines, text, about;
};

static struct sentencepiece *read_model(const struct options *options, const char *path)
{
    if (!ends_with(path, ".gguf"))
        return sentencepiece_read(path);
    struct gguf *file = gguf_open(path);
    struct sentencepiece *pieces =
        gguf_pieces(file, path, options->unigram ? PIECE_MODEL_UNIGRAM : PIECE_MODEL_BPE);
    gguf_close(file);
    return pieces;
}

static void print(const struct options *options, const struct sentencepiece *pieces, const uint32_t *tokens,
                  size_t count)
{
    char *text = options->text ? sentencepiece_text(pieces, tokens, count) : NULL;
    for (size_t i = 0; i < count && !text; i++)
        printf(i ? " %u" : "%u", tokens[i]);
    printf("%s\n", text ? text : "");
    free(text);
}

/* Encodes every text; with lines, whose tokens are not printed, how many tokens there are and how fast. */
static void encode(const struct options *options, struct sentencepiece *pieces)
{
    size_t length, capacity = 0, total = 0;
    char *bytes = input_read_all(options->input, "texts'", &length), *at = bytes;
    uint32_t *tokens = NULL;
    clock_t start = clock();
    while (at < bytes + length) {
        size_t rest = (size_t)(bytes + length - at);
        const char *end = memchr(at, options->lines ? '\n' : '\0', rest);
        size_t size = end ? (size_t)(end - at) : rest;
        size_t count = sentencepiece_encode(pieces, (struct span){at, size}, &tokens, &capacity);
        if (!options->lines)
            print(options, pieces, tokens, count);
        total += count;
        at += size + (end != NULL);
    }
    if (options->lines)
        printf("%zu tokens, %.1f MB/s\n", total,
               1e-6 * (double)length / ((double)(clock() - start) / CLOCKS_PER_SEC));
    free(tokens);
    free(bytes);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {'i', "input", "FILE", "the texts", OPTION_TEXT, &options.input, 0, 0, NULL},
        {0, "unigram", NULL, "the GGUF file's model is a unigram one", OPTION_FLAG, &options.unigram, 0, 0,
         NULL},
        {0, "lines", NULL, "texts are lines; print no tokens, but the speed", OPTION_FLAG, &options.lines, 0,
         0, NULL},
        {0, "text", NULL, "print what the tokens read", OPTION_FLAG, &options.text, 0, 0, NULL},
        {0, "about", NULL, "print the model's id, size, and which tokens can follow", OPTION_FLAG,
         &options.about, 0, 0, NULL},
        OPTION_END,
    };
    const struct tool tool = {"piece-encode", "Encodes texts.", "MODEL", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (first == argc)
        die_usage("a model is needed");
    struct sentencepiece *pieces = read_model(&options, argv[first]);
    if (options.about) {
        printf("%s %zu ", sentencepiece_id(pieces), sentencepiece_size(pieces));
        for (uint32_t i = 0; i < sentencepiece_size(pieces); i++)
            putchar(sentencepiece_can_follow(pieces, i) ? '1' : '0');
        putchar('\n');
    } else if (options.input) {
        encode(&options, pieces);
    }
    sentencepiece_free(pieces);
    return STATUS_DONE;
}
