#include "model/projection.h"

#include "base/messages.h"
#include "model/model_norm.h"
#include "numeric/activation.h"
#include "numeric/vector.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * Vectors whose answers are found together: the head's words are read once for all of them,
 * and the few that need a tail cluster fill a product.
 */
enum { GROUP_ROWS = 4 * PROJECTION_ROWS };

struct projection {
    const struct model *model;
    const struct candidates *candidates;
    struct team *team;     /* that makes products with one vector; NULL: PROJECTION_ROWS are taken */
    float *narrow;         /* PROJECTION_ROWS x width of a cluster */
    float *cluster_logits; /* GROUP_ROWS x (clusters - 1) */
    double head_sum[GROUP_ROWS]; /* logarithm of the head's sum of exponentials */

    /* of questions; made by the first */
    float *head;           /* GROUP_ROWS x head's words */
    float *words;          /* PROJECTION_ROWS x words of the largest tail cluster */
    float *gathered;       /* GROUP_ROWS x d_model */
};

double projection_bytes(const struct model_config *config)
{
    /* A vector, a narrow one, the logits. */
    double row = 2 * (double)config->d_model + (double)config->vocabulary;
    return sizeof(float) * (PROJECTION_ROWS * row + GROUP_ROWS * (double)config->clusters);
}

double projection_operations(const struct model_config *config)
{
    double width = (double)config->word_width, d_model = (double)config->d_model, products = 0;
    size_t first = 0;
    for (size_t i = 0; i < config->clusters; i++) {
        products += (double)(config->cutoffs[i] - first) * width;
        if (i || config->word_width != config->d_model)
            products += d_model * width;
        first = config->cutoffs[i];
        width = floor(width / (double)config->factor);
    }
    return 2 * products;
}

struct projection *projection_new(const struct model *model, const struct candidates *candidates)
{
    struct projection *projection = new_array(1, sizeof *projection);
    projection->model = model;
    projection->candidates = candidates;
    projection->narrow = new_floats(matrix_count(PROJECTION_ROWS, model->config.d_model));
    projection->cluster_logits = new_floats(matrix_count(GROUP_ROWS, model->config.clusters));
    return projection;
}

void projection_free(struct projection *projection)
{
    free(projection->narrow);
    free(projection->cluster_logits);
    free(projection->head);
    free(projection->words);
    free(projection->gathered);
    free(projection);
}

void projection_take_one(struct projection *projection, struct team *team)
{
    projection->team = team;
}

/* Vectors that are taken at once. */
static size_t rows_taken(const struct projection *projection)
{
    return projection->team ? 1 : PROJECTION_ROWS;
}

/* y = vectors . matrix^T, in rows that are step floats apart. */
static void multiply(const struct projection *projection, const struct matrix *matrix, size_t rows,
                     const float *vectors, float *y, size_t step)
{
    if (projection->team)
        matrix_multiply_vector(matrix, projection->team, vectors, 0, y);
    else
        matrix_multiply(matrix, rows, vectors, 0, y, step);
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

KERNEL static void bound_all(float *x, size_t count, float most)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] < most ? x[i] : most;
}

/*
 * log sum exp of the words' logits and, for the head, of the tail clusters'.
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

/*
 * Products with a cluster's words, by their projection, for PROJECTION_ROWS vectors, or one, in rows that are
 * step floats apart.
 */
static void project_cluster(struct projection *projection, size_t index, const float *vectors, float *words,
                            size_t step)
{
    const struct model_cluster *cluster = &projection->model->cluster[index];
    matrix_multiply_transposed(&cluster->output_projection, rows_taken(projection), vectors,
                               projection->narrow);
    multiply(projection, &cluster->output, PROJECTION_ROWS, projection->narrow, words, step);
}

/* Logits of the head's words; rows is a multiple of PROJECTION_ROWS, or 1. */
static void head_logits(struct projection *projection, const float *vectors, size_t rows, float *logits,
                        size_t step)
{
    const struct model *model = projection->model;
    const struct model_config *config = &model->config;
    const struct model_cluster *head = &model->cluster[0];
    if (matrix_exists(&head->output_projection))
        for (size_t row = 0; row < rows; row += PROJECTION_ROWS)
            project_cluster(projection, 0, vectors + row * config->d_model, logits + row * step, step);
    else
        multiply(projection, &head->output, rows, vectors, logits, step);
    for (size_t row = 0; row < rows; row++, logits += step) {
        add_bias(logits, model->output_bias, 1, head->size);
        scale_floats(logits, head->size, config->logit_scale);
        cap_floats(logits, head->size, config->logit_cap);
    }
}

