/*
 * Unit tests of what section 5's statistics rest on: questions to a projection against whole
 * distributions, sums that do not depend on their order, samples of sentences.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analysis/sentence_sample.h"
#include "base/hash.h"
#include "base/messages.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "stream/sums.h"
#include "table/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From -0.5 to 0.5. */
static double random_real(uint64_t seed, uint64_t index)
{
    return (double)(hash_random(seed, index, 7) >> 11) * 0x1p-53 - 0.5;
}

/* ---- projection_ask ---- */

enum { WIDTH = 24, ALL_CLUSTERS = 4, VECTORS = 300 };

/* A model of nothing but its output words. The caller frees it with free_words. */
static struct model make_words(const size_t *sizes, size_t clusters)
{
    struct model model = {.config = {.d_model = WIDTH, .clusters = clusters}};
    model.cluster = new_array(clusters, sizeof *model.cluster);
    for (size_t i = 0; i < clusters; i++) {
        size_t width = (size_t)WIDTH >> i;
        float *words = new_floats(sizes[i] * width), *projection = i ? new_floats(WIDTH * width) : NULL;
        for (size_t k = 0; k < sizes[i] * width; k++)
            words[k] = (float)random_real(10 + i, k);
        for (size_t k = 0; i && k < WIDTH * width; k++)
            projection[k] = (float)random_real(20 + i, k);
        /* equal words: neighbours, and at the cluster's ends */
        memcpy(words + width, words, width * sizeof *words);
        memcpy(words + (sizes[i] - 1) * width, words, width * sizeof *words);
        model.cluster[i] = (struct model_cluster){.first = model.config.vocabulary,
                                                  .size = sizes[i],
                                                  .width = width,
                                                  .output = matrix_of(words, sizes[i], width),
                                                  .output_projection = matrix_of(projection, WIDTH, width)};
        model.config.vocabulary += sizes[i];
    }
    float *keys = new_floats(ALL_CLUSTERS * WIDTH);
    for (size_t k = 0; k < ALL_CLUSTERS * WIDTH; k++)
        keys[k] = (float)random_real(30, k);
    model.cluster_keys = matrix_of(keys, model.config.clusters - 1, WIDTH);
    return model;
}

static void free_words(struct model *model)
{
    for (size_t i = 0; i < model->config.clusters; i++) {
        free((float *)(uintptr_t)model->cluster[i].output.values);
        free((float *)(uintptr_t)model->cluster[i].output_projection.values);
    }
    free(model->cluster);
    free((float *)(uintptr_t)model->cluster_keys.values);
}

/* Short ones, for which all words are nearly alike, to long ones, that a single word takes; and zeros. */
static float *make_vectors(void)
{
    float *vectors = new_floats(VECTORS * WIDTH);
    for (size_t i = 0; i < VECTORS; i++)
        for (size_t k = 0; k < WIDTH && i % 50; k++)
            vectors[i * WIDTH + k] = (float)(random_real(40, i * WIDTH + k) * pow(4, (double)(i % 7) - 2));
    return vectors;
}

/* Sets of candidates: all tokens; the ends left out; nearly every other one; a cluster or two left out. */
enum { ALL_TOKENS, WITHOUT_ENDS, SOME, WITHOUT_CLUSTERS, CANDIDATE_SETS };

static struct candidates make_candidates(const struct model *model, int set)
{
    size_t vocabulary = model->config.vocabulary, clusters = model->config.clusters;
    bool *can_follow = new_array(vocabulary, sizeof *can_follow);
    for (size_t c = 0; c < clusters; c++)
        for (size_t i = 0; i < model->cluster[c].size; i++) {
            size_t token = model->cluster[c].first + i;
            can_follow[token] = set == ALL_TOKENS
                || (set == WITHOUT_ENDS && i > 1 && i + 2 < model->cluster[c].size)
                || (set == SOME && hash_random(70, token, 0) % 2)
                || (set == WITHOUT_CLUSTERS && (clusters == 1 || c % 2));
        }
    struct candidates candidates = candidates_new(can_follow, vocabulary, "test");
    free(can_follow);
    return candidates;
}

