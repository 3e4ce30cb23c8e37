#include "table/statistics.h"

#include <math.h>
#include <stdbool.h>
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

/* ---- 95 % intervals ---- */

static const double NORMAL = 1.959963984540054; /* |X| is below it in 95 % of all cases */

/*
 * Wilson's, for a number of observations that need not be whole: the roots p of
 * (n + z^2) p^2 - (2 n share + z^2) p + n share^2 = 0, the lower one by their product,
 * so that it is 0 for the share 0.
 */
static struct interval score_interval(double share, double observations)
{
    double square = NORMAL * NORMAL, middle = 2 * observations * share + square;
    double root = sqrt(square * (square + 4 * observations * share * (1 - share)));
    double high = (middle + root) / (2 * (observations + square));
    return (struct interval){2 * observations * share * share / (middle + root), high < 1 ? high : 1};
}

struct interval share_interval(uint64_t part, uint64_t whole)
{
    if (!whole)
        return (struct interval){(double)NAN, (double)NAN};
    return score_interval((double)part / (double)whole, (double)whole);
}

void clusters_add_times(struct clusters *clusters, double part, double whole, uint64_t times)
{
    clusters->count += times;
    clusters->part += (double)times * part;
    clusters->whole += (double)times * whole;
    clusters->part_square += (double)times * part * part;
    clusters->product += (double)times * part * whole;
    clusters->whole_square += (double)times * whole * whole;
}

void clusters_add(struct clusters *clusters, double part, double whole)
{
    clusters_add_times(clusters, part, whole, 1);
}

double clusters_share(const struct clusters *clusters)
{
    return clusters->count ? clusters->part / clusters->whole : (double)NAN;
}

/*
 * How probable it is that Student's t is between -t and t: M. Abramowitz, I. A. Stegun,
 * Handbook of Mathematical Functions, 1964, equations 26.7.3 and 26.7.4.
 */
static double student_within(double t, uint64_t degrees)
{
    bool is_odd = degrees % 2;
    double angle = atan(t / sqrt((double)degrees)), cosine = cos(angle);
    double term = is_odd ? cosine : 1, sum = 0;
    for (uint64_t i = is_odd; i + 2 <= degrees; i += 2) {
        sum += term;
        term *= (double)(i + 1) / (double)(i + 2) * cosine * cosine;
    }
    return is_odd ? (angle + sin(angle) * sum) / acos(0) : sin(angle) * sum;
}

/* |t| is below it in 95 % of all cases. */
static double student(uint64_t degrees)
{
    enum { MANY = 10000, HALVINGS = 60 }; /* from MANY on it is NORMAL to within 0.02 % */
    if (degrees >= MANY)
        return NORMAL;
    double low = NORMAL, high = 13; /* 12.7 for one degree */
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (student_within(middle, degrees) < 0.95)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/*
 * V of statistics.h, of two clusters at least; 0 where their means are equal: differences below
 * rounding, relatively, are none.
 */
static double ratio_variance(const struct clusters *clusters)
{
    const double rounding = 1e-12;
    double count = (double)clusters->count, share = clusters_share(clusters);
    double squares = clusters->part_square + share * share * clusters->whole_square;
    double difference = squares - 2 * share * clusters->product;
    return difference > rounding * squares
               ? count / (count - 1) * difference / (clusters->whole * clusters->whole)
               : 0;
}

struct interval clusters_interval(const struct clusters *clusters, double most)
{
    if (!clusters->count)
        return (struct interval){(double)NAN, (double)NAN};
    double share = clusters_share(clusters), effective = (double)clusters->count;
    double variance = clusters->count > 1 ? ratio_variance(clusters) : 0;
    if (variance > 0) {
        double fewer = NORMAL / student(clusters->count - 1);
        effective = fmin(share * (1 - share) / variance, most) * fewer * fewer;
    }
    return score_interval(share, fmax(effective, 1));
}

struct interval clusters_mean_interval(const struct clusters *clusters)
{
    if (clusters->count < 2)
        return (struct interval){(double)NAN, (double)NAN};
    double mean = clusters_share(clusters);
    double reach = student(clusters->count - 1) * sqrt(ratio_variance(clusters));
    return (struct interval){mean - reach, mean + reach};
}
