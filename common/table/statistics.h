/* What tables are made of: shares, means, quantiles, and how far a sample determines them. */
#ifndef FFKV_STATISTICS_H
#define FFKV_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

/* part / whole; NaN, "not defined", where whole is 0. */
double statistics_share(uint64_t part, uint64_t whole);

/* Rising order. No number is NaN. */
void sort_numbers(double *numbers, size_t count);

/*
 * Of sorted numbers, by linear interpolation between the two nearest: q = 0 is the
 * first, q = 1 the last. NaN where there are none.
 */
double statistics_quantile(const double *sorted, size_t count, double q);

/* Of sorted numbers, added in that order; NaN where there are none. */
double statistics_mean(const double *sorted, size_t count);

/* ---- 95 % intervals ---- */

/* Both NaN, "not defined", where there are no observations. */
struct interval {
    double low, high;
};

/*
 * Of the share part / whole of whole independent observations: the score interval, that is
 * the shares p at which |part / whole - p| <= 1.96 sqrt(p (1 - p) / whole). E. B. Wilson,
 * Probable inference, the law of succession, and statistical inference, JASA 22, 1927; in
 * L. D. Brown, T. T. Cai, A. DasGupta, Interval estimation for a binomial proportion,
 * Statistical Science 16, 2001, section 3.1.
 */
struct interval share_interval(uint64_t part, uint64_t whole);

/*
 * Observations that come in clusters, such as the triggers of keys: those of a cluster are
 * alike, so that only clusters are independent. Sums over clusters, with n the observations of a
 * cluster and y those that count, or any number from 0 to n; start from {0}. They do not depend
 * on the order as long as all numbers are whole.
 */
struct clusters {
    uint64_t count;
    double part, whole;                    /* y, n */
    double part_square, product, whole_square; /* y y, y n, n n */
};
void clusters_add(struct clusters *clusters, double part, double whole);
void clusters_add_times(struct clusters *clusters, double part, double whole, uint64_t times);

/* The sum of y / the sum of n; NaN where there are no clusters. */
double clusters_share(const struct clusters *clusters);

/*
 * Of the share p = sum of y / sum of n: Wilson's interval for as many independent observations as
 * would determine p as well, p (1 - p) / V. V is the variance of a ratio of sums over k clusters,
 * k / (k - 1) sum of (y - p n)^2 / (sum of n)^2 (W. G. Cochran, Sampling Techniques, 1977, chapter
 * 6), and (1.96 / t)^2, t being Student's with k - 1 degrees of freedom, makes up for few
 * clusters (E. L. Korn, B. I. Graubard, Survey Methodology 24, 1998). The number is at least 1, and
 * at most the most that there are: INFINITY where y / n is a mean and no share of n. Where all
 * clusters have the same share, which says nothing of V, each counts as one observation.
 */
struct interval clusters_interval(const struct clusters *clusters, double most);

/*
 * Of a mean sum of y / sum of n with y of any size and sign: from t sqrt(V) below it to as much above
 * it, with V and t as above. Both NaN where there are fewer than two clusters.
 */
struct interval clusters_mean_interval(const struct clusters *clusters);

#endif
