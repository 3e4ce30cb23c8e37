/* Which experts of a mixture compute a position, and how much of each: Shazeer et al. 2017. */
#ifndef FFKV_ROUTING_H
#define FFKV_ROUTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chosen_expert {
    uint32_t expert;
    float weight;
};

/*
 * The count experts with the largest of the router's logits, of experts in all, by falling logits; equal
 * ones: the lower expert. count is at most experts. Each has as weight its probability in the softmax of
 * all logits, or, normalized, its part of the chosen ones' probabilities. A logit that is not finite makes
 * weights that are not.
 */
void choose_experts(const float *logits, size_t experts, size_t count, bool normalized,
                    struct chosen_expert *chosen);

/* x becomes 1 / (1 + exp(-x)), of count numbers. */
void sigmoids(float *x, size_t count);

#endif
