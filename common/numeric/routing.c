#include "numeric/routing.h"

#include "numeric/vector.h"

static bool is_chosen(const struct chosen_expert *chosen, size_t count, size_t expert)
{
    for (size_t i = 0; i < count; i++)
        if (chosen[i].expert == expert)
            return true;
    return false;
}

/* The one with the largest logit of those that are not chosen. */
static size_t next_expert(const float *logits, size_t experts, const struct chosen_expert *chosen,
                          size_t count)
{
    size_t best = experts;
    for (size_t i = 0; i < experts; i++)
        if ((best == experts || logits[i] > logits[best]) && !is_chosen(chosen, count, i))
            best = i;
    return best;
}

void choose_experts(const float *logits, size_t experts, size_t count, bool normalized,
                    struct chosen_expert *chosen)
{
    float all = 0, of_chosen = 0;
    for (size_t i = 0; i < count; i++)
        chosen[i].expert = (uint32_t)next_expert(logits, experts, chosen, i);
    float most = logits[chosen[0].expert];
    for (size_t i = 0; i < experts; i++)
        all += exponential(logits[i] - most);
    for (size_t i = 0; i < count; i++) {
        chosen[i].weight = exponential(logits[chosen[i].expert] - most) / all;
        of_chosen += chosen[i].weight;
    }
    for (size_t i = 0; normalized && i < count; i++)
        chosen[i].weight /= of_chosen;
}

void sigmoids(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 1.0f / (1.0f + exponential(-x[i]));
}
