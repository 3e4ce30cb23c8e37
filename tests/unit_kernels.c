/* Loops that take many numbers at once, against loops that take one after the other. */
#include "analysis/maxima.h"
#include "analysis/topk.h"
#include "base/hash.h"
#include "base/messages.h"
#include "numeric/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A few different numbers, so that some are equal. */
static float coarse(uint64_t seed, uint64_t i)
{
    return (float)(hash_random(seed, i, 0) % 21) - 10;
}

static float fine(uint64_t seed, uint64_t i)
{
    return (float)(hash_random(seed, i, 0) >> 40) * 0x1p-23f - 1;
}

static float worst_of(enum rank rank)
{
    return rank == RANK_VALUE ? -INFINITY : rank == RANK_ABS ? 0 : INFINITY;
}

/* Widths below, at and above the columns that are taken at once; equal elements: the lower position. */
static void maxima_are_those_of_each_column(void **state)
{
    (void)state;
    enum { ROWS = 7, WIDEST = 101 };
    float matrix[ROWS * WIDEST], best[WIDEST];
    uint32_t position[WIDEST];
    const size_t widths[] = {1, 31, 32, 33, 64, WIDEST};
    const struct maxima_positions positions = {1, 2, 1 + ROWS};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (enum rank rank = RANK_VALUE; rank <= RANK_MIN; rank++) {
            size_t width = widths[w];
            for (size_t i = 0; i < ROWS * width; i++)
                matrix[i] = coarse(width, i);
            column_maxima(rank, matrix, NULL, width, positions, best, position);
            for (size_t i = 0; i < width; i++) {
                float most = worst_of(rank);
                uint32_t at = positions.first;
                for (uint32_t j = positions.first; j < positions.end; j++) {
                    float value = matrix[(j - positions.lowest) * width + i];
                    if (rank_score(rank, value) > rank_score(rank, most)) {
                        most = value;
                        at = j;
                    }
                }
                assert_true(best[i] <= most && best[i] >= most);
                assert_int_equal(position[i], at);
            }
        }
}

static void coefficients_that_are_wanted_are_found_one_after_the_other(void **state)
{
    (void)state;
    enum { KEYS = 77 };
    const uint32_t tokens[] = {10, 11};
    const struct ranks three = {.count = 3, .rank = {RANK_VALUE, RANK_ABS, RANK_MIN}};
    struct topk *topk = topk_new(KEYS, &three, 1, 0);
    for (size_t rank = 0; rank < three.count; rank++) {
        float row[KEYS];
        for (size_t key = 0; key < KEYS; key++) { /* each list has its one prefix, with another score */
            struct topk_sentence *text = NULL;
            topk_offer(topk, topk_list(topk, key, rank), coarse(1, key), 3, 1, NULL, tokens, 2, &text);
            if (text)
                topk_release(&text);
            row[key] = key % 23 == 5 ? coarse(2, key) : 0; /* few, as in long texts */
        }
        size_t list = topk_list(topk, 0, rank), found = 0;
        for (size_t key = 0; key < KEYS; key++) {
            if (!topk_wants(topk, topk_list(topk, key, rank), row[key]))
                continue;
            assert_int_equal(topk_first_wanted(topk, list + found, row + found, KEYS - found), key - found);
            found = key + 1;
        }
        assert_int_equal(topk_first_wanted(topk, list + found, row + found, KEYS - found), KEYS - found);
        assert_true(found > 0);
    }
    topk_free(topk);
}

/* One query after the other, in double precision. */
static void attend_plainly(const struct attention *rule, const float *bias, const float *query,
                           const float *key, const float *value, size_t length, double *out)
{
    double *weight = new_array(length, sizeof *weight);
    for (size_t i = 0; i < length; i++) {
        double sum = 0;
        for (size_t j = 0; j <= i; j++) {
            double score = 0;
            for (size_t c = 0; c < rule->width; c++)
                score += (double)query[i * rule->width + c] * key[j * rule->width + c];
            score *= rule->scale;
            score = rule->cap > 0 ? rule->cap * tanh(score / rule->cap) : score;
            bool sees = !rule->window || i - j < rule->window;
            sum += weight[j] = sees ? exp(score + (bias ? bias[j] : 0)) : 0;
        }
        for (size_t c = 0; c < rule->width; c++) {
            out[i * rule->width + c] = 0;
            for (size_t j = 0; j <= i; j++)
                out[i * rule->width + c] += weight[j] / sum * value[j * rule->width + c];
        }
    }
    free(weight);
}

