/*
 * A fuzzer of what reads GGUF files: opens one, or the first part of a split model, asks
 * every key for every type and every tensor for its numbers, then reads its config and its
 * tokenizer, and hashes it.
 */
#include "formats/gguf.h"
#include "fuzz.h"
#include "model/config.h"
#include "model/gguf_config.h"
#include "text/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPES = 8, TOKENIZERS = 3, MAX_ELEMENTS = 1 << 16 };

/* One question to a file. */
struct question {
    const struct gguf *file;
    const char *name; /* of a key or tensor */
    int type;
    const char *path;
};

static void get(void *context)
{
    const struct question *question = context;
    const struct gguf *file = question->file;
    const char *key = question->name;
    size_t count;
    switch (question->type) {
    case 0: gguf_text(file, key); break;
    case 1: free(gguf_word(file, key)); break;
    case 2: gguf_uint(file, key, 0, UINT64_MAX); break;
    case 3: gguf_real(file, key); break;
    case 4: gguf_bool(file, key); break;
    case 5: free(gguf_texts(file, key, &count)); break;
    case 6: free(gguf_ints(file, key, &count)); break;
    default: free(gguf_floats(file, key, &count)); break;
    }
}

static void read_tensor(void *context)
{
    static float values[MAX_ELEMENTS];
    const struct question *question = context;
    size_t length[GGUF_DIMENSIONS];
    gguf_format(question->file, question->name, length);
    const struct tensor_shape shape = {length[2], length[1], length[0]};
    if (length[0] && length[1] <= MAX_ELEMENTS / length[0]
        && length[2] <= MAX_ELEMENTS / length[0] / (length[1] ? length[1] : 1)) {
        gguf_map(question->file, question->name, shape);
        gguf_read(question->file, question->name, shape, values);
    }
}

static void read_config(void *context)
{
    const struct question *question = context;
    struct model_config config =
        config_parse(question->path, gguf_config(question->file, question->path), "metadata");
    config_free(&config);
}

static void read_tokenizer(void *context)
{
    const struct question *question = context;
    switch (question->type) {
    case 0: subword_free(gguf_subword(question->file, question->path, &(struct stated_bos){0})); break;
    case 1: sentencepiece_free(gguf_pieces(question->file, question->path, PIECE_MODEL_BPE)); break;
    default: sentencepiece_free(gguf_pieces(question->file, question->path, PIECE_MODEL_UNIGRAM)); break;
    }
}

/* Writes an input; its path. What begins as several files do is parts of a split model. */
static const char *write_input(const uint8_t *bytes, size_t size)
{
    static const char *const parts[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", NULL};
    static char first[4096];
    if (size < 3 || memcmp(bytes, "%% ", 3) != 0)
        return fuzz_file("model.gguf", bytes, size);
    fuzz_files(bytes, size, parts);
    snprintf(first, sizeof first, "%s/%s", fuzz_folder(), parts[0]);
    return first;
}

static void hash_all(const struct gguf *file)
{
    char text[HASH_CHARACTERS + 1];
    struct hash *hash = hash_new();
    gguf_hash(file, hash);
    hash_finish(hash, text);
}

static void ask(const uint8_t *bytes, size_t size)
{
    const char *path = write_input(bytes, size);
    struct gguf *file = gguf_open(path);
    struct question question = {.file = file, .path = path};
    for (size_t i = 0; i < gguf_keys(file); i++)
        for (question.type = 0; question.type < TYPES; question.type++) {
            question.name = gguf_key(file, i);
            fuzz_try(get, &question);
        }
    for (size_t i = 0; i < gguf_tensors(file); i++) {
        question.name = gguf_tensor(file, i);
        fuzz_try(read_tensor, &question);
    }
    fuzz_try(read_config, &question);
    for (question.type = 0; question.type < TOKENIZERS; question.type++)
        fuzz_try(read_tokenizer, &question);
    hash_all(file);
    gguf_close(file);
}

const struct fuzzer fuzzer = {ask, NULL, 1 << 23, 32}; /* BPE has a cache of 4 MiB */
