#include "analysis/composition_sums.h"

#include "base/messages.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

static const struct field of_layer[] = {
    FIELD_INTEGER(struct composition_layer_sums, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct composition_layer_sums, short_prefixes, "short", FIELD_COUNT),
    FIELD_SUM(struct composition_layer_sums, active, "active", 0),
    FIELD_SUM(struct composition_layer_sums, memories, "memories", 0),
    FIELD_SUM(struct composition_layer_sums, agreement, "agreement", 0),
    FIELD_END,
};

static const struct field of_all[] = {
    FIELD_ARRAY(struct composition_sums, tokens.count, "token_counts", "vocabulary", tokens.vocabulary, 0),
    FIELD_END,
};

static void check_layer(const struct record *record, const void *checked, const void *first)
{
    const struct composition_layer_sums *layer = checked, *first_layer = first;
    uint64_t prefixes = histogram_total(&layer->active), agreeing = histogram_total(&layer->agreement);
    if (agreeing > prefixes || layer->short_prefixes > agreeing
        || histogram_total(&layer->memories) != agreeing || layer->memories.count[0]
        || histogram_sum(&layer->memories) > histogram_sum(&layer->active))
        stream_fail(record->reader, "the counts of a layer contradict each other");
    if (prefixes != histogram_total(&first_layer->active))
        stream_fail(record->reader, "its layers have different numbers of prefixes");
}

static void check_all(const struct record *record, const void *checked)
{
    const struct composition_sums *sums = checked;
    token_counts_check(record, &sums->tokens);
}

const struct sums_kind composition_kind = {
    of_layer, sizeof(struct composition_layer_sums),
    of_all, offsetof(struct composition_sums, layers), offsetof(struct composition_sums, layer),
    check_layer, check_all,
};

void *composition_sums_new(const struct activations_reader *activations)
{
    struct composition_sums *sums = new_array(1, sizeof *sums);
    sums->cells = activations->cell_count;
    sums->tokens.vocabulary = activations->shape.vocabulary;
    layer_sums_allocate(&composition_kind, sums, activations->layers, activations->layer_count);
    for (size_t i = 0; i < sums->layers; i++) {
        sums->layer[i].active = histogram_new(sums->cells + 1);
        sums->layer[i].memories = histogram_new(sums->cells + 1);
        sums->layer[i].agreement = histogram_new(sums->tokens.vocabulary);
    }
    return sums;
}
