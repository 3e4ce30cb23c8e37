/*
 * The work of intervention-stats: what edits of memories (model/edits.h) do to a model's
 * predictions. Two streams of activations have the same batches, computed without and with edits;
 * of each prefix both outputs o^L = r^L + y^L are projected and compared. A thread's
 * unit of work is a batch; all that is found is a list of comparisons, and their number.
 */
#ifndef FFKV_INTERVENTION_H
#define FFKV_INTERVENTION_H

#include "analysis/comparisons.h"
#include "analysis/statistic.h"

struct intervening {
    struct statistic common;           /* reads the plain model's activations */
    const char *edited_path;           /* of the edited model's; NULL: standard input */
    struct activations_reader edited;  /* opened by intervention_prepare; no stream in a merge */
    const uint32_t *named;             /* named_count: tokens that are compared besides the next one */
    size_t named_count;
};

/* Parts of a struct statistic_kind; intervening is a struct intervening. */
void intervention_prepare(void *intervening);
extern const struct ordered_work intervention_work;

/* Adds the edits to the header of the sums. */
void intervention_declare(const void *intervening, json_t *header);

/* A run: ends the program unless the two streams differ in edits only, which one has. */
void intervention_check_streams(const struct intervening *intervening, const struct stream_reader *plain);

/* Behind the last batch of a run. */
void intervention_close(struct intervening *intervening);

/* The sums: how many prefixes were compared. */
struct intervention_sums {
    size_t layers;
    struct intervention_layer_sums *layer; /* one: the last */
    uint64_t changed;                      /* prefixes whose most probable token is another one */
};
struct intervention_layer_sums {
    size_t layer;
    uint64_t prefixes;
};
extern const struct sums_kind intervention_kind;
void *intervention_sums_new(const struct activations_reader *activations);

/* How many of them a list must have. */
uint64_t intervention_listed(const void *sums);

#endif
