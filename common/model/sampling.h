/* Which token comes next: the most probable one, or one that is drawn. */
#ifndef FFKV_SAMPLING_H
#define FFKV_SAMPLING_H

#include "model/candidates.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sampling {
    double temperature; /* above 0: log-probabilities are divided by it; the larger, the more even */
    size_t top_k;       /* only so many of the most probable tokens; 0: all */
    double top_p;       /* of these, the fewest that have this share of their weights together; 1: all */
    uint64_t seed;
};

/*
 * Draws one of the candidates by log_probabilities, of the candidates' vocabulary; a function of the seed and
 * of step, the number of the draw. Those that may be drawn have weights exp(log p / temperature). With
 * x in [0, 1) from the seed and step, it is the first in the order of their numbers, up to which the weights
 * add up to more than x times their sum.
 */
uint32_t sample_token(const struct sampling *sampling, const float *log_probabilities,
                      const struct candidates *candidates, uint64_t step);

#endif
