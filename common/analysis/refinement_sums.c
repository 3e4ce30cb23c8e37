#include "analysis/refinement_sums.h"

#include "base/messages.h"

#include <stdlib.h>

struct refinement_sums refinement_sums_new(const struct model_shape *shape)
{
    struct refinement_sums sums = {.layers = shape->layers, .settled = histogram_new(shape->layers + 1)};
    sums.layer = new_array(sums.layers, sizeof *sums.layer);
    for (size_t i = 0; i < sums.layers; i++) {
        sums.layer[i].probabilities = histogram_new(UNIT_BINS);
        sums.layer[i].rank = histogram_new(shape->vocabulary + 1);
    }
    return sums;
}

void refinement_sums_free(struct refinement_sums *sums)
{
    for (size_t i = 0; i < sums->layers; i++) {
        histogram_free(&sums->layer[i].probabilities);
        histogram_free(&sums->layer[i].rank);
    }
    free(sums->layer);
    histogram_free(&sums->settled);
    *sums = (struct refinement_sums){0};
}

void refinement_sums_add(struct refinement_sums *sums, const struct refinement_sums *more)
{
    for (size_t i = 0; i < sums->layers; i++) {
        struct refinement_layer_sums *to = &sums->layer[i];
        const struct refinement_layer_sums *from = &more->layer[i];
        count_add(&to->prefixes, from->prefixes);
        count_add(&to->residual_is_final, from->residual_is_final);
        for (size_t c = 0; c < CASES; c++)
            count_add(&to->cases[c], from->cases[c]);
        exact_add_sum(&to->probability, &from->probability);
        histogram_add(&to->probabilities, &from->probabilities);
        histogram_add(&to->rank, &from->rank);
    }
    histogram_add(&sums->settled, &more->settled);
    exact_add_sum(&sums->surprise, &more->surprise);
    count_add(&sums->next_is_top, more->next_is_top);
}

void refinement_sums_declare(json_t *header)
{
    header_declare(header, "cases", "uint64", json_make("[i]", CASES));
    header_declare_exact(header, "probability");
    header_declare_histogram(header, "probability");
    header_declare_histogram(header, "rank");
    header_declare_histogram(header, "settled");
    header_declare_exact(header, "surprise");
}

void refinement_sums_write(struct stream_writer *writer, const struct refinement_sums *sums)
{
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (size_t i = 0; i < sums->layers; i++) {
        const struct refinement_layer_sums *layer = &sums->layer[i];
        pack_map(&buffer, 4 + EXACT_MEMBERS + 2 * HISTOGRAM_MEMBERS);
        pack_number(&buffer, "layer", i);
        pack_number(&buffer, "prefixes", layer->prefixes);
        pack_number(&buffer, "residual_is_final", layer->residual_is_final);
        pack_array(&buffer, "cases", layer->cases, CASES, sizeof *layer->cases);
        exact_pack(&buffer, "probability", &layer->probability);
        histogram_pack(&buffer, "probability", &layer->probabilities);
        histogram_pack(&buffer, "rank", &layer->rank);
        stream_append(writer, &buffer, 1);
    }
    pack_map(&buffer, 1 + HISTOGRAM_MEMBERS + EXACT_MEMBERS);
    pack_number(&buffer, "next_is_top", sums->next_is_top);
    histogram_pack(&buffer, "settled", &sums->settled);
    exact_pack(&buffer, "surprise", &sums->surprise);
    stream_append(writer, &buffer, 1);
    msgpack_sbuffer_destroy(&buffer);
}

/* One layer's record. */
static void read_layer(const struct record *record, struct refinement_layer_sums *layer)
{
    uint64_t in_cases = 0;
    layer->prefixes = record_number(record, "prefixes", MAX_COUNT);
    layer->residual_is_final = record_number(record, "residual_is_final", layer->prefixes);
    record_copy(record, "cases", layer->cases, CASES, sizeof *layer->cases);
    for (size_t c = 0; c < CASES; c++)
        in_cases += layer->cases[c] > layer->prefixes ? MAX_COUNT + 1 : layer->cases[c];
    exact_read(record, "probability", &layer->probability);
    histogram_read(record, "probability", &layer->probabilities);
    histogram_read(record, "rank", &layer->rank);
    if (in_cases != layer->prefixes || histogram_total(&layer->probabilities) != layer->prefixes
        || histogram_total(&layer->rank) != layer->prefixes || layer->rank.count[0]
        || layer->rank.count[1] != layer->residual_is_final
        || exact_value(&layer->probability) > 1.001 * (double)layer->prefixes)
        stream_fail(record->reader, "the counts of a layer contradict each other");
}

void refinement_sums_read(struct stream_reader *reader, struct record *record, uint64_t changed,
                          struct refinement_sums *sums)
{
    for (size_t i = 0; i < sums->layers; i++) {
        if (record_number(record, "layer", SIZE_MAX) != i)
            stream_fail(reader, "its layers are not the header's, in order");
        read_layer(record, &sums->layer[i]);
        if (sums->layer[i].prefixes != sums->layer[0].prefixes)
            stream_fail(reader, "its layers have different numbers of prefixes");
        if (!stream_next(reader, record))
            stream_fail(reader, "%zu layers and nothing behind them; the header promises %zu", i + 1, sums->layers);
    }
    sums->next_is_top = record_number(record, "next_is_top", sums->layer[0].prefixes);
    histogram_read(record, "settled", &sums->settled);
    exact_read(record, "surprise", &sums->surprise);
    if (histogram_total(&sums->settled) != sums->layer[0].prefixes)
        stream_fail(reader, "its counts of prefixes contradict each other");
    if (sums->settled.count[sums->layers] != changed)
        stream_fail(reader, "it has %llu changed predictions, its sums say %llu", (unsigned long long)changed,
                    (unsigned long long)sums->settled.count[sums->layers]);
    if (stream_next(reader, record))
        stream_fail(reader, "a record follows the last one of its sums");
}
