#include "analysis/paths.h"

#include "base/messages.h"

#include <stdlib.h>

void paths_free(struct paths *paths)
{
    free(paths->path);
    free(paths->coefficient);
    *paths = (struct paths){0};
}

/*
 * Adds the path to element number element of max. column: of the cell, from the sentence's first row on, that
 * of position lowest.
 */
static void add_path(struct paths *paths, size_t element, const float *column, size_t d_ff, uint32_t lowest,
                     struct layer_record *record)
{
    size_t length = record->argmax[element], before = record->path_coefficients;
    paths->path = reserve_array(paths->path, &paths->capacity, record->paths + 1, sizeof *paths->path);
    paths->path[record->paths++] = (uint32_t)element;
    paths->coefficient = reserve_array(paths->coefficient, &paths->coefficient_capacity, before + length,
                                       sizeof *paths->coefficient);
    for (size_t i = 0; i < length; i++)
        paths->coefficient[before + i] = column[(i + 1 - lowest) * d_ff];
    record->path_coefficients += length;
}

void paths_find(struct paths *paths, const float *least, const struct ranks *ranks, const struct batch *batch,
                const float *coefficients, size_t d_ff, const size_t *cells, struct layer_record *record)
{
    record->paths = record->path_coefficients = 0;
    size_t element = 0;
    for (size_t s = 0; s < batch->sentences; coefficients += sentence_positions(batch, s) * d_ff, s++)
        for (size_t i = 0; i < record->columns; i++, element++) {
            float score = rank_score(ranks->rank[i / record->cells], record->max[element]);
            if (score > 0 && score >= least[i])
                add_path(paths, element, coefficients + cells[i % record->cells], d_ff, batch_lowest(batch),
                         record);
        }
    record->path = paths->path;
    record->path_coefficient = paths->coefficient;
}
