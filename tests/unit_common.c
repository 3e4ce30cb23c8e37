/*
 * Unit tests of common/ where a tool's output would not show the fault, or
 * would show it late. Expected values are worked out here or by libm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analysis/topk.h"
#include "base/cli.h"
#include "base/messages.h"
#include "base/output.h"
#include "base/parallel.h"
#include "model/projection.h"
#include "numeric/floats.h"
#include "numeric/vector.h"
#include "stream/records.h"
#include "stream/sums.h"

#include <glob.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- output.h ---- */

/* How long the only file is that the pattern fits. */
static size_t size_of_file(const char *pattern)
{
    glob_t found;
    struct stat status;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    assert_int_equal(stat(found.gl_pathv[0], &status), 0);
    globfree(&found);
    return (size_t)status.st_size;
}

/*
 * Else a reader could have a stream's trailer before it is known that the stream is right. At
 * every size at which a buffer can be full, with last bytes as few as a trailer's checksum.
 */
static void the_last_bytes_are_not_out_before_an_output_is_finished(void **state)
{
    (void)state;
    enum { STEP = 4096, STEPS = 256, LAST = 4 };
    static const char bytes[STEP];
    char directory[] = "/tmp/ffkv-unit-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char *path = format_string("%s/out", directory), *written = format_string("%s/*", directory);
    struct output *output = output_open(path, OUTPUT_BINARY);
    for (size_t i = 1; i <= STEPS; i++) {
        output_write(output, bytes, STEP - LAST);
        output_write(output, bytes, LAST);
        assert_true(size_of_file(written) < i * STEP);
    }
    assert_true(size_of_file(written) > 0); /* it is this file that is written to */
    output_finish(output);
    assert_int_equal(size_of_file(path), STEPS * STEP);
    unlink(path);
    rmdir(directory);
    free(path);
    free(written);
}

/* ---- vector.h ---- */

static void exponential_is_that_of_libm_to_2_units(void **state)
{
    (void)state;
    for (float x = -86.9f; x < 87.9f; x += 0.00137f) {
        double exact = exp((double)x);
        float below = nextafterf((float)exact, 0), unit = (float)exact - below;
        if (fabs((double)exponential(x) - exact) > 2 * (double)unit)
            fail_msg("exponential(%g) is %.9g, not %.9g", (double)x, (double)exponential(x), exact);
    }
    assert_true(exponential(0) == 1.0f);
    assert_true(exponential(-INFINITY) == 0.0f);
    assert_true(exponential(-88.0f) == 0.0f);
}

/* ---- floats.h ---- */

/*
 * Sign, and for exponent e and fraction f: f 2^-24 if e = 0, else (1024 + f) 2^(e - 25); e = 31 is special.
 */
static void every_half_has_its_value(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x8000; half++) {
        int exponent = (int)(half >> 10), fraction = (int)(half & 1023);
        double value = exponent == 31 ? fraction ? (double)NAN : (double)INFINITY
                     : exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        float positive = from_half((uint16_t)half), negative = from_half((uint16_t)(half | 0x8000));
        assert_true(isnan(value) ? isnan(positive) && isnan(negative)
                                 : (double)positive == value && (double)negative == -value);
        assert_true(!signbit(positive) && signbit(negative));
    }
}

static void what_is_not_finite_is_found_at_every_place(void **state)
{
    (void)state;
    enum { LENGTH = 3 * LANES + 5 };
    const float bad[] = {INFINITY, -INFINITY, NAN};
    float values[LENGTH] = {0};
    assert_int_equal(floats_first_not_finite(values, LENGTH), LENGTH);
    for (size_t place = LENGTH; place-- > 0;) {
        values[place] = bad[place % 3];
        assert_int_equal(floats_first_not_finite(values, LENGTH), place);
    }
}

/* ---- cli.h ---- */

static void list_is_sorted_and_without_repetition(void **state)
{
    (void)state;
    const size_t expected[] = {0, 1, 2, 3, 7};
    size_t count;
    size_t *list = cli_list("7,0-3,2", 8, "cells", &count);
    assert_int_equal(count, 5);
    assert_memory_equal(list, expected, sizeof expected);
    free(list);
}

static void no_list_means_all(void **state)
{
    (void)state;
    size_t count;
    size_t *list = cli_list(NULL, 3, "cells", &count);
    assert_int_equal(count, 3);
    assert_int_equal(list[2], 2);
    free(list);
}

static void layers_count_from_1_where_people_type(void **state)
{
    (void)state;
    const size_t some[] = {0, 5, 7}, all[] = {0, 1, 2};
    size_t count;
    size_t *list = cli_layers("8,1,6", 8, &count);
    assert_int_equal(count, 3);
    assert_memory_equal(list, some, sizeof some);
    free(list);
    list = cli_layers(NULL, 3, &count);
    assert_int_equal(count, 3);
    assert_memory_equal(list, all, sizeof all);
    free(list);
}

