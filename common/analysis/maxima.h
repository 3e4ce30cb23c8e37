/* The best coefficient of each cell among the positions of a sentence. */
#ifndef FFKV_MAXIMA_H
#define FFKV_MAXIMA_H

#include "stream/records.h"

/*
 * Of each column of matrix (rows x width) the best element by rank (width), among the rows from
 * first on, and its row (width); equal ones: the lower row. Where there is no such row: the worst
 * score there is, and row 0. signs (rows x width): which combination each element is of, for ranks of
 * signs alone, which take only elements of theirs, and where there is none other than 0: 0, and row 0.
 */
void column_maxima(enum rank rank, const float *matrix, const uint8_t *signs, size_t rows, size_t width,
                   uint32_t first, float *best, uint32_t *row);

#endif
