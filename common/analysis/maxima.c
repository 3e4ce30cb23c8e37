#include "analysis/maxima.h"

#include "numeric/vector.h"

/* Takes what is better in a row of count columns, at position j. */
KERNEL_PART void take_row(enum rank rank, const float *row, uint32_t j, size_t count, float *best,
                          uint32_t *position)
{
    for (size_t i = 0; i < count; i++) {
        bool more = rank == RANK_VALUE ? row[i] > best[i]
                  : rank == RANK_ABS ? fabsf(row[i]) > fabsf(best[i]) : row[i] < best[i];
        uint32_t mask = more ? UINT32_MAX : 0; /* with a choice, compilers make branches of it */
        best[i] = more ? row[i] : best[i];
        position[i] = (j & mask) | (position[i] & ~mask);
    }
}

/* Columns at once: what is best in them stays in registers while rows are read. */
enum { COLUMNS = 2 * LANES };

KERNEL_PART void best_of_columns(enum rank rank, const float *column, size_t width,
                                 struct maxima_positions positions, float *best, uint32_t *position)
{
    float best_here[COLUMNS];
    uint32_t position_here[COLUMNS];
    memcpy(best_here, best, sizeof best_here);
    memcpy(position_here, position, sizeof position_here);
    for (uint32_t j = positions.first; j < positions.end; j++)
        take_row(rank, column + (j - positions.lowest) * width, j, COLUMNS, best_here, position_here);
    memcpy(best, best_here, sizeof best_here);
    memcpy(position, position_here, sizeof position_here);
}

/* One rank's loop; rank is a constant where this is inlined. */
KERNEL_PART void best_rows(enum rank rank, const float *matrix, size_t width,
                           struct maxima_positions positions, float *restrict best,
                           uint32_t *restrict position)
{
    const size_t whole = width / COLUMNS * COLUMNS;
    for (size_t i = 0; i < width; i++) {
        best[i] = rank == RANK_VALUE ? -INFINITY : rank == RANK_ABS ? 0 : INFINITY;
        position[i] = positions.first < positions.end ? positions.first : 0;
    }
    for (size_t i = 0; i < whole; i += COLUMNS)
        best_of_columns(rank, matrix + i, width, positions, best + i, position + i);
    for (uint32_t j = positions.first; j < positions.end; j++)
        take_row(rank, matrix + (j - positions.lowest) * width + whole, j, width - whole, best + whole,
                 position + whole);
}

/*
 * Of the elements of a combination of signs: the best score. One that was edited may have another sign than
 * its combination gives, and is no candidate then.
 */
KERNEL_PART void best_of_signs(enum rank rank, const float *matrix, const uint8_t *signs, size_t width,
                               struct maxima_positions positions, float *restrict best,
                               uint32_t *restrict position)
{
    const uint8_t wanted = (uint8_t)(rank - RANK_SIGNS);
    const float sign = rank_is_negative(rank) ? -1 : 1;
    for (size_t i = 0; i < width; i++) {
        best[i] = 0;
        position[i] = 0;
    }
    for (uint32_t j = positions.first; j < positions.end; j++) {
        size_t row = (j - positions.lowest) * width;
        for (size_t i = 0; i < width; i++) {
            float value = matrix[row + i];
            bool more = (signs[row + i] == wanted) & (sign * value > sign * best[i]);
            best[i] = more ? value : best[i];
            position[i] = more ? j : position[i];
        }
    }
}

/* Static, since clang 14 does not link clones that another file calls. */
KERNEL static void find(enum rank rank, const float *matrix, const uint8_t *signs, size_t width,
                        struct maxima_positions positions, float *restrict best, uint32_t *restrict position)
{
    switch (rank) {
    case RANK_VALUE:
        best_rows(RANK_VALUE, matrix, width, positions, best, position);
        break;
    case RANK_ABS:
        best_rows(RANK_ABS, matrix, width, positions, best, position);
        break;
    case RANK_MIN:
        best_rows(RANK_MIN, matrix, width, positions, best, position);
        break;
    default:
        best_of_signs(rank, matrix, signs, width, positions, best, position);
    }
}

void column_maxima(enum rank rank, const float *matrix, const uint8_t *signs, size_t width,
                   struct maxima_positions positions, float *best, uint32_t *position)
{
    find(rank, matrix, signs, width, positions, best, position);
}
