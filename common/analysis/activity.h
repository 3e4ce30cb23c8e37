/*
 * Which memories are active at a prefix: those whose coefficient's score is above a threshold, of all
 * or of its key, or is a certain part of the largest score that the layer has at this prefix.
 */
#ifndef FFKV_ACTIVITY_H
#define FFKV_ACTIVITY_H

#include "analysis/thresholds.h"
#include "stream/records.h"

#include <stdbool.h>
#include <stddef.h>

struct activity {
    enum rank rank;
    double threshold; /* scores above this, which is 0 or more; relative is 0 then */
    double relative;  /* scores above 0 that are at least this part, up to 1, of the layer's largest; or 0 */
    const struct thresholds *thresholds; /* instead of both, of each key its own; or NULL */
};

/*
 * The paper's definition, m > 0, holds where f(x) > 0 if and only if x > 0: of ReLU, and of GELU
 * and SiLU too. A gated layer's m = f(g)u has a sign that says nothing of being on, and is never
 * 0: there active is what is not small beside the layer's largest, |m| >= 0.1 max |m|.
 */
struct activity activity_default(bool gated);

/*
 * The same in words, such as "m > 0", "|m| >= 0.1 max |m|" and "|m| > p99", without a comma; the caller
 * frees them. */
char *activity_text(const struct activity *activity);

/*
 * Marks a prefix' active coefficients, of these cells of a layer (if relative: of all), and returns how many.
 * A cell without a threshold where there should be one ends the program.
 */
size_t activity_mark(const struct activity *activity, size_t layer, const size_t *cell,
                     const float *coefficient, size_t cells, bool *is_active);

#endif
