/*
 * Which memories belong to a token, the strongest first: a bounded list for each token,
 * so that memory does not grow with the number of memories beyond that bound.
 */
#ifndef FFKV_POSTINGS_H
#define FFKV_POSTINGS_H

#include <stddef.h>
#include <stdint.h>

struct posting {
    uint32_t layer, cell;
    float strength;
};

struct postings {
    struct token_postings {
        size_t total;          /* memories offered */
        size_t count;          /* of them kept: the most, at the most */
        size_t capacity;       /* of kept */
        struct posting *kept;  /* a heap, the weakest first, until postings_sort */
    } *token;                  /* vocabulary */
    size_t vocabulary, most;
};

/* Keeps at most so many memories a token. */
struct postings postings_new(size_t vocabulary, size_t most);
void postings_free(struct postings *postings);

/* Memories of a token come by layer, then cell; of equal strength the earlier ones are kept. */
void postings_offer(struct postings *postings, uint32_t token, struct posting posting);

/* Strongest first, equal ones by layer, then cell. Nothing may be offered after that. */
void postings_sort(struct postings *postings, uint32_t token);

#endif
