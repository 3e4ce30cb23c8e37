/*
 * Unit tests of mixtures of experts: which experts a position has, and layers of two experts, with a shared
 * one or with biases and limits, whose numbers are worked out by hand; and of attention with a sink.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/messages.h"
#include "model/experts.h"
#include "numeric/attention.h"
#include "numeric/floats.h"
#include "numeric/routing.h"
#include "stream/ranks.h"

#include <math.h>
#include <string.h>

/* ---- routing ---- */

static void assert_chosen(const struct chosen_expert *chosen, size_t expert, float weight)
{
    assert_int_equal(chosen->expert, expert);
    assert_float_equal(chosen->weight, weight, 1e-6f);
}

/* exp(logit) is 1, 4, 2, 3, of 10 in all. */
static void experts_with_the_largest_logits_are_chosen(void **state)
{
    (void)state;
    const float logits[] = {0, logf(4), logf(2), logf(3)};
    struct chosen_expert chosen[4];
    choose_experts(logits, 4, 2, false, chosen);
    assert_chosen(&chosen[0], 1, 0.4f);
    assert_chosen(&chosen[1], 3, 0.3f);
    choose_experts(logits, 4, 2, true, chosen);
    assert_chosen(&chosen[0], 1, 4.0f / 7);
    assert_chosen(&chosen[1], 3, 3.0f / 7);
    choose_experts(logits, 4, 1, true, chosen);
    assert_chosen(&chosen[0], 1, 1);
    choose_experts(logits, 4, 4, false, chosen);
    assert_chosen(&chosen[2], 2, 0.2f);
    assert_chosen(&chosen[3], 0, 0.1f);
}

