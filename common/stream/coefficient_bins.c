#include "stream/coefficient_bins.h"

#include <math.h>

float coefficient_bin_edge(size_t bin)
{
    enum { LOWEST = -12 };
    if (bin == COEFFICIENT_ZERO)
        return 0;
    size_t magnitude = bin < COEFFICIENT_ZERO ? COEFFICIENT_ZERO - 1 - bin : bin - COEFFICIENT_ZERO - 1;
    float edge = ldexpf(magnitude % 2 ? 1.5f : 1, LOWEST + (int)(magnitude / 2));
    return bin < COEFFICIENT_ZERO ? -edge : edge;
}
