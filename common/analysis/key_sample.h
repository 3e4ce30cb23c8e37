/*
 * A seeded sample of the keys of a triggers stream: of each layer the keys whose
 * random numbers are lowest, among those that have triggers. The numbers are a
 * function of seed, layer and cell only, so equal seeds draw equal keys, also in
 * topk-keys. Memory: the sample of one layer.
 */
#ifndef FFKV_KEY_SAMPLE_H
#define FFKV_KEY_SAMPLE_H

#include "stream/records.h"

/* What decides whether a key is drawn; equal numbers: the lower cell first. */
uint64_t key_number(uint64_t seed, size_t layer, size_t cell);

struct key_sample;

/* keys_per_layer 0: every key that has triggers. The reader stays the caller's. */
struct key_sample *key_sample_new(struct triggers_reader *reader, size_t keys_per_layer, uint64_t seed);
void key_sample_free(struct key_sample *sample);

/*
 * True: key holds the next one, by layer, then cell; free with key_triggers_free.
 * False: the end of the stream, whose trailer was right.
 */
bool key_sample_next(struct key_sample *sample, struct key_triggers *key);

#endif
