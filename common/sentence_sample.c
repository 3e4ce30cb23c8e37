#include "sentence_sample.h"

#include "hash.h"
#include "messages.h"
#include "records.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SENTENCES = 10000 };

struct sentence {
    uint64_t number, id; /* its random number; its place in the corpus */
    uint32_t length, *token;
    size_t used_by;      /* the last key that was given a prefix of it, counted from 1 */
};

struct sentence_sample {
    uint64_t seed;
    struct sentence *sentences;  /* while reading up to twice as many as are kept; then the shortest first */
    size_t count;
    size_t keys;                 /* that were given prefixes, the one at hand among them */
};

static int by_random_number(const void *a, const void *b)
{
    const struct sentence *left = a, *right = b;
    if (left->number != right->number)
        return left->number < right->number ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

static int by_length(const void *a, const void *b)
{
    const struct sentence *left = a, *right = b;
    if (left->length != right->length)
        return left->length < right->length ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* Keeps the sentences of the lowest random numbers. */
static void thin_out(struct sentence_sample *sample)
{
    if (sample->count <= MOST_SENTENCES)
        return;
    qsort(sample->sentences, sample->count, sizeof *sample->sentences, by_random_number);
    while (sample->count > MOST_SENTENCES)
        free(sample->sentences[--sample->count].token);
}

static void add_sentences(struct sentence_sample *sample, const struct batch *batch)
{
    const uint32_t *token = batch->token;
    for (size_t s = 0; s < batch->sentences; token += batch->length[s], s++) {
        if (sample->count == 2 * MOST_SENTENCES)
            thin_out(sample);
        struct sentence sentence = {random_number(sample->seed, batch->id + s, 0), batch->id + s,
                                    batch->length[s], new_array(batch->length[s], sizeof(uint32_t)), 0};
        memcpy(sentence.token, token, batch->length[s] * sizeof *token);
        sample->sentences[sample->count++] = sentence;
    }
}

struct sentence_sample *sentence_sample_read(const char *path, const struct stream_reader *like, size_t vocabulary,
                                             uint64_t seed)
{
    struct stream_reader *reader = stream_open(path, "tokens");
    if (strcmp(header_text(reader, "tokenizer", "id"), header_text(like, "tokenizer", "id")))
        stream_fail(reader, "made with another tokenizer than the triggers");
    struct sentence_sample *sample = new_array(1, sizeof *sample);
    *sample = (struct sentence_sample){.seed = seed};
    sample->sentences = new_array(2 * MOST_SENTENCES, sizeof *sample->sentences);
    struct record record;
    while (stream_next(reader, &record)) {
        struct batch batch = batch_read(&record, vocabulary);
        add_sentences(sample, &batch);
        batch_free(&batch);
    }
    if (!sample->count)
        stream_fail(reader, "there is no sentence in it");
    thin_out(sample);
    qsort(sample->sentences, sample->count, sizeof *sample->sentences, by_length);
    stream_close(reader);
    return sample;
}

void sentence_sample_free(struct sentence_sample *sample)
{
    for (size_t i = 0; i < sample->count; i++)
        free(sample->sentences[i].token);
    free(sample->sentences);
    free(sample);
}

/* The first sentence with more than length tokens, so that a next token follows; the longest where there is none. */
static size_t first_longer(const struct sentence_sample *sample, size_t length)
{
    size_t low = 0, high = sample->count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sample->sentences[middle].length > length)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* One of more than length tokens, by a random number, that the key at hand has not had, as long as there is one. */
static const struct sentence *draw_sentence(const struct sentence_sample *sample, size_t length, uint64_t random)
{
    size_t first = first_longer(sample, length), choices = sample->count - first;
    for (size_t i = 0; i < choices; i++) {
        struct sentence *sentence = &sample->sentences[first + (random % choices + i) % choices];
        if (sentence->used_by != sample->keys) {
            sentence->used_by = sample->keys;
            return sentence;
        }
    }
    return &sample->sentences[first + random % choices];
}

struct prefixes sentence_sample_prefixes(struct sentence_sample *sample, size_t layer, size_t cell,
                                         const struct prefixes *of_key)
{
    struct prefixes prefixes = {of_key->count, new_array(of_key->count, sizeof *prefixes.length), NULL};
    uint64_t random = random_number(sample->seed, layer, cell);
    size_t tokens = 0;
    sample->keys++;
    for (size_t i = 0; i < of_key->count; i++) {
        const struct sentence *sentence = draw_sentence(sample, of_key->length[i], random_number(random, i, 0));
        uint32_t length = of_key->length[i] < sentence->length ? of_key->length[i] : sentence->length;
        prefixes.token = grow_array(prefixes.token, tokens + length + 1, sizeof *prefixes.token);
        memcpy(prefixes.token + tokens, sentence->token, length * sizeof *prefixes.token);
        prefixes.length[i] = length;
        tokens += length;
    }
    return prefixes;
}