static void check_attention(const struct attention *rule, bool biased, size_t length)
{
    size_t count = length * rule->width, padded = attention_padded(length);
    float *query = new_floats(count), *key = new_floats(count), *value = new_floats(count);
    float *out = new_floats(count), *bias = biased ? new_floats(padded) : NULL;
    float *workspace = new_floats(attention_workspace(rule->width, length));
    double *right = new_array(count, sizeof *right);
    for (size_t i = 0; i < count; i++) {
        query[i] = 4 * fine(1, i);
        key[i] = fine(2, i);
        value[i] = fine(3, i);
    }
    for (size_t j = 0; biased && j < padded; j++)
        bias[j] = 0.1f * (float)j;
    attend_sentence(rule, bias, query, rule->width, key, value, rule->width, length, workspace, out);
    attend_plainly(rule, bias, query, key, value, length, right);
    for (size_t i = 0; i < count; i++)
        assert_true(fabs(out[i] - right[i]) < 2e-5);
    void *all[] = {query, key, value, out, bias, workspace, right};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Lengths and widths that tiles divide, and that they do not. */
static void attention_is_that_of_each_query(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 3, 4, 5, 15, 16, 17, 38}, widths[] = {5, 16, 40};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            struct attention rule = {.width = widths[w], .scale = 0.5f};
            check_attention(&rule, false, lengths[l]);
            rule.window = 6;
            check_attention(&rule, true, lengths[l]);
            rule.window = 17;
            rule.cap = 3;
            check_attention(&rule, false, lengths[l]);
        }
}

/* Of a sentence whose last positions are computed one batch after the other, as of all of it at once. */
static void check_last_positions(const struct attention *rule, const float *bias, size_t from)
{
    enum { LENGTH = 53, WIDTH = 20, PADDED = 64 };
    float query[LENGTH * WIDTH], key[LENGTH * WIDTH], value[LENGTH * WIDTH], keys[WIDTH * PADDED] = {0};
    float whole[LENGTH * WIDTH], last[LENGTH * WIDTH];
    for (size_t i = 0; i < LENGTH * WIDTH; i++) {
        query[i] = 4 * fine(1, i);
        key[i] = fine(2, i);
        value[i] = fine(3, i);
    }
    float *workspace = new_floats(attention_workspace(WIDTH, PADDED));
    attend_sentence(rule, bias, query, WIDTH, key, value, WIDTH, LENGTH, workspace, whole);
    keep_keys(key, WIDTH, WIDTH, LENGTH, keys, PADDED);
    const struct kept kept = {.keys = keys, .values = value, .keys_step = PADDED, .values_step = WIDTH};
    attend_last(rule, bias, query + from * WIDTH, WIDTH, &kept, from, LENGTH, workspace, last);
    assert_memory_equal(last, whole + from * WIDTH, (LENGTH - from) * WIDTH * sizeof *last);
    free(workspace);
}

static void a_position_alone_has_the_bits_of_its_sentence(void **state)
{
    (void)state;
    float bias[64];
    const float sink = 0.5f;
    const size_t from[] = {0, 1, 20, 36, 37, 38, 52};
    for (size_t j = 0; j < 64; j++)
        bias[j] = 0.1f * (float)j;
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        const struct attention plain = {.width = 20, .scale = 0.5f};
        const struct attention all = {.width = 20, .scale = 0.5f, .cap = 3, .window = 19, .sink = &sink};
        check_last_positions(&plain, NULL, from[i]);
        check_last_positions(&all, bias, from[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maxima_are_those_of_each_column),
        cmocka_unit_test(coefficients_that_are_wanted_are_found_one_after_the_other),
        cmocka_unit_test(attention_is_that_of_each_query),
        cmocka_unit_test(a_position_alone_has_the_bits_of_its_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
