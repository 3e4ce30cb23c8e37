/* The order of numbers, for the comparisons that qsort is given. */
#ifndef FFKV_ORDER_H
#define FFKV_ORDER_H

#include <stdint.h>

/* Below 0 where a comes before b, above 0 where it comes behind b, 0 where they are equal. */
static inline int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

#endif
