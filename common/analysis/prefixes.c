#include "analysis/prefixes.h"

#include "base/messages.h"
#include "base/order.h"
#include "stream/records.h"

#include <stdlib.h>
#include <string.h>

void prefixes_free(struct prefixes *prefixes)
{
    free(prefixes->length);
    free(prefixes->token);
    *prefixes = (struct prefixes){0};
}

static struct prefix_walk walk(const struct prefixes *prefixes)
{
    return prefixes_walk(prefixes->length, prefixes->token, prefixes->count);
}

/* ---- n-grams ---- */

struct occurrence {
    uint32_t token[MAX_NGRAM]; /* behind the n-gram 0 */
    uint32_t prefix;
};

static int by_token(const void *a, const void *b)
{
    const struct occurrence *left = a, *right = b;
    int order = 0;
    for (size_t i = 0; i < MAX_NGRAM && !order; i++)
        order = compare_numbers(left->token[i], right->token[i]);
    return order ? order : compare_numbers(left->prefix, right->prefix);
}

static struct occurrence occurrence_at(const uint32_t *tokens, size_t n, size_t prefix)
{
    struct occurrence occurrence = {.prefix = (uint32_t)prefix};
    memcpy(occurrence.token, tokens, n * sizeof *tokens);
    return occurrence;
}

/* Puts an n-gram among the found ones, unless they are full of such that are in as many prefixes. */
static size_t keep_ngram(struct ngram *found, size_t count, size_t room, struct ngram ngram)
{
    size_t place = count < room ? count++ : room;
    while (place && ngram.prefixes > found[place - 1].prefixes) {
        if (place < room)
            found[place] = found[place - 1];
        place--;
    }
    if (place < room)
        found[place] = ngram;
    return count;
}

/* Sorts the occurrences and gives the n-grams of most prefixes. Returns how many. */
static size_t most_common(struct occurrence *occurrences, size_t count, size_t least, struct ngram *found,
                          size_t room)
{
    size_t kept = 0;
    qsort(occurrences, count, sizeof *occurrences, by_token);
    for (size_t start = 0, end; start < count; start = end) {
        struct ngram ngram = {.prefixes = 0};
        memcpy(ngram.token, occurrences[start].token, sizeof ngram.token);
        for (end = start; end < count && !memcmp(occurrences[end].token, ngram.token, sizeof ngram.token);
             end++)
            ngram.prefixes += end == start || occurrences[end].prefix != occurrences[end - 1].prefix;
        if (ngram.prefixes >= least)
            kept = keep_ngram(found, kept, room, ngram);
    }
    return kept;
}

struct ngram common_end(const struct prefixes *prefixes, size_t n)
{
    struct occurrence *ends = new_array(prefixes->count, sizeof *ends);
    struct ngram best = {.prefixes = 0};
    size_t count = 0;
    for (struct prefix_walk prefix = walk(prefixes); prefix_next(&prefix);)
        if (prefix.length >= n)
            ends[count++] = occurrence_at(prefix.token + prefix.length - n, n, prefix.index);
    most_common(ends, count, 1, &best, 1);
    free(ends);
    return best;
}

static bool all_skipped(const uint32_t *tokens, size_t n, const bool *skip)
{
    for (size_t i = 0; i < n; i++)
        if (!skip[tokens[i]])
            return false;
    return true;
}

static size_t total_length(const struct prefixes *prefixes)
{
    size_t tokens = 0;
    for (size_t i = 0; i < prefixes->count; i++)
        tokens += prefixes->length[i];
    return tokens;
}

size_t common_ngrams(const struct prefixes *prefixes, size_t n, const bool *skip, size_t least,
                     struct ngram *found, size_t room)
{
    struct occurrence *all = new_array(total_length(prefixes), sizeof *all);
    size_t count = 0;
    for (struct prefix_walk prefix = walk(prefixes); prefix_next(&prefix);)
        for (size_t j = 0; j + n <= prefix.length; j++)
            if (!all_skipped(prefix.token + j, n, skip))
                all[count++] = occurrence_at(prefix.token + j, n, prefix.index);
    count = most_common(all, count, least, found, room);
    free(all);
    return count;
}

/* ---- sets of tokens ---- */

static int by_number(const void *a, const void *b)
{
    return compare_numbers(*(const uint32_t *)a, *(const uint32_t *)b);
}

/* The different tokens that are not skipped, rising, to set. Returns how many. */
static size_t token_set(const uint32_t *tokens, size_t count, const bool *skip, uint32_t *set)
{
    size_t kept = 0, different = 0;
    for (size_t i = 0; i < count; i++)
        if (!skip[tokens[i]])
            set[kept++] = tokens[i];
    if (kept)
        qsort(set, kept, sizeof *set, by_number);
    for (size_t i = 0; i < kept; i++)
        if (!different || set[i] != set[different - 1])
            set[different++] = set[i];
    return different;
}

/* Of two rising sets: common elements / elements of both, 0 where there are none. */
static double jaccard(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
    size_t common = 0;
    for (size_t i = 0, j = 0; i < a_count && j < b_count;) {
        common += a[i] == b[j];
        size_t i_step = a[i] <= b[j], j_step = b[j] <= a[i];
        i += i_step;
        j += j_step;
    }
    size_t all = a_count + b_count - common;
    return all ? (double)common / (double)all : 0;
}

double common_tokens(const struct prefixes *prefixes, const bool *skip, uint32_t left_out)
{
    uint32_t *sets = new_array(total_length(prefixes), sizeof *sets);
    uint32_t **set = new_array(prefixes->count, sizeof *set);
    size_t *size = new_array(prefixes->count, sizeof *size);
    double sum = 0;
    for (struct prefix_walk prefix = walk(prefixes); prefix_next(&prefix);) {
        size_t i = prefix.index, length = prefix.length > left_out ? prefix.length - left_out : 0;
        set[i] = sets + (prefix.token - prefixes->token);
        size[i] = token_set(prefix.token, length, skip, set[i]);
        for (size_t j = 0; j < i; j++)
            sum += jaccard(set[i], size[i], set[j], size[j]);
    }
    free(sets);
    free(set);
    free(size);
    return sum / ((double)prefixes->count * (double)(prefixes->count - 1) / 2);
}
