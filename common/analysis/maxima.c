#include "analysis/maxima.h"

#include "numeric/vector.h"

/* One rank's loop; rank is a constant where this is inlined. */
static inline void best_rows(enum rank rank, const float *matrix, size_t rows, size_t width, uint32_t first,
                             float *restrict best, uint32_t *restrict row)
{
    for (size_t i = 0; i < width; i++) {
        best[i] = rank == RANK_VALUE ? -INFINITY : rank == RANK_ABS ? 0 : INFINITY;
        row[i] = first < rows ? first : 0;
    }
    for (uint32_t r = first; r < rows; r++)
        for (size_t i = 0; i < width; i++) {
            float value = matrix[r * width + i];
            bool more = rank == RANK_VALUE ? value > best[i]
                      : rank == RANK_ABS ? fabsf(value) > fabsf(best[i]) : value < best[i];
            best[i] = more ? value : best[i];
            row[i] = more ? r : row[i];
        }
}

/* Of the elements of a combination of signs: the largest absolute value. */
static inline void best_of_signs(uint8_t wanted, const float *matrix, const uint8_t *signs, size_t rows,
                                 size_t width, uint32_t first, float *restrict best, uint32_t *restrict row)
{
    for (size_t i = 0; i < width; i++) {
        best[i] = 0;
        row[i] = 0;
    }
    for (uint32_t r = first; r < rows; r++)
        for (size_t i = 0; i < width; i++) {
            float value = matrix[r * width + i];
            bool more = (signs[r * width + i] == wanted) & (fabsf(value) > fabsf(best[i]));
            best[i] = more ? value : best[i];
            row[i] = more ? r : row[i];
        }
}

/* Static, since clang 14 does not link clones that another file calls. */
KERNEL static void find(enum rank rank, const float *matrix, const uint8_t *signs, size_t rows,
                        size_t width, uint32_t first, float *restrict best, uint32_t *restrict row)
{
    switch (rank) {
    case RANK_VALUE:
        best_rows(RANK_VALUE, matrix, rows, width, first, best, row);
        break;
    case RANK_ABS:
        best_rows(RANK_ABS, matrix, rows, width, first, best, row);
        break;
    case RANK_MIN:
        best_rows(RANK_MIN, matrix, rows, width, first, best, row);
        break;
    default:
        best_of_signs((uint8_t)(rank - RANK_SIGNS), matrix, signs, rows, width, first, best, row);
    }
}

void column_maxima(enum rank rank, const float *matrix, const uint8_t *signs, size_t rows, size_t width,
                   uint32_t first, float *best, uint32_t *row)
{
    find(rank, matrix, signs, rows, width, first, best, row);
}
