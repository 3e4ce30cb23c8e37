/*
 * Binary heaps: DEFINE_HEAP(NAME, TYPE, GOES_FIRST) defines functions for arrays of TYPE in which
 * heap[0] is the item that goes first, by bool GOES_FIRST(const TYPE *, const TYPE *). They are
 * made for each type, so that the compiler can inline the comparison. The array and its size are
 * the caller's.
 *
 * void NAME_push(TYPE *heap, size_t count, TYPE item)
 *     Adds an item to a heap of count; there must be room for it.
 * void NAME_replace(TYPE *heap, size_t count, TYPE item)
 *     Puts an item in the place of the one that goes first. The heap has count items, at least 1,
 *     before and after.
 * TYPE NAME_pop(TYPE *heap, size_t count)
 *     Takes out the item that goes first, of count, at least 1.
 */
#ifndef FFKV_HEAP_H
#define FFKV_HEAP_H

#include <stddef.h>

/* Not every heap needs every function. */
#define HEAP_FUNCTION static inline __attribute__((unused))

#define DEFINE_HEAP(name, type, goes_first) \
    HEAP_FUNCTION void name##_push(type *heap, size_t count, type item) \
    { \
        size_t node = count; \
        for (; node && goes_first(&item, &heap[(node - 1) / 2]); node = (node - 1) / 2) \
            heap[node] = heap[(node - 1) / 2]; \
        heap[node] = item; \
    } \
    HEAP_FUNCTION void name##_replace(type *heap, size_t count, type item) \
    { \
        size_t node = 0; \
        for (size_t child; (child = 2 * node + 1) < count; node = child) { \
            child += child + 1 < count && goes_first(&heap[child + 1], &heap[child]); \
            if (!goes_first(&heap[child], &item)) \
                break; \
            heap[node] = heap[child]; \
        } \
        heap[node] = item; \
    } \
    HEAP_FUNCTION type name##_pop(type *heap, size_t count) \
    { \
        type first = heap[0]; \
        name##_replace(heap, count - 1, heap[count - 1]); \
        return first; \
    } \
    struct name##_heap_is_defined /* takes the semicolon */

#endif
