/* Of each key a threshold of its own: a percentile of its coefficients' magnitudes in a corpus. */
#ifndef FFKV_THRESHOLDS_H
#define FFKV_THRESHOLDS_H

#include "base/hash.h"
#include "model/model.h"

#include <jansson.h>

struct thresholds {
    double percentile;                 /* such as 99 */
    size_t d_ff;
    float *of_key;                     /* layers x d_ff; NaN: the key has none */
    json_t *edits;                     /* of the model, as header_edits has them */
    char id[HASH_CHARACTERS + 1];      /* of all of them */
};

/*
 * From a stream of triggers with counts of magnitudes, made with this model: to the accuracy that
 * coefficient_bins.h has. What else ends the program. Free with thresholds_free.
 */
struct thresholds thresholds_read(const char *path, const struct model *model, double percentile);
void thresholds_free(struct thresholds *thresholds);

#endif
