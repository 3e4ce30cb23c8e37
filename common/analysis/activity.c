#include "analysis/activity.h"

#include "base/layer_number.h"
#include "base/messages.h"

static const double gated_relative = 0.1;

struct activity activity_default(bool gated)
{
    if (gated)
        return (struct activity){.rank = RANK_ABS, .relative = gated_relative};
    return (struct activity){.rank = RANK_VALUE};
}

char *activity_text(const struct activity *activity)
{
    const char *score = activity->rank == RANK_ABS ? "|m|" : activity->rank == RANK_MIN ? "-m" : "m";
    if (activity->thresholds)
        return format_string("%s > p%.9g", score, activity->thresholds->percentile);
    if (activity->relative > 0)
        return format_string("%s >= %.9g max %s", score, activity->relative, score);
    return format_string("%s > %.9g", score, activity->threshold);
}

static double threshold_of(const struct activity *activity, size_t layer, size_t cell)
{
    const struct thresholds *thresholds = activity->thresholds;
    if (!thresholds)
        return activity->threshold;
    double threshold = (double)thresholds->of_key[layer * thresholds->d_ff + cell];
    if (isnan(threshold))
        die("there is no threshold of layer %zu cell %zu: its key is not in the stream that has them",
            layer_shown(layer), cell);
    return threshold;
}

size_t activity_mark(const struct activity *activity, size_t layer, const size_t *cell,
                     const float *coefficient, size_t cells, bool *is_active)
{
    double largest = 0;
    for (size_t c = 0; activity->relative > 0 && c < cells; c++) {
        double score = (double)rank_score(activity->rank, coefficient[c]);
        largest = score > largest ? score : largest;
    }
    size_t active = 0;
    for (size_t c = 0; c < cells; c++) {
        double score = (double)rank_score(activity->rank, coefficient[c]);
        is_active[c] =
            score > threshold_of(activity, layer, cell[c]) && score >= activity->relative * largest;
        active += is_active[c];
    }
    return active;
}
