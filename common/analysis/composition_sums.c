#include "analysis/composition_sums.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

struct composition_sums composition_sums_new(const struct activations_reader *activations)
{
    struct composition_sums sums = {.layer_count = activations->layer_count, .cells = activations->cell_count,
                                    .vocabulary = activations->shape.vocabulary};
    sums.layers = new_array(sums.layer_count, sizeof *sums.layers);
    memcpy(sums.layers, activations->layers, sums.layer_count * sizeof *sums.layers);
    sums.layer = new_array(sums.layer_count, sizeof *sums.layer);
    for (size_t i = 0; i < sums.layer_count; i++) {
        sums.layer[i].active = histogram_new(sums.cells + 1);
        sums.layer[i].agreement = histogram_new(sums.vocabulary);
    }
    sums.token_counts = new_array(sums.vocabulary, sizeof *sums.token_counts);
    return sums;
}

void composition_sums_free(struct composition_sums *sums)
{
    for (size_t i = 0; i < sums->layer_count; i++) {
        histogram_free(&sums->layer[i].active);
        histogram_free(&sums->layer[i].agreement);
    }
    free(sums->layers);
    free(sums->layer);
    free(sums->token_counts);
    *sums = (struct composition_sums){0};
}

void composition_sums_add(struct composition_sums *sums, const struct composition_sums *more)
{
    for (size_t i = 0; i < sums->layer_count; i++) {
        count_add(&sums->layer[i].short_prefixes, more->layer[i].short_prefixes);
        count_add(&sums->layer[i].agreeing_memories, more->layer[i].agreeing_memories);
        histogram_add(&sums->layer[i].active, &more->layer[i].active);
        histogram_add(&sums->layer[i].agreement, &more->layer[i].agreement);
    }
    for (size_t i = 0; i < sums->vocabulary; i++)
        count_add(&sums->token_counts[i], more->token_counts[i]);
}

void composition_sums_declare(json_t *header)
{
    header_declare_histogram(header, "active");
    header_declare_histogram(header, "agreement");
    header_declare(header, "token_counts", "uint64", json_make("[s]", "vocabulary"));
}

void composition_sums_write(struct stream_writer *writer, const struct composition_sums *sums)
{
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (size_t i = 0; i < sums->layer_count; i++) {
        pack_map(&buffer, 3 + 2 * HISTOGRAM_MEMBERS);
        pack_number(&buffer, "layer", sums->layers[i]);
        pack_number(&buffer, "short", sums->layer[i].short_prefixes);
        pack_number(&buffer, "memories", sums->layer[i].agreeing_memories);
        histogram_pack(&buffer, "active", &sums->layer[i].active);
        histogram_pack(&buffer, "agreement", &sums->layer[i].agreement);
        stream_append(writer, &buffer, 1);
    }
    token_counts_pack(&buffer, sums->token_counts, sums->vocabulary);
    stream_append(writer, &buffer, 1);
    msgpack_sbuffer_destroy(&buffer);
}

/* One layer's record. */
static void read_layer(const struct record *record, struct composition_layer_sums *layer)
{
    layer->short_prefixes = record_number(record, "short", MAX_COUNT);
    layer->agreeing_memories = record_number(record, "memories", MAX_COUNT);
    histogram_read(record, "active", &layer->active);
    histogram_read(record, "agreement", &layer->agreement);
    uint64_t prefixes = histogram_total(&layer->active), agreeing = histogram_total(&layer->agreement);
    double active = histogram_sum(&layer->active);
    if (agreeing > prefixes || layer->short_prefixes > agreeing || layer->agreeing_memories < agreeing
        || (double)layer->agreeing_memories > active)
        stream_fail(record->reader, "the counts of a layer contradict each other");
}

void composition_sums_read(struct stream_reader *reader, struct composition_sums *sums)
{
    struct record record;
    size_t place = 0;
    bool counted = false;
    for (; stream_next(reader, &record); place++) {
        if (place < sums->layer_count) {
            if (record_number(&record, "layer", SIZE_MAX) != sums->layers[place])
                stream_fail(reader, "its layers are not the header's, in order");
            read_layer(&record, &sums->layer[place]);
            if (histogram_total(&sums->layer[place].active) != histogram_total(&sums->layer[0].active))
                stream_fail(reader, "its layers have different numbers of prefixes");
        } else if (!counted) {
            token_counts_read(&record, sums->token_counts, sums->vocabulary);
            counted = true;
        } else {
            stream_fail(reader, "a record follows the counts of tokens");
        }
    }
    if (!counted)
        stream_fail(reader, "%zu of %zu layers, or no counts of tokens behind them", place, sums->layer_count);
}
