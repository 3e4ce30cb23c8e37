/*
 * A key's prefixes and measures of what they have in common. The measures are this
 * project's own, not the paper's.
 */
#ifndef FFKV_PREFIXES_H
#define FFKV_PREFIXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prefixes {
    size_t count;
    uint32_t *length; /* count: tokens of each */
    uint32_t *token;  /* of all prefixes in a row */
};

void prefixes_free(struct prefixes *prefixes);

enum { MAX_NGRAM = 3 };

/* An n-gram, and how many of the prefixes have it. */
struct ngram {
    uint32_t token[MAX_NGRAM];
    size_t prefixes;
};

/*
 * The n-gram that most prefixes end with; equal ones: the one with the lower
 * tokens. Prefixes of fewer than n tokens end with none; prefixes 0: all are so.
 */
struct ngram common_end(const struct prefixes *prefixes, size_t n);

/*
 * The n-grams that are anywhere in the most prefixes, at most room and each in at
 * least least of them, most frequent first; equal ones: the lower tokens. Those
 * of skipped tokens only are left out; skip: by token. Returns how many.
 */
size_t common_ngrams(const struct prefixes *prefixes, size_t n, const bool *skip, size_t least,
                     struct ngram *found, size_t room);

/*
 * The mean over all pairs of prefixes of the Jaccard index of their sets of tokens,
 * without the skipped ones and each prefix's last ones, as many as left_out: common
 * tokens / all tokens of the two, 0 where there are none. Needs two prefixes.
 */
double common_tokens(const struct prefixes *prefixes, const bool *skip, uint32_t left_out);

#endif
