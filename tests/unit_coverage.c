/*
 * Unit tests of the arithmetic of common/stream/coverage.h, against looking at every number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream/coverage.h"

static bool has(struct progression progression, uint64_t number)
{
    return number >= progression.first && number < progression.end
        && (number - progression.first) % progression.step == 0;
}

enum { NUMBERS = 14 };

/* Calls each with every progression below NUMBERS, which may be empty. */
static void for_all(void (*each)(struct progression progression))
{
    for (uint64_t first = 0; first < NUMBERS; first++)
        for (uint64_t end = first; end <= NUMBERS; end++)
            for (uint64_t step = 1; step <= NUMBERS + 2; step++)
                each((struct progression){first, end, step});
}

static void check_normal(struct progression progression)
{
    struct progression normal = progression_normal(progression);
    uint64_t count = 0, last = 0;
    for (uint64_t i = 0; i < NUMBERS; i++) {
        assert_int_equal(has(progression, i), has(normal, i));
        if (has(progression, i)) {
            count++;
            last = i;
        }
    }
    assert_int_equal(progression_count(progression), count);
    if (count)
        assert_int_equal(normal.end, last + 1);
    if (count <= 1)
        assert_int_equal(normal.step, 1);
}

static void the_normal_form_has_the_same_numbers(void **state)
{
    (void)state;
    for_all(check_normal);
}

static struct progression other;

static void check_meeting(struct progression progression)
{
    uint64_t common = 0, expected = 0;
    while (expected < NUMBERS && !(has(progression, expected) && has(other, expected)))
        expected++;
    assert_int_equal(progression_meets(progression, other, &common), expected < NUMBERS);
    if (expected < NUMBERS)
        assert_int_equal(common, expected);
}

static void check_with_all(struct progression progression)
{
    other = progression;
    for_all(check_meeting);
}

static void two_meet_where_a_look_at_every_number_finds_it(void **state)
{
    (void)state;
    for_all(check_with_all);
}

/* By hand: 2^31 is 1 modulo 2^31 - 1, so that 2^31 i is r modulo 2^31 - 1 from i = r on. */
static void large_numbers_do_not_overflow(void **state)
{
    (void)state;
    const uint64_t half = (uint64_t)1 << 31, end = (uint64_t)1 << 62, rest = half - 2, meeting = half * rest;
    uint64_t common;
    struct progression far = {rest, end, half - 1};
    assert_true(progression_meets((struct progression){0, end, half}, far, &common));
    assert_int_equal(common, meeting);
    assert_false(progression_meets((struct progression){0, meeting, half}, far, &common));
    far = (struct progression){1, end, end - 4};
    assert_false(progression_meets((struct progression){0, end, end - 2}, far, &common));
    far.step = end - 2;
    assert_true(progression_meets((struct progression){0, end, end - 1}, far, &common));
    assert_int_equal(common, end - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_normal_form_has_the_same_numbers),
        cmocka_unit_test(two_meet_where_a_look_at_every_number_finds_it),
        cmocka_unit_test(large_numbers_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
