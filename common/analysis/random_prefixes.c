#include "analysis/random_prefixes.h"

#include "analysis/sentence_sample.h"
#include "base/hash.h"
#include "base/messages.h"
#include "base/order.h"
#include "stream/header_members.h"
#include "stream/records.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SENTENCES = 10000 };

struct sentence {
    struct sampled_sentence sampled;
    size_t used_by; /* the last key that was given a prefix of it, counted from 1 */
};

struct random_prefixes {
    uint64_t seed;
    struct sentence_sample *sample;
    struct sentence *sentences; /* count: of the sample, the shortest first */
    size_t count;
    size_t keys;                /* that were given prefixes, the current one among them */
};

static int by_length(const void *a, const void *b)
{
    const struct sampled_sentence *left = &((const struct sentence *)a)->sampled;
    const struct sampled_sentence *right = &((const struct sentence *)b)->sampled;
    int order = compare_numbers(left->length, right->length);
    return order ? order : compare_numbers(left->sentence, right->sentence);
}

struct random_prefixes *random_prefixes_read(const char *path, const struct stream_reader *like,
                                             size_t vocabulary, uint64_t seed)
{
    struct stream_reader *reader = stream_open(path, "tokens");
    if (strcmp(header_text(reader, "tokenizer", "id"), header_text(like, "tokenizer", "id")))
        stream_fail(reader, "made with another tokenizer than the triggers");
    struct random_prefixes *random = new_array(1, sizeof *random);
    *random = (struct random_prefixes){.seed = seed, .sample = sentence_sample_new(MAX_SENTENCES, seed)};
    struct record record;
    while (stream_next(reader, &record)) {
        struct batch batch = batch_read(&record, vocabulary);
        const uint32_t *token = batch.token;
        for (size_t s = 0; s < batch.sentences; token += batch.length[s], s++)
            sentence_sample_offer(random->sample, batch_sentence(&batch, s), token, batch.length[s], false);
        batch_free(&batch);
    }
    const struct sampled_sentence *sampled = sentence_sample_take(random->sample, &random->count);
    if (!random->count)
        stream_fail(reader, "there is no sentence in it");
    random->sentences = new_array(random->count, sizeof *random->sentences);
    for (size_t i = 0; i < random->count; i++)
        random->sentences[i].sampled = sampled[i];
    qsort(random->sentences, random->count, sizeof *random->sentences, by_length);
    stream_close(reader);
    return random;
}

void random_prefixes_free(struct random_prefixes *random)
{
    sentence_sample_free(random->sample);
    free(random->sentences);
    free(random);
}

char *random_prefixes_hash(const struct random_prefixes *random)
{
    char text[HASH_CHARACTERS + 1];
    struct hash *hash = hash_new();
    for (size_t i = 0; i < random->count; i++) {
        const struct sampled_sentence *sentence = &random->sentences[i].sampled;
        const uint64_t numbers[] = {sentence->sentence, sentence->length};
        hash_add(hash, numbers, sizeof numbers);
        hash_add(hash, sentence->token, sentence->length * sizeof *sentence->token);
    }
    hash_finish(hash, text);
    return copy_string(text);
}

/*
 * The first sentence with more than length tokens, so that a next token
 * follows; the longest where there is none.
 */
static size_t first_longer(const struct random_prefixes *random, size_t length)
{
    size_t low = 0, high = random->count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (random->sentences[middle].sampled.length > length)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/*
 * One of more than length tokens, by a random number, that the current key has
 * not had, as long as there is one.
 */
static const struct sampled_sentence *draw_sentence(const struct random_prefixes *random, size_t length,
                                                    uint64_t number)
{
    size_t first = first_longer(random, length), choices = random->count - first;
    for (size_t i = 0; i < choices; i++) {
        struct sentence *sentence = &random->sentences[first + (number % choices + i) % choices];
        if (sentence->used_by != random->keys) {
            sentence->used_by = random->keys;
            return &sentence->sampled;
        }
    }
    return &random->sentences[first + number % choices].sampled;
}

struct prefixes random_prefixes_like(struct random_prefixes *random, size_t layer, size_t cell,
                                     const struct prefixes *of_key)
{
    struct prefixes prefixes = {of_key->count, new_array(of_key->count, sizeof *prefixes.length), NULL};
    uint64_t number = hash_random(random->seed, layer, cell);
    size_t tokens = 0, capacity = 0;
    random->keys++;
    for (size_t i = 0; i < of_key->count; i++) {
        const struct sampled_sentence *sentence =
            draw_sentence(random, of_key->length[i], hash_random(number, i, 0));
        size_t length = of_key->length[i] < sentence->length ? of_key->length[i] : sentence->length;
        prefixes.token = reserve_array(prefixes.token, &capacity, tokens + length + 1,
                                       sizeof *prefixes.token);
        memcpy(prefixes.token + tokens, sentence->token, length * sizeof *prefixes.token);
        prefixes.length[i] = (uint32_t)length;
        tokens += length;
    }
    return prefixes;
}