/*
 * The head of vectors of a group, rows being a multiple of PROJECTION_ROWS, or 1: log-probabilities
 * of its words, in rows that are step floats apart, and of each row the tail clusters'
 * logits and the sum.
 */
static void project_head(struct projection *projection, const float *vectors, size_t rows,
                         float *log_probabilities, size_t step)
{
    const struct model *model = projection->model;
    const size_t tails = model->config.clusters - 1;
    const struct model_cluster *head = &model->cluster[0];
    head_logits(projection, vectors, rows, log_probabilities, step);
    if (tails)
        multiply(projection, &model->cluster_keys, rows, vectors, projection->cluster_logits, tails);
    for (size_t row = 0; row < rows; row++) {
        float *words = log_probabilities + row * step;
        double sum = log_sum(words, head->size, projection->cluster_logits + row * tails, tails);
        check_sum(sum);
        projection->head_sum[row] = sum;
        shift_all(words, head->size, (float)-sum);
    }
}

/* log p of a tail cluster, for a row of the group. */
static double cluster_log_probability(const struct projection *projection, size_t cluster, size_t row)
{
    size_t tails = projection->model->config.clusters - 1;
    return (double)projection->cluster_logits[row * tails + cluster - 1] - projection->head_sum[row];
}

/*
 * log p(word) = log p(cluster) + log p(word | cluster), of one row's logits, in place. The
 * bound holds up to rounding; here it holds exactly, so that a cluster that is less probable
 * than some word can be left out.
 */
static void normalize_cluster(float *words, size_t count, double cluster_log_probability)
{
    double shift = cluster_log_probability - log_sum(words, count, NULL, 0);
    check_sum(shift);
    shift_all(words, count, (float)shift);
    bound_all(words, count, (float)cluster_log_probability);
}

void projection_run(struct projection *projection, const float *vectors, float *log_probabilities)
{
    const struct model *model = projection->model;
    const size_t vocabulary = model->config.vocabulary, rows = rows_taken(projection);
    project_head(projection, vectors, rows, log_probabilities, vocabulary);
    for (size_t i = 1; i < model->config.clusters; i++) {
        float *first = log_probabilities + model->cluster[i].first;
        project_cluster(projection, i, vectors, first, vocabulary);
        for (size_t row = 0; row < rows; row++)
            normalize_cluster(first + row * vocabulary, model->cluster[i].size,
                              cluster_log_probability(projection, i, row));
    }
}

/* The index of the largest; of equal ones the lowest. */
static size_t find_largest(const float *x, size_t count)
{
    float most = largest(x, count);
    size_t i = 0;
    while (i + 1 < count && x[i] != most)
        i++;
    return i;
}

size_t projection_top(const float *log_probabilities, const struct candidates *candidates)
{
    size_t top = candidates->range[0].first;
    for (size_t r = 0; r < candidates->range_count; r++) {
        struct token_range range = candidates->range[r];
        size_t token = range.first + find_largest(log_probabilities + range.first, range.end - range.first);
        if (log_probabilities[token] > log_probabilities[top])
            top = token;
    }
    return top;
}

/*
 * Offers a token to a list of the count most probable ones so far, or with sign -1 of the least probable;
 * held are there. Nearly every token fails the first comparison. Returns how many are held then.
 */
static size_t offer(const float *log_probabilities, float sign, size_t token, size_t count, size_t held,
                    uint32_t *tokens)
{
    float own = sign * log_probabilities[token];
    if (held == count && !(own > sign * log_probabilities[tokens[held - 1]]))
        return held;
    size_t place = held < count ? held++ : held - 1;
    for (; place > 0 && own > sign * log_probabilities[tokens[place - 1]]; place--)
        tokens[place] = tokens[place - 1];
    tokens[place] = (uint32_t)token;
    return held;
}

void projection_tops(const float *log_probabilities, const struct candidates *candidates, size_t count,
                     uint32_t *tokens)
{
    size_t held = 0;
    for (size_t r = 0; r < candidates->range_count; r++)
        for (size_t token = candidates->range[r].first; token < candidates->range[r].end; token++)
            held = offer(log_probabilities, 1, token, count, held, tokens);
}

