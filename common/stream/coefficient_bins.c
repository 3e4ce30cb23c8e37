#include "stream/coefficient_bins.h"

#include "stream/ranks.h"

#include <math.h>

const size_t counted_bins[COUNTED_KINDS] = {COEFFICIENT_BINS, MAGNITUDE_BINS, SIGNS};

float coefficient_bin_edge(size_t bin)
{
    enum { LOWEST = -12 };
    if (bin == COEFFICIENT_ZERO)
        return 0;
    size_t magnitude = bin < COEFFICIENT_ZERO ? COEFFICIENT_ZERO - 1 - bin : bin - COEFFICIENT_ZERO - 1;
    float edge = ldexpf(magnitude % 2 ? 1.5f : 1, LOWEST + (int)(magnitude / 2));
    return bin < COEFFICIENT_ZERO ? -edge : edge;
}

double magnitude_bin_edge(size_t bin)
{
    if (bin == 0)
        return 0;
    return ldexp(1 + (double)((bin - 1) % 16) / 16, (int)((bin - 1) / 16) - MAGNITUDE_OCTAVES / 2);
}

/* Within low and high: the harmonic mean, which is as far from either, relative to it. */
double magnitude_bin_value(size_t bin)
{
    double low = magnitude_bin_edge(bin);
    if (bin == 0 || bin == MAGNITUDE_BINS - 1)
        return low;
    double high = magnitude_bin_edge(bin + 1);
    return 2 * low * high / (low + high);
}
