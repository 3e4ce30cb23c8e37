/*
 * Sums that come out the same in whatever order they are added up, so that threads and
 * shards can share the work: counts, exact sums of floats, histograms; and their form in
 * streams, for merging.
 */
#ifndef FFKV_SUMS_H
#define FFKV_SUMS_H

#include "stream/stream_reader.h"

#include <jansson.h>
#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

/* A sum of floats, none negative, without rounding: a fixed-point number of 384 bits. */
enum { EXACT_LIMBS = 6 };
struct exact_sum {
    uint64_t limb[EXACT_LIMBS]; /* lowest first; its bit 0 is 2^-149 */
};

/* number is finite and not negative. */
void exact_add(struct exact_sum *sum, float number);
void exact_add_sum(struct exact_sum *sum, const struct exact_sum *more);

/* The sum rounded to a double. */
double exact_value(const struct exact_sum *sum);

/* How many observations fell into each bin. */
struct histogram {
    size_t bins;
    uint64_t *count; /* bins */
};

struct histogram histogram_new(size_t bins);
void histogram_free(struct histogram *histogram);
void histogram_add(struct histogram *histogram, const struct histogram *more);
uint64_t histogram_total(const struct histogram *histogram);

/* The sum of the observations where each bin is the number of what is in it; exact below 2^53. */
double histogram_sum(const struct histogram *histogram);

/*
 * Quantile of the observations, value telling what one in a bin is; as quantile of
 * statistics.h has it. NaN where there are none.
 */
double histogram_quantile(const struct histogram *histogram, double q, double (*value)(size_t bin));

/* Values of bins: of whole numbers. */
double histogram_whole_number(size_t bin);

/* Bins for numbers from 0 to 1: a float's first bits, so that its bin is known to within 0.1 %. */
enum { UNIT_BINS = (0x3f800000 >> 13) + 1 };
size_t unit_bin(float number);

/* The lowest number of a bin. */
double unit_value(size_t bin);

/*
 * Members of a record, "NAME_sum", and "NAME_bin" with "NAME_count" of the bins that are not
 * empty, as tables of fields have them.
 */
void exact_pack(msgpack_sbuffer *buffer, const char *name, const struct exact_sum *sum);
void histogram_pack(msgpack_sbuffer *buffer, const char *name, const struct histogram *histogram);
void header_declare_exact(json_t *header, const char *name);
void header_declare_histogram(json_t *header, const char *name);

/* Whether a record has a histogram of that name. */
bool histogram_found(const struct record *record, const char *name);

/* Adds what a record has of that name; counts are from 1 to MAX_COUNT, and so is their sum. */
void exact_read(const struct record *record, const char *name, struct exact_sum *sum);
void histogram_read(const struct record *record, const char *name, struct histogram *histogram);

#endif