/* Whole distributions, VECTORS x vocabulary, by projection_run. */
static float *run_all(const struct model *model, const float *vectors)
{
    size_t vocabulary = model->config.vocabulary;
    struct candidates all = candidates_all(vocabulary);
    struct projection *projection = projection_new(model, &all);
    float *rows = new_floats((VECTORS + PROJECTION_ROWS) * vocabulary);
    float *padded = new_floats((VECTORS + PROJECTION_ROWS) * WIDTH);
    memcpy(padded, vectors, VECTORS * WIDTH * sizeof *padded);
    for (size_t i = 0; i < VECTORS; i += PROJECTION_ROWS)
        projection_run(projection, padded + i * WIDTH, rows + i * vocabulary);
    free(padded);
    projection_free(projection);
    candidates_free(&all);
    return rows;
}

/* Whether BLAS gives a vector the same distribution in every place of the product. */
static bool rows_are_alike(const struct model *model)
{
    size_t vocabulary = model->config.vocabulary;
    struct candidates all = candidates_all(vocabulary);
    struct projection *projection = projection_new(model, &all);
    float vectors[PROJECTION_ROWS * WIDTH], *rows = new_floats(PROJECTION_ROWS * vocabulary);
    for (size_t i = 0; i < PROJECTION_ROWS * WIDTH; i++)
        vectors[i] = (float)random_real(50, i % WIDTH);
    projection_run(projection, vectors, rows);
    bool alike = true;
    for (size_t i = 1; i < PROJECTION_ROWS; i++)
        alike = alike && !memcmp(rows, rows + i * vocabulary, vocabulary * sizeof *rows);
    free(rows);
    projection_free(projection);
    candidates_free(&all);
    return alike;
}

/* Logits are rounded by their size, of which a row's lowest log-probability gives an idea. */
static double rounding(const float *row, size_t vocabulary)
{
    float lowest = 0;
    for (size_t i = 0; i < vocabulary; i++)
        lowest = row[i] < lowest ? row[i] : lowest;
    return 1e-6 * (1 - (double)lowest);
}

static bool is_near(float a, float b, double tolerance)
{
    return fabs((double)a - (double)b) <= tolerance;
}

static void check_answer(const float *row, const struct candidates *candidates, bool exact,
                         const struct projection_question *answer)
{
    size_t top = projection_top(row, candidates);
    double near = rounding(row, candidates->vocabulary);
    if (exact) {
        assert_int_equal(answer->top, top);
        assert_true(answer->top_log_probability == row[top]);
    }
    assert_true(is_near(answer->top_log_probability, row[answer->top], near));
    assert_true(is_near(row[answer->top], row[top], near));
    if (answer->token == NO_TOKEN)
        return;
    float own = row[answer->token];
    assert_true(exact ? answer->token_log_probability == own
                      : is_near(answer->token_log_probability, own, near));
    if (!answer->ranked)
        return;
    size_t above = 0, not_below = 0;
    for (size_t r = 0; r < candidates->range_count; r++)
        for (size_t i = candidates->range[r].first; i < candidates->range[r].end; i++) {
            bool equal = is_near(row[i], own, near);
            above += row[i] > own && !equal;
            not_below += i != answer->token && (row[i] >= own || equal);
        }
    assert_true(answer->token_rank > above && answer->token_rank <= not_below + 1);
    if (exact)
        assert_int_equal(answer->token_rank, projection_rank(row, candidates, answer->token));
}

/* Whether some of these tokens are candidates. */
static bool has_candidates(const struct model_cluster *cluster, const struct candidates *candidates)
{
    bool has = false;
    for (size_t r = 0; r < candidates->range_count; r++)
        has = has || (candidates->range[r].first < cluster->first + cluster->size
                      && candidates->range[r].end > cluster->first);
    return has;
}

