/* The best coefficient of each cell among the positions of a sentence. */
#ifndef FFKV_MAXIMA_H
#define FFKV_MAXIMA_H

#include "stream/records.h"

/* The positions from lowest to end - 1, of which a maximum may have those from first on, first >= lowest. */
struct maxima_positions {
    uint32_t lowest, first, end;
};

/*
 * Of each column of matrix, a row of width for each of the positions from lowest on, the best element by rank
 * (width) among those that it may have, and its position (width); equal ones: the lower position. Where there
 * is no such position: the worst score there is, and position 0. signs, of the same shape: which combination
 * each element is of, for ranks of signs alone, which take only elements of theirs, and where there is none
 * other than 0: 0, and position 0.
 */
void column_maxima(enum rank rank, const float *matrix, const uint8_t *signs, size_t width,
                   struct maxima_positions positions, float *best, uint32_t *position);

#endif