/* ---- projection.h ---- */

static const float some_log_probabilities[] = {-3, -1, -2, -1, -5, -2};
enum { VOCABULARY = sizeof some_log_probabilities / sizeof *some_log_probabilities };

static void tops_and_ranks_take_the_lower_of_equal_tokens_first(void **state)
{
    (void)state;
    struct candidates all = candidates_all(VOCABULARY);
    const uint32_t order[VOCABULARY] = {1, 3, 2, 5, 0, 4};
    for (size_t count = 1; count <= VOCABULARY; count++) {
        uint32_t tops[VOCABULARY];
        projection_tops(some_log_probabilities, &all, count, tops);
        assert_memory_equal(tops, order, count * sizeof *order);
    }
    for (uint32_t rank = 1; rank <= VOCABULARY; rank++)
        assert_int_equal(projection_rank(some_log_probabilities, &all, order[rank - 1]), rank);
    assert_int_equal(projection_top(some_log_probabilities, &all), 1);
    candidates_free(&all);
}

/* Every set of candidates of six tokens, against the order of all without the others. */
static void tops_bottoms_and_ranks_are_of_candidates_only(void **state)
{
    (void)state;
    const uint32_t order[VOCABULARY] = {1, 3, 2, 5, 0, 4};
    for (unsigned set = 1; set < 1u << VOCABULARY; set++) {
        bool can_follow[VOCABULARY];
        uint32_t left[VOCABULARY], tokens[VOCABULARY], count = 0;
        for (size_t i = 0; i < VOCABULARY; i++)
            can_follow[i] = set & 1u << i;
        struct candidates candidates = candidates_new(can_follow, VOCABULARY, "test");
        for (size_t i = 0; i < VOCABULARY; i++) {
            assert_int_equal(projection_rank(some_log_probabilities, &candidates, order[i]), count + 1);
            if (can_follow[order[i]])
                left[count++] = order[i];
        }
        assert_int_equal(candidates.count, count);
        assert_int_equal(projection_top(some_log_probabilities, &candidates), left[0]);
        projection_tops(some_log_probabilities, &candidates, count, tokens);
        assert_memory_equal(tokens, left, count * sizeof *left);
        projection_bottoms(some_log_probabilities, &candidates, count, tokens);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(tokens[i], left[count - 1 - i]);
        candidates_free(&candidates);
    }
}

static void top_is_found_at_every_place_of_a_long_row(void **state)
{
    (void)state;
    enum { LENGTH = 3 * LANES + 5 };
    struct candidates all = candidates_all(LENGTH);
    for (size_t place = 0; place < LENGTH; place++) {
        float row[LENGTH];
        for (size_t i = 0; i < LENGTH; i++)
            row[i] = i == place ? -1.0f : -2.0f - (float)i;
        assert_int_equal(projection_top(row, &all), place);
        assert_int_equal(projection_rank(row, &all, place), 1);
    }
    candidates_free(&all);
}

/* ---- topk.h ---- */

static void offer(struct topk *topk, float coefficient, uint64_t sentence, uint32_t position)
{
    const uint32_t tokens[] = {10, 11, 12, 13};
    struct topk_sentence *text = NULL;
    topk_offer(topk, 0, coefficient, sentence, position, NULL, tokens, 4, &text);
    if (text)
        topk_release(&text);
}

static const struct ranks ranks = {.count = 1, .rank = {RANK_VALUE}};

static void best_prefixes_do_not_depend_on_the_order_of_offers(void **state)
{
    (void)state;
    /* best first: larger coefficient, lower sentence, lower position */
    const struct { float coefficient; uint64_t sentence; uint32_t position; } prefix[] = {
        {3, 5, 1}, {2, 1, 2}, {2, 1, 3}, {2, 4, 1}, {1, 0, 1}, {0.5f, 9, 3},
    };
    enum { PREFIXES = 6, KEPT = 4 };
    for (unsigned step = 1; step <= 5; step += 4) /* 1 and 5: both visit all of 6, in other orders */
        for (unsigned start = 0; start < PREFIXES; start++) {
            struct topk *topk = topk_new(1, &ranks, KEPT, 0);
            for (unsigned i = 0; i < PREFIXES; i++) {
                unsigned j = (start + step * i) % PREFIXES;
                offer(topk, prefix[j].coefficient, prefix[j].sentence, prefix[j].position);
            }
            struct key_triggers best = topk_take(topk, 0, 2, 3, 0, false);
            assert_int_equal(best.count, KEPT);
            for (size_t i = 0; i < KEPT; i++) {
                assert_int_equal(best.sentence[i], prefix[i].sentence);
                assert_int_equal(best.position[i], prefix[i].position);
                assert_int_equal(best.next[i], 10 + prefix[i].position);
            }
            assert_int_equal(best.prefix_tokens, 1 + 2 + 3 + 1);
            key_triggers_free(&best);
            topk_free(topk);
        }
}