static void check_questions(const size_t *sizes, size_t clusters, int set)
{
    struct model model = make_words(sizes, clusters);
    size_t vocabulary = model.config.vocabulary, wins[ALL_CLUSTERS] = {0};
    float *vectors = make_vectors(), *rows = run_all(&model, vectors);
    struct candidates candidates = make_candidates(&model, set);
    struct projection *projection = projection_new(&model, &candidates);
    struct projection_question *questions = new_array(VECTORS, sizeof *questions);
    bool exact = rows_are_alike(&model);
    for (size_t kind = 0; kind < 6; kind++) { /* no token; random ones; of the ends; with and without ranks */
        for (size_t i = 0; i < VECTORS; i++) {
            const struct model_cluster *cluster = &model.cluster[i % clusters];
            uint32_t end = (uint32_t)(i % 2 ? cluster->first : cluster->first + cluster->size - 1);
            questions[i] =
                (struct projection_question){.token = kind < 2   ? NO_TOKEN
                                                      : kind < 4 ? (uint32_t)(hash_random(60, i, kind)
                                                                              % vocabulary)
                                                                 : end,
                                             .ranked = kind >= 2 && (kind % 2 || i % 5 == 0)};
        }
        /* all at once, and in pieces of other sizes */
        for (size_t start = 0, piece = kind % 2 ? VECTORS : 37; start < VECTORS; start += piece)
            projection_ask(projection, vectors + start * WIDTH,
                           VECTORS - start < piece ? VECTORS - start : piece, questions + start);
        for (size_t i = 0; i < VECTORS; i++)
            check_answer(rows + i * vocabulary, &candidates, exact, &questions[i]);
    }
    for (size_t i = 0; i < VECTORS; i++)
        for (size_t c = 0; c < clusters; c++)
            wins[c] += questions[i].top >= model.cluster[c].first
                    && questions[i].top < model.cluster[c].first + model.cluster[c].size;
    for (size_t c = 0; c < clusters; c++) /* else a cluster that is always left out would not show */
        assert_int_equal(wins[c] > 0, has_candidates(&model.cluster[c], &candidates));
    projection_ask(projection, vectors, 0, questions);
    free(questions);
    free(vectors);
    free(rows);
    projection_free(projection);
    candidates_free(&candidates);
    free_words(&model);
}

static void questions_have_the_answers_of_whole_distributions(void **state)
{
    (void)state;
    for (int set = 0; set < CANDIDATE_SETS; set++) {
        check_questions((const size_t[]){40}, 1, set);
        check_questions((const size_t[]){20, 30}, 2, set);
        check_questions((const size_t[]){15, 20, 70}, 3, set);
        check_questions((const size_t[]){10, 33, 20, 150}, 4, set);
    }
}

/*
 * A vector of zeros: within a cluster all words are equal, each of 2 + 2 in the
 * head as probable as a whole cluster.
 */
static void equal_words_go_by_number_in_and_between_clusters(void **state)
{
    (void)state;
    struct model model = make_words((const size_t[]){3, 3, 4}, 3);
    struct candidates all = candidates_all(model.config.vocabulary);
    struct projection *projection = projection_new(&model, &all);
    float zeros[10 * WIDTH] = {0};
    struct projection_question questions[10];
    for (uint32_t i = 0; i < 10; i++)
        questions[i] = (struct projection_question){.token = i, .ranked = true};
    projection_ask(projection, zeros, 10, questions);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(questions[i].top, 0);
        assert_int_equal(questions[i].token_rank, i + 1); /* 3 of 1/5, 3 of 1/15, 4 of 1/20 */
        double p = i < 3 ? 1.0 / 5 : i < 6 ? 1.0 / 15 : 1.0 / 20;
        assert_true(fabs((double)questions[i].token_log_probability - log(p)) < 1e-6);
    }
    projection_free(projection);
    candidates_free(&all);
    free_words(&model);
}

/*
 * A cluster of one word has all of the cluster's probability, as much as one of the head's: the lower wins.
 */
static void a_whole_cluster_that_equals_the_best_word(void **state)
{
    (void)state;
    struct model model = make_words((const size_t[]){3, 3}, 2);
    model.cluster[1].size = 1;
    model.config.vocabulary = 4;
    struct candidates all = candidates_all(model.config.vocabulary);
    struct projection *projection = projection_new(&model, &all);
    float zeros[WIDTH] = {0};
    struct projection_question question = {.token = 3, .ranked = true};
    projection_ask(projection, zeros, 1, &question);
    assert_int_equal(question.top, 0);
    assert_int_equal(question.token_rank, 4);
    assert_true(question.token_log_probability == question.top_log_probability);
    projection_free(projection);
    candidates_free(&all);
    free_words(&model);
}

/*
 * Two clusters of one word each, equal and better than the head's: the lower
 * wins, whichever is looked at first.
 */
static void whole_clusters_that_equal_each_other(void **state)
{
    (void)state;
    struct model model = make_words((const size_t[]){3, 3, 3}, 3);
    for (size_t i = 1; i < 3; i++)
        model.cluster[i].size = model.cluster[i].output.rows = 1;
    model.cluster[2].first = 4;
    model.config.vocabulary = 5;
    float keys[2 * WIDTH], vector[WIDTH];
    for (size_t k = 0; k < WIDTH; k++) {
        vector[k] = 100;
        keys[k] = keys[WIDTH + k] = 1;
    }
    free((float *)(uintptr_t)model.cluster_keys.values);
    model.cluster_keys = matrix_of(keys, model.config.clusters - 1, WIDTH);
    struct candidates all = candidates_all(model.config.vocabulary);
    struct projection *projection = projection_new(&model, &all);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t token = 3 + i % 3; /* of either cluster, or none */
        struct projection_question question = {.token = token < 5 ? token : NO_TOKEN, .ranked = i > 2};
        projection_ask(projection, vector, 1, &question);
        assert_int_equal(question.top, 3);
        if (question.ranked && token < 5)
            assert_int_equal(question.token_rank, token - 2);
    }
    projection_free(projection);
    candidates_free(&all);
    model.cluster_keys = (struct matrix){0};
    free_words(&model);
}

