#include "analysis/key_sample.h"

#include "base/hash.h"
#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

struct key_sample {
    struct triggers_reader *reader;
    size_t keys_per_layer;
    uint64_t seed;
    struct key_triggers *key;  /* held: of one layer, by cell */
    size_t held, given;        /* given: of those, to the caller */
    size_t capacity;           /* of key */
    struct key_triggers ahead; /* the next layer's first key, where has_ahead */
    bool has_ahead, ended;
};

uint64_t key_number(uint64_t seed, size_t layer, size_t cell)
{
    return hash_random(seed, layer, cell);
}

struct key_sample *key_sample_new(struct triggers_reader *reader, size_t keys_per_layer, uint64_t seed)
{
    struct key_sample *sample = new_array(1, sizeof *sample);
    *sample = (struct key_sample){.reader = reader, .keys_per_layer = keys_per_layer, .seed = seed};
    return sample;
}

void key_sample_free(struct key_sample *sample)
{
    for (size_t i = sample->given; i < sample->held; i++)
        key_triggers_free(&sample->key[i]);
    if (sample->has_ahead)
        key_triggers_free(&sample->ahead);
    free(sample->key);
    free(sample);
}

/* The next key of the stream that has triggers. */
static bool next_live(struct key_sample *sample, struct key_triggers *key)
{
    while (triggers_next(sample->reader, key)) {
        if (key->count)
            return true;
        key_triggers_free(key);
    }
    return false;
}

/* Of the keys that are held the one whose number is largest; of equal ones the last. */
static size_t largest_number(const struct key_sample *sample)
{
    size_t largest = 0;
    for (size_t i = 1; i < sample->held; i++)
        if (key_number(sample->seed, sample->key[i].layer, sample->key[i].cell)
            >= key_number(sample->seed, sample->key[largest].layer, sample->key[largest].cell))
            largest = i;
    return largest;
}

/* Keys come by cell, and stay so. */
static void hold(struct key_sample *sample, const struct key_triggers *key)
{
    sample->key = reserve_array(sample->key, &sample->capacity, sample->held + 1, sizeof *sample->key);
    sample->key[sample->held++] = *key;
    if (!sample->keys_per_layer || sample->held <= sample->keys_per_layer)
        return;
    size_t out = largest_number(sample);
    key_triggers_free(&sample->key[out]);
    sample->held--;
    memmove(sample->key + out, sample->key + out + 1, (sample->held - out) * sizeof *sample->key);
}

static void read_layer(struct key_sample *sample)
{
    struct key_triggers key;
    sample->held = sample->given = 0;
    if (sample->has_ahead)
        hold(sample, &sample->ahead);
    sample->has_ahead = false;
    while (!sample->ended) {
        if (!next_live(sample, &key)) {
            sample->ended = true;
        } else if (sample->held && key.layer != sample->key[0].layer) {
            sample->ahead = key;
            sample->has_ahead = true;
            return;
        } else {
            hold(sample, &key);
        }
    }
}

bool key_sample_next(struct key_sample *sample, struct key_triggers *key)
{
    if (sample->given == sample->held)
        read_layer(sample);
    if (sample->given == sample->held)
        return false;
    *key = sample->key[sample->given++];
    return true;
}
