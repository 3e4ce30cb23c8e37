#include "analysis/thresholds.h"

#include "base/messages.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "stream/records.h"

#include <math.h>
#include <stdlib.h>

struct thresholds thresholds_read(const char *path, const struct model *model, double percentile)
{
    struct stream_reader *stream = stream_open(path, "triggers");
    header_check_model(stream, model);
    struct triggers_reader triggers = triggers_open_first(stream);
    if (!(triggers.counted >> COUNTED_MAGNITUDES & 1))
        stream_fail(stream, "keys without counts of magnitudes: forward-dump --emit max,magnitudes and then "
                    "topk-keys give them");
    size_t d_ff = model->config.d_ff, keys = matrix_count(model->config.layers, d_ff);
    struct thresholds thresholds = {.percentile = percentile, .d_ff = d_ff, .of_key = new_floats(keys)};
    thresholds.edits = header_edits(stream);
    for (size_t i = 0; i < keys; i++)
        thresholds.of_key[i] = NAN;
    struct key_triggers key;
    while (triggers_next(&triggers, &key)) {
        thresholds.of_key[key.layer * d_ff + key.cell] = (float)histogram_quantile(
            &key.counted[COUNTED_MAGNITUDES], percentile / 100, magnitude_bin_value);
        key_triggers_free(&key);
    }
    struct hash *hash = hash_new();
    hash_add(hash, thresholds.of_key, keys * sizeof *thresholds.of_key);
    hash_finish(hash, thresholds.id);
    triggers_close(&triggers);
    stream_close(stream);
    return thresholds;
}

void thresholds_free(struct thresholds *thresholds)
{
    free(thresholds->of_key);
    json_decref(thresholds->edits);
    *thresholds = (struct thresholds){0};
}
