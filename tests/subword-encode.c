/*
 * subword-encode: subword tokenizers by themselves, for the tests. Reads texts that end with
 * a line feed, or with a NUL byte (-0), and prints each one's tokens on a line.
 *
 * The tokenizer: tokenizer.json; or with --folder a folder of a model of this type;
 * or with --metadata a JSON object {tokens, types, merges, pre}, as in a GGUF file.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "text/subword.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *folder, *input;
    bool metadata, nul, text, about, candidates;
    uint64_t rounds;
};

static struct span *spans(const json_t *list, size_t *count)
{
    *count = json_array_size(list);
    struct span *texts = new_array(*count, sizeof *texts);
    for (size_t i = 0; i < *count; i++) {
        const json_t *text = json_array_get(list, i);
        texts[i] = (struct span){json_string_value(text), json_string_length(text)};
    }
    return texts;
}

static struct subword_tokenizer *from_metadata(const char *path)
{
    json_t *file = json_load_file(path, 0, NULL);
    const json_t *type_list = json_object_get(file, "types");
    struct subword_metadata metadata = {.pre = json_string_value(json_object_get(file, "pre"))};
    struct span *tokens = spans(json_object_get(file, "tokens"), &metadata.token_count);
    struct span *merges = spans(json_object_get(file, "merges"), &metadata.merge_count);
    int32_t *types = new_array(metadata.token_count, sizeof *types);
    for (size_t i = 0; i < json_array_size(type_list); i++)
        types[i] = (int32_t)json_integer_value(json_array_get(type_list, i));
    metadata.tokens = tokens;
    metadata.merges = merges;
    metadata.types = type_list ? types : NULL;
    struct subword_tokenizer *tokenizer = subword_from_metadata(path, &metadata);
    free(tokens);
    free(merges);
    free(types);
    json_decref(file);
    return tokenizer;
}

static struct subword_tokenizer *read_tokenizer(const struct options *options, const char *path)
{
    if (options->metadata)
        return from_metadata(path);
    if (!options->folder)
        return subword_read_json(path);
    struct subword_tokenizer *tokenizer = subword_read_folder(path, options->folder);
    if (!tokenizer)
        die("%s: no tokenizer", path);
    return tokenizer;
}

static struct span read_all(const char *path)
{
    enum { STEP = 1 << 20 };
    struct input *input = input_open(path);
    char *bytes = NULL;
    size_t length = 0;
    for (size_t got = 1; got; length += got) {
        bytes = grow_array(bytes, length + STEP, 1);
        got = input_read(input, bytes + length, STEP);
    }
    input_close(input);
    return (struct span){bytes, length};
}

static void print(const struct options *options, const struct subword_tokenizer *tokenizer,
                  const uint32_t *tokens, size_t count)
{
    char *text = options->text ? subword_text(tokenizer, tokens, count) : NULL;
    for (size_t i = 0; i < count && !text; i++)
        printf(i ? " %u" : "%u", tokens[i]);
    printf("%s%c", text ? text : "", options->nul && text ? '\0' : '\n');
    free(text);
}

/* Encodes every text of the input; the number of tokens. */
static size_t encode(const struct options *options, struct subword_tokenizer *tokenizer, struct span input,
                     bool quiet)
{
    uint32_t *tokens = NULL;
    size_t capacity = 0, total = 0;
    while (input.length) {
        const char *end = memchr(input.bytes, options->nul ? '\0' : '\n', input.length);
        struct span text = {input.bytes, end ? (size_t)(end - input.bytes) : input.length};
        size_t used = text.length + (end != NULL);
        size_t count = subword_encode(tokenizer, text, &tokens, &capacity);
        if (!quiet)
            print(options, tokenizer, tokens, count);
        total += count;
        input = (struct span){input.bytes + used, input.length - used};
    }
    free(tokens);
    return total;
}

/* This process's own time, on which other work on the machine has little influence. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void measure(const struct options *options, struct subword_tokenizer *tokenizer, struct span input)
{
    for (uint64_t i = 0; i < options->rounds; i++) {
        double start = now();
        size_t tokens = encode(options, tokenizer, input, true);
        printf("%zu tokens, %.1f MB/s\n", tokens, 1e-6 * (double)input.length / (now() - start));
    }
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {0, "folder", "TYPE", "the tokenizer is that of a folder of a model of this type", OPTION_TEXT,
         &options.folder, 0, 0, NULL},
        {0, "metadata", NULL, "the tokenizer is metadata of a GGUF file, as JSON", OPTION_FLAG,
         &options.metadata, 0, 0, NULL},
        {'i', "input", "FILE", "the texts (default: standard input)", OPTION_TEXT, &options.input, 0, 0,
         NULL},
        {'0', "nul", NULL, "texts end with a NUL byte, and so does what --text prints", OPTION_FLAG,
         &options.nul, 0, 0, NULL},
        {0, "text", NULL, "print what the tokens read", OPTION_FLAG, &options.text, 0, 0, NULL},
        {0, "candidates", NULL, "print the tokens that a text can have, nothing else", OPTION_FLAG,
         &options.candidates, 0, 0, NULL},
        {0, "about", NULL, "print the tokenizer's id and size, nothing else", OPTION_FLAG, &options.about, 0,
         0, NULL},
        {0, "rounds", "N", "print no tokens, but the speed, N times", OPTION_NUMBER, &options.rounds, 0, 1000,
         NULL},
        OPTION_END,
    };
    const struct tool tool = {"subword-encode", "Encodes texts.", "TOKENIZER", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (first == argc)
        die_usage("a tokenizer is needed");
    struct subword_tokenizer *tokenizer = read_tokenizer(&options, argv[first]);
    if (options.about) {
        printf("%s %zu\n", subword_id(tokenizer), subword_size(tokenizer));
    } else if (options.candidates) {
        for (uint32_t id = 0; id < subword_size(tokenizer); id++)
            if (subword_can_follow(tokenizer, id))
                printf("%u\n", id);
    } else {
        struct span input = read_all(options.input);
        if (options.rounds)
            measure(&options, tokenizer, input);
        else
            encode(&options, tokenizer, input, false);
        free((void *)(uintptr_t)input.bytes);
    }
    subword_free(tokenizer);
    return STATUS_DONE;
}