static void a_key_that_never_fires_has_no_triggers(void **state)
{
    (void)state;
    struct topk *topk = topk_new(1, &ranks, 3, 0);
    offer(topk, 0, 1, 1);
    offer(topk, -1, 2, 1);
    offer(topk, -INFINITY, 3, 1);
    offer(topk, NAN, 4, 1);
    struct key_triggers none = topk_take(topk, 0, 0, 0, 0, false);
    assert_int_equal(none.count, 0);
    key_triggers_free(&none);
    topk_free(topk);
}

/* ---- parallel.h ---- */

enum { PIECES = 200 };

struct shared_work {
    size_t threads, taken, written;
    _Atomic size_t last_computed;
    size_t order[PIECES];
    size_t sum; /* of what each worker adds at its end */
    bool busy;  /* in a function that one thread at a time is promised to be in */
};

struct counting_worker {
    struct shared_work *work;
    size_t piece, sum;
};

static void *begin_counting(void *shared)
{
    struct counting_worker *worker = new_array(1, sizeof *worker);
    worker->work = shared;
    return worker;
}

static bool take_number(void *of_thread)
{
    struct counting_worker *worker = of_thread;
    struct shared_work *work = worker->work;
    assert_false(work->busy);
    work->busy = true;
    bool taken = work->taken < PIECES;
    worker->piece = work->taken;
    work->taken += taken;
    work->busy = false;
    return taken;
}

/* Every fourth piece waits for a later one to be computed, as a slow one would; every third writes early. */
static void compute_number(void *of_thread, struct turn *turn)
{
    struct counting_worker *worker = of_thread;
    struct shared_work *work = worker->work;
    for (size_t i = 0; worker->piece % 4 == 0 && work->threads > 1 && i < 1000000; i++)
        if (atomic_load(&work->last_computed) > worker->piece)
            break;
        else
            sched_yield();
    if (atomic_load(&work->last_computed) < worker->piece)
        atomic_store(&work->last_computed, worker->piece);
    worker->sum += worker->piece;
    if (worker->piece % 3 == 0) {
        turn_wait(turn);
        assert_true(turn_has_come(turn));
        assert_int_equal(work->written, worker->piece);
    }
}

static void write_number(void *of_thread)
{
    struct counting_worker *worker = of_thread;
    worker->work->order[worker->work->written++] = worker->piece;
}

static void end_counting(void *of_thread)
{
    struct counting_worker *worker = of_thread;
    worker->work->sum += worker->sum;
    free(worker);
}

static void pieces_are_written_in_the_order_of_taking(void **state)
{
    (void)state;
    static const struct ordered_work counting = {begin_counting, take_number, compute_number, write_number,
                                                 end_counting};
    for (size_t threads = 1; threads <= 7; threads += 3) {
        struct shared_work work = {.threads = threads};
        run_ordered(threads, &counting, &work);
        assert_int_equal(work.written, PIECES);
        for (size_t i = 0; i < PIECES; i++)
            assert_int_equal(work.order[i], i);
        assert_int_equal(work.sum, PIECES * (PIECES - 1) / 2);
    }
}

/* ---- cli.h, messages.h, records.h: what must end the program, or leave nothing behind ---- */

/* The status with which a child ends that does this; its message goes nowhere. */
static int status_of(void (*what)(void))
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        what();
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* 32 options are what the parser's tables have room for. */
static void parse_options(size_t count)
{
    static char names[64][24];
    static bool flag;
    struct option_spec specs[64] = {OPTION_END};
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "o%zu", i);
        specs[i] = (struct option_spec){0, names[i], NULL, "", OPTION_FLAG, &flag, 0, 0, NULL};
    }
    const struct tool tool = {"unit", "", "", specs, 0};
    char name[] = "unit", last[24];
    snprintf(last, sizeof last, "--o%zu", count - 1);
    char *arguments[] = {name, last, NULL};
    cli_parse(&tool, 2, arguments);
    if (!flag)
        _exit(98);
}

static void parse_32_options(void)
{
    parse_options(32);
}

static void parse_33_options(void)
{
    parse_options(33);
}

static void parse_50_options(void)
{
    parse_options(50);
}

static void options_beyond_the_table_are_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of(parse_32_options), STATUS_DONE);
    assert_int_equal(status_of(parse_33_options), STATUS_FAILED);
    assert_int_equal(status_of(parse_50_options), STATUS_FAILED);
}

static void count_a_matrix(void)
{
    matrix_count(SIZE_MAX / 2 + 1, 2);
}

