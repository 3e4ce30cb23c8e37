#include "projection.h"

#include "blas.h"
#include "messages.h"
#include "vector.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct projection {
    const struct model *model;
    float *narrow;         /* PROJECTION_ROWS x width of a cluster */
    float *cluster_logits; /* PROJECTION_ROWS x (clusters - 1) */
};

struct projection *projection_new(const struct model *model)
{
    struct projection *projection = new_array(1, sizeof *projection);
    projection->model = model;
    projection->narrow = new_floats(PROJECTION_ROWS * model->config.d_model);
    projection->cluster_logits = new_floats(PROJECTION_ROWS * model->config.clusters);
    return projection;
}

void projection_free(struct projection *projection)
{
    free(projection->narrow);
    free(projection->cluster_logits);
    free(projection);
}

KERNEL static float largest(const float *x, size_t count)
{
    size_t whole = count / LANES * LANES;
    float most[LANES];
    for (size_t k = 0; k < LANES; k++)
        most[k] = -INFINITY;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
    for (size_t i = whole; i < count; i++)
        most[0] = x[i] > most[0] ? x[i] : most[0];
    for (size_t k = 1; k < LANES; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    return most[0];
}

/* Sum of exp(x - shift). Blocks bound the rounding of the partial sums. */
KERNEL static double sum_of_exponentials(const float *x, size_t count, float shift)
{
    enum { BLOCK = 4096 };
    double sum = 0;
    for (size_t start = 0; start < count; start += BLOCK) {
        size_t end = count - start < BLOCK ? count : start + BLOCK;
        float partial[LANES] = {0};
        size_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (size_t k = 0; k < LANES; k++)
                partial[k] += exponential(x[i + k] - shift);
        for (size_t k = 0; i < end; i++, k++)
            partial[k] += exponential(x[i] - shift);
        sum += (double)add_lanes(partial);
    }
    return sum;
}

KERNEL static void shift_all(float *x, size_t count, float shift)
{
    for (size_t i = 0; i < count; i++)
        x[i] += shift;
}

/*
 * log sum exp of the words' logits and, for the head, of the further clusters'.
 */
static double log_sum(const float *words, size_t count, const float *clusters, size_t cluster_count)
{
    float most = largest(words, count);
    if (cluster_count)
        most = fmaxf(most, largest(clusters, cluster_count));
    return (double)most
         + log(sum_of_exponentials(words, count, most) + sum_of_exponentials(clusters, cluster_count, most));
}

static void check_sum(double sum)
{
    if (!isfinite(sum))
        die("a distribution over the vocabulary is not finite; the weights overflow 32-bit floats");
}

void projection_run(struct projection *projection, const float *vectors, float *log_probabilities)
{
    const struct model *model = projection->model;
    const size_t d_model = model->config.d_model, vocabulary = model->config.vocabulary;
    const size_t further = model->config.clusters - 1;
    const struct model_cluster *head = &model->cluster[0];
    double head_sum[PROJECTION_ROWS];

    /* The head's words are as wide as the model and have no projection. */
    product_transposed(PROJECTION_ROWS, head->size, d_model, vectors, head->output, 0, log_probabilities,
                       vocabulary);
    if (further)
        product_transposed(PROJECTION_ROWS, further, d_model, vectors, model->cluster_keys, 0,
                           projection->cluster_logits, further);
    for (size_t row = 0; row < PROJECTION_ROWS; row++) {
        float *words = log_probabilities + row * vocabulary;
        head_sum[row] = log_sum(words, head->size, projection->cluster_logits + row * further, further);
        check_sum(head_sum[row]);
        shift_all(words, head->size, (float)-head_sum[row]);
    }
    for (size_t i = 1; i <= further; i++) {
        const struct model_cluster *cluster = &model->cluster[i];
        float *first = log_probabilities + cluster->first;
        product(PROJECTION_ROWS, cluster->width, d_model, vectors, cluster->output_projection, projection->narrow);
        product_transposed(PROJECTION_ROWS, cluster->size, cluster->width, projection->narrow,
                           cluster->output, 0, first, vocabulary);
        for (size_t row = 0; row < PROJECTION_ROWS; row++) {
            /* log p(word) = log p(cluster) + log p(word | cluster) */
            float *words = first + row * vocabulary;
            double cluster_logit = (double)projection->cluster_logits[row * further + i - 1];
            double shift = cluster_logit - head_sum[row] - log_sum(words, cluster->size, NULL, 0);
            check_sum(shift);
            shift_all(words, cluster->size, (float)shift);
        }
    }
}

size_t projection_top(const float *log_probabilities, size_t vocabulary)
{
    float most = largest(log_probabilities, vocabulary);
    size_t token = 0;
    while (token + 1 < vocabulary && log_probabilities[token] != most)
        token++;
    return token;
}

void projection_tops(const float *log_probabilities, size_t vocabulary, size_t count, uint32_t *tokens)
{
    /* Insertion: nearly every token fails the first comparison. */
    size_t held = 0;
    for (size_t token = 0; token < vocabulary; token++) {
        float candidate = log_probabilities[token];
        if (held == count && !(candidate > log_probabilities[tokens[held - 1]]))
            continue;
        size_t place = held < count ? held++ : held - 1;
        for (; place > 0 && candidate > log_probabilities[tokens[place - 1]]; place--)
            tokens[place] = tokens[place - 1];
        tokens[place] = (uint32_t)token;
    }
}

void projection_bottoms(const float *log_probabilities, size_t vocabulary, size_t count, uint32_t *tokens)
{
    size_t held = 0;
    for (size_t token = vocabulary; token-- > 0;) {
        float candidate = log_probabilities[token];
        if (held == count && !(candidate < log_probabilities[tokens[held - 1]]))
            continue;
        size_t place = held < count ? held++ : held - 1;
        for (; place > 0 && candidate < log_probabilities[tokens[place - 1]]; place--)
            tokens[place] = tokens[place - 1];
        tokens[place] = (uint32_t)token;
    }
}

/* How many of count are greater than value, or not less than it. */
KERNEL static uint32_t count_above(const float *x, size_t count, float value, bool or_equal)
{
    uint32_t above = 0, equal = 0;
    for (size_t i = 0; i < count; i++) {
        above += x[i] > value;
        equal += x[i] == value;
    }
    return or_equal ? above + equal : above;
}

uint32_t projection_rank(const float *log_probabilities, size_t vocabulary, size_t token)
{
    float own = log_probabilities[token];
    return 1 + count_above(log_probabilities, token, own, true)
             + count_above(log_probabilities + token, vocabulary - token, own, false);
}
