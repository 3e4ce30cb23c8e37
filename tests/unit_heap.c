/*
 * Unit tests of heap.h: what comes out of a heap is compared with an array that qsort has put in
 * order, and the room of small arrays with its bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/messages.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1000 };

/* Equal keys tell their items apart by mark. */
struct item {
    uint32_t key, mark;
};

static bool is_less(const struct item *a, const struct item *b)
{
    return a->key < b->key;
}

DEFINE_HEAP(least, struct item, is_less);

static int by_key_and_mark(const void *a, const void *b)
{
    const struct item *left = a, *right = b;
    if (left->key != right->key)
        return left->key < right->key ? -1 : 1;
    return left->mark < right->mark ? -1 : left->mark > right->mark;
}

/* count items with at most so many different keys. */
static struct item *make_items(size_t count, uint32_t keys, uint64_t seed)
{
    struct item *items = new_array(count, sizeof *items);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct item){(uint32_t)(hash_random(seed, i, 0) % keys), (uint32_t)i};
    return items;
}

/* The same array in order. */
static struct item *sorted(const struct item *items, size_t count)
{
    struct item *copy = new_array(count, sizeof *copy);
    if (count) {
        memcpy(copy, items, count * sizeof *copy);
        qsort(copy, count, sizeof *copy, by_key_and_mark);
    }
    return copy;
}

/* All items in a heap of exactly their size, so that a step beyond it is seen by the sanitizers. */
static struct item *heap_of(const struct item *items, size_t count)
{
    struct item *heap = new_array(count, sizeof *heap);
    for (size_t i = 0; i < count; i++)
        least_push(heap, i, items[i]);
    return heap;
}

/* Keys come in order, and no item is lost or comes twice, also among equal ones. */
static void check_popping(size_t count, uint32_t keys)
{
    struct item *items = make_items(count, keys, count + keys), *expected = sorted(items, count);
    struct item *heap = heap_of(items, count), *popped = new_array(count, sizeof *popped);
    for (size_t i = 0; i < count; i++) {
        popped[i] = least_pop(heap, count - i);
        assert_int_equal(popped[i].key, expected[i].key);
    }
    struct item *found = sorted(popped, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(found[i].mark, expected[i].mark);
    free(items);
    free(expected);
    free(heap);
    free(popped);
    free(found);
}

static void items_come_out_in_the_order_of_a_sorted_array(void **state)
{
    (void)state;
    for (size_t count = 0; count < 40; count++)
        check_popping(count, UINT32_MAX);
    check_popping(MANY, UINT32_MAX);
}

static void equal_items_are_all_there(void **state)
{
    (void)state;
    for (size_t count = 0; count < 40; count++) {
        check_popping(count, 1);
        check_popping(count, 3);
    }
    check_popping(MANY, 1);
    check_popping(MANY, 7);
}

/* The size largest of all items: the least of those kept gives way. */
static void check_replacing(size_t size, uint32_t keys)
{
    struct item *items = make_items(MANY, keys, size + keys), *expected = sorted(items, MANY);
    struct item *heap = heap_of(items, size);
    for (size_t i = size; i < MANY; i++)
        if (is_less(&heap[0], &items[i]))
            least_replace(heap, size, items[i]);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(least_pop(heap, size - i).key, expected[MANY - size + i].key);
    free(items);
    free(expected);
    free(heap);
}

static void replacing_the_first_keeps_the_largest(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 4, 7, 8, 100, MANY};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_replacing(sizes[i], UINT32_MAX);
        check_replacing(sizes[i], 5);
    }
}

static void pushing_and_popping_can_take_turns(void **state)
{
    (void)state;
    struct item *items = make_items(MANY, 50, 3), *heap = new_array(MANY, sizeof *heap);
    size_t held = 0, in_heap[50] = {0};
    for (size_t i = 0; i < MANY; i++) {
        least_push(heap, held++, items[i]);
        in_heap[items[i].key]++;
        if (i % 3 == 2) {
            uint32_t least = 0;
            while (!in_heap[least])
                least++;
            assert_int_equal(least_pop(heap, held--).key, least);
            in_heap[least]--;
        }
    }
    free(items);
    free(heap);
}

static void room_of_small_arrays_grows_to_its_bound(void **state)
{
    (void)state;
    for (size_t most = 1; most < 70; most++) {
        size_t capacity = 0, growths = 0;
        size_t *array = NULL;
        for (size_t i = 0; i < most; i++) {
            size_t before = capacity;
            array = reserve_at_most(array, &capacity, i + 1, most, sizeof *array);
            array[i] = i;
            growths += capacity != before;
            assert_in_range(capacity, i + 1, most);
            assert_true(capacity <= 4 || capacity <= 2 * (i + 1));
        }
        for (size_t i = 0; i < most; i++)
            assert_int_equal(array[i], i);
        assert_in_range(growths, 1, 6);
        free(array);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_of_a_sorted_array),
        cmocka_unit_test(equal_items_are_all_there),
        cmocka_unit_test(replacing_the_first_keeps_the_largest),
        cmocka_unit_test(pushing_and_popping_can_take_turns),
        cmocka_unit_test(room_of_small_arrays_grows_to_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