/* ---- sums.h ---- */

static void exact_sums_are_those_of_long_arithmetic(void **state)
{
    (void)state;
    struct exact_sum sum = {{0}};
    exact_add(&sum, 0);
    assert_true(exact_value(&sum) == 0.0);
    /* bit b of the sum is 2^(b - 149): 1 is bit 149, that is bit 21 of limb 2 */
    exact_add(&sum, 1);
    assert_int_equal(sum.limb[2], (uint64_t)1 << 21);
    exact_add(&sum, 0x1p-149f); /* the smallest float */
    assert_int_equal(sum.limb[0], 1);
    exact_add(&sum, 0x1.8p-127f); /* subnormal: bits 22 and 21 */
    assert_int_equal(sum.limb[0], ((uint64_t)3 << 21) + 1);
    exact_add(&sum, 0x1.fffffep127f); /* the largest: 24 bits from 253 on, that is from 61 of limb 3 */
    assert_int_equal(sum.limb[4], 0x1fffff);
    assert_int_equal(sum.limb[3], (uint64_t)7 << 61);
    assert_true(exact_value(&sum) == 0x1.fffffep127);
    /* carries: 2^64 - 1 in units of the first limb, and one more */
    struct exact_sum carry = {{UINT64_MAX, UINT64_MAX, 5}};
    exact_add(&carry, 0x1p-149f);
    assert_true(carry.limb[0] == 0 && carry.limb[1] == 0 && carry.limb[2] == 6);
    /*
     * a number whose bits lie in two limbs: 2^-87 (1 + 2^-23) has bits 62 and
     * 39; 2^-86 (1 + 2^-1) bits 63, 62
     */
    struct exact_sum across = {{0}};
    exact_add(&across, 0x1.fffffep-80f); /* 24 bits from 46 to 69 */
    assert_true(across.limb[0] == (uint64_t)0x3ffff << 46 && across.limb[1] == 0x3f);
}

static void exact_sums_do_not_depend_on_order(void **state)
{
    (void)state;
    enum { NUMBERS = 4001 };
    float numbers[NUMBERS];
    for (size_t i = 0; i < NUMBERS; i++)
        numbers[i] = (float)ldexp(random_real(70, i) + 0.5, (int)(hash_random(71, i, 0) % 200) - 140);
    struct exact_sum forwards = {{0}}, stride = {{0}}, halves[2] = {{{0}}, {{0}}};
    for (size_t i = 0; i < NUMBERS; i++) {
        exact_add(&forwards, numbers[i]);
        exact_add(&stride, numbers[i * 1000 % NUMBERS]); /* 4001 is prime */
        exact_add(&halves[i % 2], numbers[NUMBERS - 1 - i]);
    }
    exact_add_sum(&halves[1], &halves[0]);
    assert_memory_equal(&forwards, &stride, sizeof stride);
    assert_memory_equal(&forwards, &halves[1], sizeof stride);
    /* a million times 0.1, as a float: exactly a million times its value */
    struct exact_sum tenths = {{0}};
    for (size_t i = 0; i < 1000000; i++)
        exact_add(&tenths, 0.1f);
    assert_true(exact_value(&tenths) == 1000000 * (double)0.1f);
}

static void quantiles_of_histograms_are_those_of_sorted_numbers(void **state)
{
    (void)state;
    enum { BINS = 40, MOST = 200 };
    for (size_t count = 1; count < MOST; count += 1 + count / 3) {
        struct histogram histogram = histogram_new(BINS);
        double numbers[MOST];
        for (size_t i = 0; i < count; i++) {
            size_t bin = hash_random(80, i, count) % BINS * (hash_random(81, i, count) % BINS) / BINS;
            numbers[i] = (double)bin;
            histogram.count[bin]++;
        }
        assert_int_equal(histogram_total(&histogram), count);
        sort_numbers(numbers, count);
        for (size_t q = 0; q <= 20; q++)
            assert_true(fabs(histogram_quantile(&histogram, (double)q / 20, histogram_whole_number)
                             - statistics_quantile(numbers, count, (double)q / 20)) < 1e-12);
        histogram_free(&histogram);
    }
    struct histogram none = histogram_new(BINS);
    assert_true(isnan(histogram_quantile(&none, 0.5, histogram_whole_number)));
    histogram_free(&none);
}

