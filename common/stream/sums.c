#include "stream/sums.h"

#include "base/json.h"
#include "base/messages.h"
#include "stream/counts.h"
#include "stream/header.h"
#include "stream/packing.h"
#include "stream/record_members.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- exact sums ---- */

/* Adds more, which is 64 * limb bits up. The sum is wide enough for 2^100 floats. */
static void add_at(struct exact_sum *sum, size_t limb, uint64_t more)
{
    for (; more && limb < EXACT_LIMBS; limb++) {
        sum->limb[limb] += more;
        more = sum->limb[limb] < more; /* the carry */
    }
}

void exact_add(struct exact_sum *sum, float number)
{
    enum { MANTISSA_BITS = 24, LOWEST = -149, LIMB = 64 };
    int exponent;
    if (number == 0)
        return;
    float fraction = frexpf(number, &exponent); /* [0.5, 1) */
    int place = exponent - MANTISSA_BITS - LOWEST;
    uint64_t mantissa = (uint64_t)ldexpf(fraction, MANTISSA_BITS);
    if (place < 0) { /* subnormal: its last bits are 0 */
        mantissa >>= -place;
        place = 0;
    }
    size_t limb = (size_t)place / LIMB;
    unsigned shift = (unsigned)place % LIMB;
    add_at(sum, limb, mantissa << shift);
    if (shift > LIMB - MANTISSA_BITS)
        add_at(sum, limb + 1, mantissa >> (LIMB - shift));
}

void exact_add_sum(struct exact_sum *sum, const struct exact_sum *more)
{
    for (size_t i = 0; i < EXACT_LIMBS; i++)
        add_at(sum, i, more->limb[i]);
}

double exact_value(const struct exact_sum *sum)
{
    double value = 0;
    for (size_t i = EXACT_LIMBS; i-- > 0;)
        value += ldexp((double)sum->limb[i], 64 * (int)i - 149);
    return value;
}

/* ---- histograms ---- */

struct histogram histogram_new(size_t bins)
{
    return (struct histogram){bins, new_array(bins, sizeof(uint64_t))};
}

void histogram_free(struct histogram *histogram)
{
    free(histogram->count);
    *histogram = (struct histogram){0};
}

void histogram_add(struct histogram *histogram, const struct histogram *more)
{
    uint64_t total = 0;
    for (size_t i = 0; i < histogram->bins; i++) {
        count_add(&histogram->count[i], more->count[i]);
        count_add(&total, histogram->count[i]);
    }
}

uint64_t histogram_total(const struct histogram *histogram)
{
    uint64_t total = 0;
    for (size_t i = 0; i < histogram->bins; i++)
        total += histogram->count[i];
    return total;
}

double histogram_sum(const struct histogram *histogram)
{
    double sum = 0; /* of products that are too large for 64 bits */
    for (size_t i = 0; i < histogram->bins; i++)
        sum += (double)i * (double)histogram->count[i];
    return sum;
}

/* The bin of the observation that has rank others before it. */
static size_t bin_of(const struct histogram *histogram, uint64_t rank)
{
    size_t bin = 0;
    for (; rank >= histogram->count[bin]; bin++)
        rank -= histogram->count[bin];
    return bin;
}

double histogram_quantile(const struct histogram *histogram, double q, double (*value)(size_t bin))
{
    uint64_t total = histogram_total(histogram);
    if (!total)
        return (double)NAN;
    double place = q * (double)(total - 1);
    uint64_t below = (uint64_t)place, above = below + 1 < total ? below + 1 : below;
    double low = value(bin_of(histogram, below)), high = value(bin_of(histogram, above));
    return low + (place - (double)below) * (high - low);
}

double histogram_whole_number(size_t bin)
{
    return (double)bin;
}

enum { DROPPED_BITS = 13 };

size_t unit_bin(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    size_t bin = number > 0 ? bits >> DROPPED_BITS : 0;
    return bin < UNIT_BINS ? bin : UNIT_BINS - 1; /* rounding may take a probability above 1 */
}

double unit_value(size_t bin)
{
    uint32_t bits = (uint32_t)bin << DROPPED_BITS;
    float number;
    memcpy(&number, &bits, sizeof number);
    return (double)number;
}

/* ---- in streams ---- */

/* NAME_WHAT; valid until the function's caller is done with text. */
enum { MAX_NAME = 64 };
static const char *member(char text[MAX_NAME], const char *name, const char *what)
{
    snprintf(text, MAX_NAME, "%s_%s", name, what);
    return text;
}

void exact_pack(msgpack_sbuffer *buffer, const char *name, const struct exact_sum *sum)
{
    char text[MAX_NAME];
    pack_array(buffer, member(text, name, "sum"), sum->limb, EXACT_LIMBS, sizeof *sum->limb);
}

void exact_read(const struct record *record, const char *name, struct exact_sum *sum)
{
    char text[MAX_NAME];
    struct exact_sum more;
    record_copy(record, member(text, name, "sum"), more.limb, EXACT_LIMBS, sizeof *more.limb);
    /* 2^48 floats, each below 2^128, and far from the end of the number, so that sums can be added. */
    if (more.limb[EXACT_LIMBS - 1] >> 32)
        stream_fail(record->reader, "'%s' is larger than a sum of 2^48 numbers", text);
    exact_add_sum(sum, &more);
}

void histogram_pack(msgpack_sbuffer *buffer, const char *name, const struct histogram *histogram)
{
    char text[MAX_NAME];
    uint32_t *bin = new_array(histogram->bins, sizeof *bin);
    uint64_t *count = new_array(histogram->bins, sizeof *count);
    size_t filled = 0;
    for (size_t i = 0; i < histogram->bins; i++)
        if (histogram->count[i]) {
            bin[filled] = (uint32_t)i;
            count[filled++] = histogram->count[i];
        }
    pack_array(buffer, member(text, name, "bin"), bin, filled, sizeof *bin);
    pack_array(buffer, member(text, name, "count"), count, filled, sizeof *count);
    free(bin);
    free(count);
}

bool histogram_found(const struct record *record, const char *name)
{
    char text[MAX_NAME];
    return record_has(record, member(text, name, "bin"));
}

void histogram_read(const struct record *record, const char *name, struct histogram *histogram)
{
    char text[MAX_NAME];
    size_t bins;
    uint32_t *bin = record_array(record, member(text, name, "bin"), sizeof *bin, &bins);
    uint64_t *count = record_array_of(record, member(text, name, "count"), bins, sizeof *count);
    uint64_t total = 0;
    for (size_t i = 0; i < bins; i++) {
        if (bin[i] >= histogram->bins || (i && bin[i] <= bin[i - 1]))
            stream_fail(record->reader, "the bins of '%s' do not rise or are too large", name);
        if (!count[i] || count[i] > MAX_COUNT - total)
            stream_fail(record->reader, "'%s' has a count of %llu", name, (unsigned long long)count[i]);
        total += count[i];
        count_add(&histogram->count[bin[i]], count[i]);
    }
    free(bin);
    free(count);
}

void header_declare_exact(json_t *header, const char *name)
{
    char text[MAX_NAME];
    header_declare(header, member(text, name, "sum"), "uint64", json_make("[i]", EXACT_LIMBS));
}

void header_declare_histogram(json_t *header, const char *name)
{
    char text[MAX_NAME], bins[MAX_NAME];
    snprintf(bins, sizeof bins, "%s bins", name);
    header_declare(header, member(text, name, "bin"), "uint32", json_make("[s]", bins));
    header_declare(header, member(text, name, "count"), "uint64", json_make("[s]", bins));
}