void projection_bottoms(const float *log_probabilities, const struct candidates *candidates, size_t count,
                        uint32_t *tokens)
{
    size_t held = 0;
    for (size_t r = candidates->range_count; r-- > 0;)
        for (size_t token = candidates->range[r].end; token-- > candidates->range[r].first;)
            held = offer(log_probabilities, -1, token, count, held, tokens);
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

/*
 * How many words of the range come before the one at place, which has this log-probability and may be
 * outside of the range: more probable ones, and equal ones below it.
 */
static uint32_t words_before(const float *log_probabilities, struct token_range range, size_t place,
                             float own)
{
    size_t below = place < range.first ? range.first : place < range.end ? place : range.end;
    return count_above(log_probabilities + range.first, below - range.first, own, true)
         + count_above(log_probabilities + below, range.end - below, own, false);
}

uint32_t projection_rank(const float *log_probabilities, const struct candidates *candidates, size_t token)
{
    uint32_t rank = 1;
    for (size_t r = 0; r < candidates->range_count; r++)
        rank += words_before(log_probabilities, candidates->range[r], token, log_probabilities[token]);
    return rank;
}

/* ---- questions ---- */

static bool is_in(const struct model_cluster *cluster, uint32_t token)
{
    return token != NO_TOKEN && token >= cluster->first && token - cluster->first < cluster->size;
}

/* The words of the cluster, counted from its first, that are of a range of tokens; first == end: none. */
static struct token_range words_of(const struct model_cluster *cluster, struct token_range range)
{
    size_t start = cluster->first, end = start + cluster->size;
    size_t from = range.first > start ? range.first : start, to = range.end < end ? range.end : end;
    return from < to ? (struct token_range){from - start, to - start} : (struct token_range){0};
}

/* What these words of a cluster add to an answer. */
static void answer_from_range(const struct model_cluster *cluster, const float *log_probabilities,
                              struct token_range words, struct projection_question *question)
{
    size_t top = words.first + find_largest(log_probabilities + words.first, words.end - words.first);
    uint32_t token = (uint32_t)(cluster->first + top);
    if (log_probabilities[top] > question->top_log_probability
        || (log_probabilities[top] == question->top_log_probability && token < question->top)) {
        question->top = token;
        question->top_log_probability = log_probabilities[top];
    }
    if (question->ranked) {
        size_t place = question->token < cluster->first ? 0 : question->token - cluster->first;
        question->token_rank += words_before(log_probabilities, words, place,
                                             question->token_log_probability);
    }
}

/* What a cluster's candidates add to an answer, once the token's own probability is known. */
static void answer_from(const struct projection *projection, const struct model_cluster *cluster,
                        const float *log_probabilities, struct projection_question *question)
{
    const struct candidates *candidates = projection->candidates;
    for (size_t r = 0; r < candidates->range_count; r++) {
        struct token_range words = words_of(cluster, candidates->range[r]);
        if (words.first < words.end)
            answer_from_range(cluster, log_probabilities, words, question);
    }
}

/* Whether words of a cluster that all have at most this log-probability can change the answer. */
static bool can_matter(const struct model_cluster *cluster, float bound,
                       const struct projection_question *question)
{
    return bound > question->top_log_probability
        || (bound == question->top_log_probability && cluster->first < question->top)
        || (question->ranked
            && (bound > question->token_log_probability
                || (bound == question->token_log_probability && cluster->first < question->token)));
}

/*
 * Rows of the group, vectors x d_model, to the start of projection->gathered, and padding
 * up to a multiple of PROJECTION_ROWS. Returns how many rows that makes.
 */
static size_t gather(struct projection *projection, const float *vectors, const size_t *rows, size_t count)
{
    size_t d_model = projection->model->config.d_model;
    size_t padded = (count + PROJECTION_ROWS - 1) / PROJECTION_ROWS * PROJECTION_ROWS;
    for (size_t i = 0; i < count; i++)
        memcpy(projection->gathered + i * d_model, vectors + rows[i] * d_model, d_model * sizeof *vectors);
    memset(projection->gathered + count * d_model, 0, (padded - count) * d_model * sizeof *vectors);
    return padded;
}

/* A tail cluster's words for these rows of the group; with own, rows whose token is in it. */
static void ask_cluster(struct projection *projection, size_t index, const float *vectors, const size_t *rows,
                        size_t count, bool own, struct projection_question *questions)
{
    const struct model_cluster *cluster = &projection->model->cluster[index];
    for (size_t start = 0; start < count; start += PROJECTION_ROWS) {
        size_t end = count - start < PROJECTION_ROWS ? count : start + PROJECTION_ROWS;
        gather(projection, vectors, rows + start, end - start);
        project_cluster(projection, index, projection->gathered, projection->words, cluster->size);
        for (size_t i = start; i < end; i++) {
            float *words = projection->words + (i - start) * cluster->size;
            struct projection_question *question = &questions[rows[i]];
            normalize_cluster(words, cluster->size, cluster_log_probability(projection, index, rows[i]));
            if (own)
                question->token_log_probability = words[question->token - cluster->first];
            answer_from(projection, cluster, words, question);
        }
    }
}

/*
 * First the clusters that the tokens are in, since a rank cannot be counted
 * before the token's probability is known.
 */
static void ask_clusters(struct projection *projection, const float *vectors, size_t count, bool own,
                         struct projection_question *questions)
{
    for (size_t index = 1; index < projection->model->config.clusters; index++) {
        const struct model_cluster *cluster = &projection->model->cluster[index];
        size_t rows[GROUP_ROWS], wanted = 0;
        for (size_t row = 0; row < count; row++) {
            bool is_own = is_in(cluster, questions[row].token);
            float bound = (float)cluster_log_probability(projection, index, row);
            if (own ? is_own : !is_own && can_matter(cluster, bound, &questions[row]))
                rows[wanted++] = row;
        }
        ask_cluster(projection, index, vectors, rows, wanted, own, questions);
    }
}

static void ask_group(struct projection *projection, const float *vectors, size_t count,
                      struct projection_question *questions)
{
    const struct model_cluster *head = &projection->model->cluster[0];
    size_t rows[GROUP_ROWS] = {0};
    for (size_t row = 0; row < count; row++)
        rows[row] = row;
    project_head(projection, projection->gathered, gather(projection, vectors, rows, count), projection->head,
                 head->size);
    for (size_t row = 0; row < count; row++) {
        struct projection_question *question = &questions[row];
        question->top = NO_TOKEN;
        question->top_log_probability = -INFINITY;
        question->token_rank = 1;
        if (is_in(head, question->token))
            question->token_log_probability = projection->head[row * head->size + question->token];
    }
    ask_clusters(projection, vectors, count, true, questions);
    for (size_t row = 0; row < count; row++)
        answer_from(projection, head, projection->head + row * head->size, &questions[row]);
    ask_clusters(projection, vectors, count, false, questions);
}

void projection_ask(struct projection *projection, const float *vectors, size_t count,
                    struct projection_question *questions)
{
    const struct model *model = projection->model;
    if (!projection->head) {
        size_t largest_cluster = 0;
        for (size_t i = 1; i < model->config.clusters; i++)
            largest_cluster =
                model->cluster[i].size > largest_cluster ? model->cluster[i].size : largest_cluster;
        projection->head = new_floats(matrix_count(GROUP_ROWS, model->cluster[0].size));
        projection->words = new_floats(matrix_count(PROJECTION_ROWS, largest_cluster));
        projection->gathered = new_floats(matrix_count(GROUP_ROWS, model->config.d_model));
    }
    for (size_t start = 0; start < count; start += GROUP_ROWS)
        ask_group(projection, vectors + start * model->config.d_model,
                  count - start < GROUP_ROWS ? count - start : GROUP_ROWS, questions + start);
}

/* ---- vectors ---- */

void output_embedding(const struct model *model, uint32_t token, float *vector)
{
    size_t d_model = model->config.d_model, index = 0;
    while (!is_in(&model->cluster[index], token))
        index++;
    const struct model_cluster *cluster = &model->cluster[index];
    if (!matrix_exists(&cluster->output_projection)) {
        matrix_row(&cluster->output, token, vector);
        return;
    }
    float *word = new_floats(cluster->width), *projection = new_floats(cluster->width);
    matrix_row(&cluster->output, token - cluster->first, word);
    for (size_t i = 0; i < d_model; i++) {
        matrix_row(&cluster->output_projection, i, projection);
        double sum = 0;
        for (size_t k = 0; k < cluster->width; k++)
            sum += (double)projection[k] * (double)word[k];
        vector[i] = (float)sum;
    }
    free(word);
    free(projection);
}

const char *const projection_norm_words[] = {"none", "gain", "full", NULL};

void projection_norm_check(const struct model *model, enum projection_norm norm)
{
    if (norm != PROJECTION_NORM_NONE && !model->config.final_norm)
        die_usage("--norm %s: %s has no final norm", projection_norm_words[norm], model->config.path);
}

void projection_norm(const struct model *model, enum projection_norm norm, float *vectors, size_t rows)
{
    size_t d_model = model->config.d_model;
    if (norm == PROJECTION_NORM_FULL)
        final_norm(model, vectors, rows, vectors);
    for (size_t i = 0; norm == PROJECTION_NORM_GAIN && i < rows * d_model; i++)
        vectors[i] *= model->final_norm_gain[i % d_model];
}

void projection_value(const struct model *model, enum projection_norm norm, size_t layer, size_t cell,
                      bool negative, float *value)
{
    model_value(model, layer, cell, value);
    for (size_t i = 0; negative && i < model->config.d_model; i++)
        value[i] = -value[i];
    projection_norm(model, norm, value, 1);
}
