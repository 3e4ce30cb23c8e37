#include "table/statistics.h"

#include <math.h>
#include <stdlib.h>

double statistics_share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : (double)NAN;
}

static int by_number(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

void sort_numbers(double *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, by_number);
}

double statistics_quantile(const double *sorted, size_t count, double q)
{
    if (!count)
        return (double)NAN;
    double place = q * (double)(count - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

double statistics_mean(const double *sorted, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += sorted[i];
    return count ? sum / (double)count : (double)NAN;
}
