#include "model/sampling.h"

#include "base/hash.h"
#include "base/messages.h"
#include "base/order.h"
#include "model/projection.h"

#include <math.h>
#include <stdlib.h>

/* Tokens that may be drawn. */
struct choice {
    size_t count;
    uint32_t *token; /* count */
    double *weight;  /* count */
};

static void list_candidates(const struct candidates *candidates, struct choice *choice)
{
    for (size_t r = 0; r < candidates->range_count; r++)
        for (size_t token = candidates->range[r].first; token < candidates->range[r].end; token++)
            choice->token[choice->count++] = (uint32_t)token;
}

/* Relative to the most probable one, so that none overflows. Gives their sum. */
static double weigh(const struct sampling *sampling, const float *log_probabilities, float most,
                    struct choice *choice)
{
    double sum = 0;
    for (size_t i = 0; i < choice->count; i++) {
        double below = (double)log_probabilities[choice->token[i]] - (double)most;
        choice->weight[i] = exp(below / sampling->temperature);
        sum += choice->weight[i];
    }
    return sum;
}

/* How many of the tokens, best first, have this share of the weights; one at least. */
static size_t count_of_share(const struct choice *choice, double share, double sum)
{
    double reached = choice->weight[0];
    size_t count = 1;
    while (count < choice->count && reached < share * sum)
        reached += choice->weight[count++];
    return count;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *left = a, *right = b;
    return compare_numbers(*left, *right);
}

/* The most probable ones, as top_k and top_p bound them, in the order of their numbers. */
static void take_best(const struct sampling *sampling, const float *log_probabilities, float most,
                      const struct candidates *candidates, struct choice *choice)
{
    size_t all = candidates->count;
    choice->count = sampling->top_k && sampling->top_k < all ? sampling->top_k : all;
    projection_tops(log_probabilities, candidates, choice->count, choice->token);
    double sum = weigh(sampling, log_probabilities, most, choice);
    choice->count = count_of_share(choice, sampling->top_p, sum);
    qsort(choice->token, choice->count, sizeof *choice->token, by_number);
}

/* The one at x, from 0 to below 1, of the sum of weights. */
static uint32_t token_at(const struct choice *choice, double x, double sum)
{
    double reached = choice->weight[0];
    size_t i = 0;
    while (i + 1 < choice->count && reached <= x * sum)
        reached += choice->weight[++i];
    return choice->token[i];
}

uint32_t sample_token(const struct sampling *sampling, const float *log_probabilities,
                      const struct candidates *candidates, uint64_t step)
{
    const float most = log_probabilities[projection_top(log_probabilities, candidates)];
    const double x = (double)(hash_random(sampling->seed, step, 0) >> 11) * 0x1p-53;
    struct choice choice = {.token = new_array(candidates->count, sizeof *choice.token),
                            .weight = new_array(candidates->count, sizeof *choice.weight)};
    if (sampling->top_k || sampling->top_p < 1)
        take_best(sampling, log_probabilities, most, candidates, &choice);
    else
        list_candidates(candidates, &choice);
    uint32_t token = token_at(&choice, x, weigh(sampling, log_probabilities, most, &choice));
    free(choice.token);
    free(choice.weight);
    return token;
}