static void grow_by_a_product(void)
{
    free(grow_array(NULL, matrix_count(SIZE_MAX / 4, 8), 1));
}

static void make_a_struct(void)
{
    free(new_struct(16, SIZE_MAX / 4 - 1, 4));
}

static void products_that_overflow_end_the_program(void **state)
{
    (void)state;
    assert_int_equal(status_of(count_a_matrix), STATUS_FAILED);
    assert_int_equal(status_of(grow_by_a_product), STATUS_FAILED);
    assert_int_equal(status_of(make_a_struct), STATUS_FAILED);
    assert_int_equal(matrix_count(SIZE_MAX / 2, 2), SIZE_MAX - 1);
    assert_int_equal(matrix_count(0, SIZE_MAX), 0);
    assert_int_equal(matrix_count(SIZE_MAX, 0), 0);
}

static void what_is_freed_can_be_freed_again(void **state)
{
    (void)state;
    struct batch batch = {.sentences = 1, .tokens = 1, .length = new_array(1, sizeof(uint32_t)),
                          .token = new_array(1, sizeof(uint32_t))};
    batch_free(&batch);
    assert_int_equal(batch.sentences, 0);
    batch_free(&batch);
    struct key_triggers key = {.count = 1, .coefficient = new_array(1, sizeof(float))};
    key_triggers_free(&key);
    assert_null(key.coefficient);
    key_triggers_free(&key);
    struct histogram histogram = histogram_new(3);
    histogram_free(&histogram);
    assert_int_equal(histogram.bins, 0);
    histogram_free(&histogram);
}

static void reserve_more_than_there_is(void)
{
    size_t capacity = SIZE_MAX / 2;
    free(reserve_array(NULL, &capacity, capacity + 1, sizeof(uint64_t)));
}

static void room_grows_by_doubling_and_ends_the_program_at_its_limit(void **state)
{
    (void)state;
    size_t capacity = 0, growths = 0;
    uint32_t *numbers = NULL;
    for (uint32_t i = 0; i < 10000; i++) {
        size_t before = capacity;
        numbers = reserve_array(numbers, &capacity, i + 1, sizeof *numbers);
        numbers[i] = i;
        growths += capacity != before;
    }
    assert_int_equal(numbers[9999], 9999);
    assert_in_range(growths, 1, 14);
    numbers = reserve_array(numbers, &capacity, 100000, sizeof *numbers);
    assert_int_equal(capacity, 100000);
    free(numbers);
    assert_int_equal(status_of(reserve_more_than_there_is), STATUS_FAILED);
}

static void a_prefix_ends_in_its_last_token_or_in_bos(void **state)
{
    (void)state;
    enum { BOS = 2 };
    uint32_t lengths[] = {0, 3, 0, 1}, tokens[] = {11, 12, 13, 14}, last[] = {BOS, 13, BOS, 14};
    struct key_triggers key = {.count = 4, .position = lengths, .prefix = tokens, .prefix_tokens = 4};
    size_t seen = 0;
    for (struct prefix_walk prefix = key_prefixes(&key, 10); prefix_next(&prefix); seen++) {
        assert_int_equal(prefix.index, seen);
        assert_int_equal(prefix.length, lengths[seen]);
        assert_int_equal(prefix_last(&prefix, BOS), last[seen]);
    }
    assert_int_equal(seen, 4);
    struct prefix_walk none = key_prefixes(&(struct key_triggers){0}, 10);
    assert_false(prefix_next(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_bytes_are_not_out_before_an_output_is_finished),
        cmocka_unit_test(exponential_is_that_of_libm_to_2_units),
        cmocka_unit_test(every_half_has_its_value),
        cmocka_unit_test(what_is_not_finite_is_found_at_every_place),
        cmocka_unit_test(list_is_sorted_and_without_repetition),
        cmocka_unit_test(no_list_means_all),
        cmocka_unit_test(layers_count_from_1_where_people_type),
        cmocka_unit_test(tops_and_ranks_take_the_lower_of_equal_tokens_first),
        cmocka_unit_test(tops_bottoms_and_ranks_are_of_candidates_only),
        cmocka_unit_test(top_is_found_at_every_place_of_a_long_row),
        cmocka_unit_test(best_prefixes_do_not_depend_on_the_order_of_offers),
        cmocka_unit_test(a_key_that_never_fires_has_no_triggers),
        cmocka_unit_test(pieces_are_written_in_the_order_of_taking),
        cmocka_unit_test(options_beyond_the_table_are_refused),
        cmocka_unit_test(products_that_overflow_end_the_program),
        cmocka_unit_test(what_is_freed_can_be_freed_again),
        cmocka_unit_test(room_grows_by_doubling_and_ends_the_program_at_its_limit),
        cmocka_unit_test(a_prefix_ends_in_its_last_token_or_in_bos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
