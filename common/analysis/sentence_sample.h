/*
 * A seeded sample of a corpus' sentences: those whose random numbers are lowest.
 * Whether a sentence is in it depends on the seed, the sentence's place and the
 * others' only, not on their order. Memory: the sample.
 */
#ifndef FFKV_SENTENCE_SAMPLE_H
#define FFKV_SENTENCE_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sampled_sentence {
    uint64_t number;    /* the random one */
    uint64_t sentence;  /* its place in the corpus */
    size_t length;
    bool truncated;     /* of the caller */
    uint32_t *token;    /* length */
};

struct sentence_sample;

/* size: at most that many sentences are kept; at least 1. */
struct sentence_sample *sentence_sample_new(size_t size, uint64_t seed);
void sentence_sample_free(struct sentence_sample *sample);

/* Offers a sentence; its tokens are copied. */
void sentence_sample_offer(struct sentence_sample *sample, uint64_t sentence, const uint32_t *token,
                           size_t length, bool truncated);

/* What was kept, by place in the corpus; the sample's until it is freed. No offers after that. */
const struct sampled_sentence *sentence_sample_take(struct sentence_sample *sample, size_t *count);

#endif