static void probabilities_are_known_to_within_a_thousandth(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100000; i++) {
        float p = (float)ldexp(random_real(90, i) + 0.5, -(int)(i % 100));
        double low = unit_value(unit_bin(p)), high = unit_value(unit_bin(p) + 1);
        assert_true(low <= (double)p && (double)p < high && high - low <= low / 1000);
    }
    assert_int_equal(unit_bin(0), 0);
    assert_true(unit_value(0) == 0.0);
    assert_int_equal(unit_bin(1), UNIT_BINS - 1);
    assert_true(unit_value(UNIT_BINS - 1) == 1.0);
    assert_int_equal(unit_bin(1.0005f), UNIT_BINS - 1);
    assert_int_equal(unit_bin(2), UNIT_BINS - 1);
}

/* ---- sentence_sample.h ---- */

enum { SENTENCES = 101, SAMPLED = 13 };

static int by_draw(const void *a, const void *b)
{
    uint64_t left = hash_random(5, *(const uint64_t *)a, 1),
             right = hash_random(5, *(const uint64_t *)b, 1);
    return left < right ? -1 : left > right;
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void a_sample_has_the_sentences_with_the_lowest_draws(void **state)
{
    (void)state;
    uint64_t expected[SENTENCES];
    for (uint64_t i = 0; i < SENTENCES; i++)
        expected[i] = i;
    qsort(expected, SENTENCES, sizeof *expected, by_draw);
    qsort(expected, SAMPLED, sizeof *expected, by_number);
    for (uint64_t step = 1; step <= 100; step += 33) { /* orders of offers; 101 is prime */
        struct sentence_sample *sample = sentence_sample_new(SAMPLED, 5);
        for (uint64_t i = 0; i < SENTENCES; i++) {
            uint64_t sentence = i * step % SENTENCES;
            uint32_t tokens[] = {(uint32_t)sentence, 7, (uint32_t)sentence + 1};
            sentence_sample_offer(sample, sentence, tokens, 1 + sentence % 3, sentence % 2);
        }
        size_t count;
        const struct sampled_sentence *taken = sentence_sample_take(sample, &count);
        assert_int_equal(count, SAMPLED);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(taken[i].sentence, expected[i]);
            assert_int_equal(taken[i].length, 1 + expected[i] % 3);
            assert_int_equal(taken[i].truncated, expected[i] % 2);
            assert_int_equal(taken[i].token[0], expected[i]);
            assert_int_equal(taken[i].token[taken[i].length - 1],
                             taken[i].length == 3 ? expected[i] + 1 : taken[i].length == 2 ? 7 : expected[i]);
        }
        sentence_sample_free(sample);
    }
}

static void a_sample_of_fewer_sentences_has_all(void **state)
{
    (void)state;
    struct sentence_sample *sample = sentence_sample_new(SAMPLED, 5);
    size_t count;
    sentence_sample_take(sample, &count);
    assert_int_equal(count, 0);
    const uint32_t token = 4;
    for (uint64_t i = 5; i-- > 0;)
        sentence_sample_offer(sample, i, &token, 1, false);
    const struct sampled_sentence *taken = sentence_sample_take(sample, &count);
    assert_int_equal(count, 5);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(taken[i].sentence, i);
    sentence_sample_free(sample);
}

int main(void)
{
    matrix_start(1, PRODUCTS_FLOAT32);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_have_the_answers_of_whole_distributions),
        cmocka_unit_test(equal_words_go_by_number_in_and_between_clusters),
        cmocka_unit_test(a_whole_cluster_that_equals_the_best_word),
        cmocka_unit_test(whole_clusters_that_equal_each_other),
        cmocka_unit_test(exact_sums_are_those_of_long_arithmetic),
        cmocka_unit_test(exact_sums_do_not_depend_on_order),
        cmocka_unit_test(quantiles_of_histograms_are_those_of_sorted_numbers),
        cmocka_unit_test(probabilities_are_known_to_within_a_thousandth),
        cmocka_unit_test(a_sample_has_the_sentences_with_the_lowest_draws),
        cmocka_unit_test(a_sample_of_fewer_sentences_has_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