static void of_equal_logits_the_lower_expert_is_chosen(void **state)
{
    (void)state;
    const float logits[] = {-5, 2, 2, -5, 2};
    struct chosen_expert chosen[4];
    choose_experts(logits, 5, 4, true, chosen);
    const size_t expected[] = {1, 2, 4, 0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(chosen[i].expert, expected[i]);
}

/* Far logits leave the others nothing. What is not a number is in every weight, and chooses none twice. */
static void logits_of_any_size_have_weights(void **state)
{
    (void)state;
    struct chosen_expert chosen[2];
    choose_experts((const float[]){-3e38f, 3e38f, 0}, 3, 2, true, chosen);
    assert_chosen(&chosen[0], 1, 1);
    assert_chosen(&chosen[1], 2, 0);
    choose_experts((const float[]){0, NAN, 1}, 3, 2, false, chosen);
    assert_int_not_equal(chosen[0].expert, chosen[1].expert);
    assert_true(isnan(chosen[0].weight) && isnan(chosen[1].weight));
}

static void a_sigmoid_is_that_of_libm(void **state)
{
    (void)state;
    float x[] = {-100, -3, 0, 0.5f, 100};
    const float of[] = {-100, -3, 0, 0.5f, 100};
    sigmoids(x, 5);
    for (size_t i = 0; i < 5; i++)
        assert_float_equal(x[i], (float)(1 / (1 + exp(-(double)of[i]))), 1e-6f);
}

static void what_is_not_zero_is_found_at_every_place(void **state)
{
    (void)state;
    enum { COUNT = 67 };
    float x[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        x[i] = i % 2 ? 0.0f : -0.0f;
    assert_true(floats_are_zero(x, COUNT) && floats_are_zero(x, 0));
    const float others[] = {1, -1e-45f, NAN, INFINITY};
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = others[i % 4];
        assert_false(floats_are_zero(x, COUNT));
        x[i] = 0;
    }
}

/* ---- a layer ---- */

enum { EXPERTS = 2, WIDTH = 2, SHARED = 1, CELLS = EXPERTS * WIDTH + SHARED, POSITIONS = 3, ROWS = 64 };

/*
 * Gates are 1 at the first dimension and relu, so that g . x is x_0; keys and values of cell i of expert e
 * are 10 e + i + 1, at the second dimension and the first. The router likes expert 1 where x_1 is positive.
 */
static const float gates[] = {1, 0, 1, 0}, shared_keys[] = {0, 100}, shared_values[] = {1, 2};
static const float first_keys[] = {0, 1, 0, 2}, second_keys[] = {0, 11, 0, 12};
static const float first_values[] = {1, 2, 0, 0}, second_values[] = {11, 12, 0, 0};
static const float router[] = {0, -1, 0, 1};

static struct model_expert make_expert(const float *keys, const float *values, size_t width)
{
    return (struct model_expert){.keys = matrix_of(keys, width, 2), .gates = matrix_of(gates, width, 2),
                                 .values = matrix_of(values, 2, width)};
}

static void a_layer_of_experts_computes_those_that_are_chosen(void **state)
{
    (void)state;
    struct model_expert expert[] = {make_expert(first_keys, first_values, WIDTH),
                                    make_expert(second_keys, second_values, WIDTH)};
    const struct model_layer layer = {.experts = expert, .router = matrix_of(router, EXPERTS, 2),
                                      .shared = make_expert(shared_keys, shared_values, SHARED)};
    const struct model_config config = {
        .d_model = 2, .d_ff = CELLS, .gated = true, .activation = ACTIVATION_RELU, .experts = EXPERTS,
        .chosen_experts = 1, .expert_width = WIDTH, .shared_width = SHARED, .experts_normalized = true};
    float x[ROWS * 2] = {1, 1, 2, -1, 3, 1}, coefficient[POSITIONS * CELLS], ffn[POSITIONS * 2];
    uint8_t signs[POSITIONS * CELLS];
    memset(coefficient, 0xff, sizeof coefficient);
    memset(signs, 0xff, sizeof signs);
    const struct products products = {.rows = ROWS, .step = PRODUCT_STEP};
    struct experts *experts = experts_new(&config, &products);

    experts_coefficients(experts, &layer, POSITIONS, x, coefficient, signs);
    const float expected[] = {0,  0,  11, 12, 100, /* expert 1: x_0 times 11 and 12 */
                              -2, -4, 0,  0,  -200,
                              0,  0,  33, 36, 300};
    assert_memory_equal(coefficient, expected, sizeof expected);
    const uint8_t combinations[] = {NO_SIGNS, NO_SIGNS, 0, 0, 0, /* both positive */
                                    1, 1, NO_SIGNS, NO_SIGNS, 1, /* the gate is, the input is not */
                                    NO_SIGNS, NO_SIGNS, 0, 0, 0};
    assert_memory_equal(signs, combinations, sizeof signs);

    experts_values(experts, &layer, POSITIONS, coefficient, ffn);
    const float sums[] = {11 * 11 + 12 * 12 + 100, 200, -2 - 8 - 200, -400, 33 * 11 + 36 * 12 + 300, 600};
    assert_memory_equal(ffn, sums, sizeof sums);

    coefficient[1] = 5; /* of an expert that position 0 has not chosen: it counts, once it is set */
    memset(coefficient + 2, 0, 3 * sizeof *coefficient);
    experts_values(experts, &layer, POSITIONS, coefficient, ffn);
    assert_float_equal(ffn[0], 5 * 2, 0);
    assert_float_equal(ffn[1], 0, 0);
    assert_memory_equal(ffn + 2, sums + 2, 4 * sizeof *sums);
    experts_free(experts);
}

/*
 * The first expert with biases: its gate becomes x_0 + 0.5 and its inputs x_1 + 1 and 2 x_1 + 3; above 2 the
 * gate is 2, and inputs stay between -2 and 2, and get a 1.
 */
static void biases_and_limits_of_an_expert_are_those_of_the_formula(void **state)
{
    (void)state;
    static const float gates_bias[] = {0.5f, 0.5f}, keys_bias[] = {1, 3}, values_bias[] = {1000, -1000};
    static const float router_bias[] = {5, 0}; /* it is chosen where x_1 is 2, too */
    struct model_expert expert[] = {make_expert(first_keys, first_values, WIDTH),
                                    make_expert(second_keys, second_values, WIDTH)};
    expert[0].gates_bias = gates_bias;
    expert[0].keys_bias = keys_bias;
    expert[0].values_bias = values_bias;
    const struct model_layer layer = {.experts = expert, .router = matrix_of(router, EXPERTS, 2),
                                      .router_bias = router_bias};
    const struct model_config config = {
        .d_model = 2, .d_ff = EXPERTS * WIDTH, .gated = true, .activation = ACTIVATION_RELU, .gate_limit = 2,
        .experts = EXPERTS, .chosen_experts = 1, .expert_width = WIDTH, .experts_normalized = true};
    float x[ROWS * 2] = {1, 2, 3, -3, 1, 4}, coefficient[POSITIONS * EXPERTS * WIDTH], ffn[POSITIONS * 2];
    uint8_t signs[POSITIONS * EXPERTS * WIDTH];
    const struct products products = {.rows = ROWS, .step = PRODUCT_STEP};
    struct experts *experts = experts_new(&config, &products);

    experts_coefficients(experts, &layer, POSITIONS, x, coefficient, signs);
    const float expected[] = {4.5f, 4.5f, 0, 0, /* 1.5 (min(3, 2) + 1), 1.5 (min(7, 2) + 1) */
                              -2, -2, 0, 0,     /* 2 (max(-2, -2) + 1), 2 (max(-3, -2) + 1) */
                              0, 0, 3, 3};      /* the other, without biases: 1 (2 + 1) */
    assert_memory_equal(coefficient, expected, sizeof expected);
    const uint8_t combinations[] = {0, 0, NO_SIGNS, NO_SIGNS, 1, 1, NO_SIGNS, NO_SIGNS,
                                    NO_SIGNS, NO_SIGNS, 0, 0};
    assert_memory_equal(signs, combinations, sizeof signs);

    coefficient[0] = coefficient[1] = 0; /* the bias stays */
    experts_values(experts, &layer, POSITIONS, coefficient, ffn);
    const float sums[] = {1000, -1000, 1000 - 2 - 4, -1000, 33 + 36, 0};
    assert_memory_equal(ffn, sums, sizeof sums);
    experts_free(experts);
}

/* ---- attention ---- */

/* Against the definition in double precision, for sinks below, among and above the scores, with a window. */
static void a_sink_takes_its_part_of_the_softmax(void **state)
{
    (void)state;
    enum { LENGTH = 5, HEAD = 3, ROOM = 512 };
    static const float sinks[] = {-100, 0.5f, 100};
    float query[LENGTH * HEAD], key[LENGTH * HEAD], value[LENGTH * HEAD], out[LENGTH * HEAD];
    float workspace[ROOM];
    for (size_t i = 0; i < LENGTH * HEAD; i++) {
        query[i] = (float)(i % 5) - 2;
        key[i] = (float)(i % 7) - 3;
        value[i] = (float)(i % 4) - 1;
    }
    for (size_t s = 0; s < sizeof sinks / sizeof *sinks; s++) {
        const struct attention rule = {.width = HEAD, .scale = 0.5f, .window = 3, .sink = &sinks[s]};
        assert_true(attention_workspace(HEAD, LENGTH) <= ROOM);
        attend_sentence(&rule, NULL, query, HEAD, key, value, HEAD, LENGTH, workspace, out);
        for (size_t i = 0; i < LENGTH; i++) {
            double sum = exp((double)sinks[s]), wanted[HEAD] = {0};
            for (size_t j = i < 2 ? 0 : i - 2; j <= i; j++) {
                double score = 0;
                for (size_t c = 0; c < HEAD; c++)
                    score += 0.5 * (double)query[i * HEAD + c] * (double)key[j * HEAD + c];
                sum += exp(score);
                for (size_t c = 0; c < HEAD; c++)
                    wanted[c] += exp(score) * (double)value[j * HEAD + c];
            }
            for (size_t c = 0; c < HEAD; c++)
                assert_true(fabs(wanted[c] / sum - (double)out[i * HEAD + c]) < 1e-6);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_with_the_largest_logits_are_chosen),
        cmocka_unit_test(of_equal_logits_the_lower_expert_is_chosen),
        cmocka_unit_test(logits_of_any_size_have_weights),
        cmocka_unit_test(a_sigmoid_is_that_of_libm),
        cmocka_unit_test(what_is_not_zero_is_found_at_every_place),
        cmocka_unit_test(a_layer_of_experts_computes_those_that_are_chosen),
        cmocka_unit_test(biases_and_limits_of_an_expert_are_those_of_the_formula),
        cmocka_unit_test(a_sink_takes_its_part_of_the_softmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
