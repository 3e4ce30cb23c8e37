#include "analysis/refinement_sums.h"

#include "base/messages.h"
#include "stream/counts.h"
#include "stream/record_members.h"
#include "stream/stream_reader.h"

static const struct field of_layer[] = {
    FIELD_INTEGER(struct refinement_layer_sums, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct refinement_layer_sums, prefixes, "prefixes", FIELD_COUNT),
    FIELD_INTEGER(struct refinement_layer_sums, residual_is_final, "residual_is_final", FIELD_COUNT),
    FIELD_WITHIN(struct refinement_layer_sums, cases, "cases"),
    FIELD_SUM(struct refinement_layer_sums, probability, "probability", 0),
    FIELD_SUM(struct refinement_layer_sums, probabilities, "probability", 0),
    FIELD_SUM(struct refinement_layer_sums, rank, "rank", 0),
    FIELD_END,
};

static const struct field of_all[] = {
    FIELD_INTEGER(struct refinement_sums, next_is_top, "next_is_top", FIELD_COUNT),
    FIELD_SUM(struct refinement_sums, settled, "settled", 0),
    FIELD_SUM(struct refinement_sums, surprise, "surprise", 0),
    FIELD_END,
};

static void check_layer(const struct record *record, const void *checked, const void *first)
{
    const struct refinement_layer_sums *layer = checked, *first_layer = first;
    uint64_t in_cases = 0;
    for (size_t c = 0; c < CASES; c++)
        in_cases += layer->cases[c] > layer->prefixes ? MAX_COUNT + 1 : layer->cases[c];
    if (in_cases != layer->prefixes || histogram_total(&layer->probabilities) != layer->prefixes
        || histogram_total(&layer->rank) != layer->prefixes || layer->rank.count[0]
        || layer->rank.count[1] != layer->residual_is_final
        || exact_value(&layer->probability) > 1.001 * (double)layer->prefixes)
        stream_fail(record->reader, "the counts of a layer contradict each other");
    if (layer->prefixes != first_layer->prefixes)
        stream_fail(record->reader, "its layers have different numbers of prefixes");
}

static void check_all(const struct record *record, const void *checked)
{
    const struct refinement_sums *sums = checked;
    number_check(record->reader, "next_is_top", sums->next_is_top, sums->layer[0].prefixes);
    if (histogram_total(&sums->settled) != sums->layer[0].prefixes)
        stream_fail(record->reader, "its counts of prefixes contradict each other");
}

const struct sums_kind refinement_kind = {
    of_layer, sizeof(struct refinement_layer_sums),
    of_all, offsetof(struct refinement_sums, layers), offsetof(struct refinement_sums, layer),
    check_layer, check_all,
};

void *refinement_sums_new(const struct activations_reader *activations)
{
    struct refinement_sums *sums = new_array(1, sizeof *sums);
    sums->settled = histogram_new(activations->layer_count + 1);
    layer_sums_allocate(&refinement_kind, sums, activations->layers, activations->layer_count);
    for (size_t i = 0; i < sums->layers; i++) {
        sums->layer[i].probabilities = histogram_new(UNIT_BINS);
        sums->layer[i].rank = histogram_new(activations->shape.vocabulary + 1);
    }
    return sums;
}

uint64_t refinement_changed(const void *asked)
{
    const struct refinement_sums *sums = asked;
    return sums->settled.count[sums->layers];
}

int refinement_case(uint32_t residual, uint32_t block, uint32_t output)
{
    if (output == residual)
        return output == block ? CASE_AGREEMENT : CASE_RESIDUAL;
    return output == block ? CASE_FFN : CASE_COMPOSITION;
}
