/*
 * topk-keys: activations in, the trigger examples of every key out.
 *
 * Keeps for each key the t prefixes with the largest positive coefficient (paper,
 * section 3.1; --rank for coefficients that can be negative), in memory that does
 * not grow with the corpus. --merge joins the outputs of shards into the bytes that one run would have given.
 */
#include "analysis/key_sample.h"
#include "analysis/topk.h"
#include "analysis/trigger_merge.h"
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "base/order.h"
#include "numeric/floats.h"
#include "stream/activations.h"
#include "stream/fields.h"
#include "stream/header.h"
#include "stream/header_members.h"
#include "stream/merging.h"
#include "stream/record_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "stream/stream_writer.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const prefixes_words[] = {"sentence", "every", NULL};
enum { PREFIXES_SENTENCE, PREFIXES_EVERY };
enum { DEFAULT_TOP = 25 };

struct options {
    const char *output, *layers, *cells;
    bool gzip, merge, partial;
    int prefixes;
    unsigned rank;
    double threshold;
    uint64_t top, following, sample, seed;
};

struct key {
    size_t layer, cell;
    size_t column; /* of the activations' arrays */
    size_t run;    /* keys of the layer, from this one on, whose columns are next to each other */
};

struct search {
    const struct options *options;
    struct activations_reader activations;
    struct ranks ranks;           /* of each key's lists */
    size_t list_of[RANKS];        /* of the input's maxima, by the lists of ranks */
    size_t *layers, layer_count;  /* that keys are taken from */
    size_t *cells, cell_count;    /* of each of these layers */
    struct key *keys;             /* by layer, then cell */
    size_t key_count;
    bool paths;                   /* the input has coefficients along the prefixes that are searched */
    struct topk *topk;
    struct token_counts token_counts;
    struct activations_batch batch;
    struct topk_sentence **texts; /* of the batch's sentences; NULL where no key wanted one yet */
    float *coefficient;           /* of the current record: sentences x columns of max, or rows x cells */
    uint16_t *argmax;             /* sentences x columns of max */
    struct layer_record path;     /* its paths */
};

/* A walk over a record's paths, in the order of the elements of max. */
struct path_walk {
    size_t index, coefficients; /* paths, and coefficients of them, that are behind it */
};

/* ---- which keys ---- */

struct drawn {
    uint64_t number;
    size_t index;
};

static int by_number(const void *a, const void *b)
{
    const struct drawn *left = a, *right = b;
    int order = compare_numbers(left->number, right->number);
    return order ? order : compare_numbers(left->index, right->index);
}

/* Marks the count cells of a layer that draw the lowest random numbers. */
static void draw_cells(const struct options *options, size_t layer, const size_t *cells, size_t cell_count,
                       bool *chosen)
{
    struct drawn *drawn = new_array(cell_count, sizeof *drawn);
    for (size_t i = 0; i < cell_count; i++)
        drawn[i] = (struct drawn){key_number(options->seed, layer, cells[i]), i};
    qsort(drawn, cell_count, sizeof *drawn, by_number);
    for (size_t i = 0; i < cell_count; i++)
        chosen[drawn[i].index] = !options->sample || i < options->sample;
    free(drawn);
}

/* Where number, which people know as shown, is in a rising list of the stream; it must be there. */
static size_t find_in_stream(const struct search *search, const size_t *list, size_t count, size_t number,
                             const char *what, size_t shown)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == number)
            return i;
    stream_fail(search->activations.stream, "%s %zu is asked for but is not in the stream", what, shown);
}

/* Which keys' coefficients can be compared in one go. */
static void find_runs(struct search *search)
{
    struct key *keys = search->keys;
    for (size_t k = search->key_count; k-- > 0;) {
        bool joined = k + 1 < search->key_count && keys[k + 1].layer == keys[k].layer
                   && keys[k + 1].column == keys[k].column + 1;
        keys[k].run = joined ? keys[k + 1].run + 1 : 1;
    }
}

static void choose_keys(struct search *search)
{
    const struct options *options = search->options;
    search->layers = options->layers ? cli_layers(options->layers, search->activations.shape.layers,
                                                  &search->layer_count)
                                     : header_list(search->activations.stream, "layers",
                                                   search->activations.shape.layers, &search->layer_count);
    search->cells = options->cells ? cli_list(options->cells, search->activations.shape.d_ff, "cells",
                                              &search->cell_count)
                                   : header_list(search->activations.stream, "cells",
                                                 search->activations.shape.d_ff, &search->cell_count);
    bool *drawn = new_array(search->cell_count, sizeof *drawn);
    search->keys = new_array(matrix_count(search->layer_count, search->cell_count), sizeof *search->keys);
    for (size_t l = 0; l < search->layer_count; l++) {
        size_t layer = search->layers[l];
        find_in_stream(search, search->activations.layers, search->activations.layer_count, layer, "layer",
                       layer_shown(layer));
        draw_cells(options, layer, search->cells, search->cell_count, drawn);
        for (size_t c = 0; c < search->cell_count; c++)
            if (drawn[c])
                search->keys[search->key_count++] =
                    (struct key){.layer = layer, .cell = search->cells[c],
                                 .column = find_in_stream(search, search->activations.cells,
                                                          search->activations.cell_count, search->cells[c],
                                                          "cell", search->cells[c])};
    }
    free(drawn);
    find_runs(search);
}

/* ---- the search ---- */

static void begin_batch(struct search *search)
{
    const struct batch *tokens = &search->batch.tokens;
    search->texts = new_array(tokens->sentences, sizeof *search->texts);
    for (size_t i = 0; i < tokens->tokens; i++)
        search->token_counts.count[tokens->token[i]]++;
    input_count(stream_input(search->activations.stream), tokens->sentences, "sentences");
}

static void end_batch(struct search *search)
{
    for (size_t s = 0; s < search->batch.tokens.sentences; s++)
        topk_release(&search->texts[s]);
    free(search->texts);
    activations_batch_free(&search->batch);
}

/* Reads an array of rows x columns coefficients. */
static void read_coefficients(struct search *search, const struct record *record, const char *name,
                              size_t rows, size_t columns)
{
    search->coefficient = grow_array(search->coefficient, matrix_count(rows, columns), sizeof(float));
    activations_copy(&search->activations, &search->batch, record, name, search->coefficient);
}

/* worst: what count elements may be besides numbers. */
static void check_coefficients(const struct search *search, const char *name, const float *coefficient,
                               size_t count, float worst)
{
    bool right = true;
    if (floats_first_not_finite(coefficient, count) == count)
        return;
    for (size_t i = 0; i < count; i++)
        right &= fabsf(coefficient[i]) <= FLT_MAX || coefficient[i] == worst;
    if (!right)
        stream_fail(search->activations.stream, "'%s' has an element that is not a coefficient", name);
}

/* Maxima have the worst score where there is none. */
static void check_maxima(const struct search *search)
{
    size_t cells = search->activations.cell_count, lists = search->activations.ranks.count;
    for (size_t i = 0; i < search->batch.tokens.sentences * lists; i++) {
        enum rank rank = search->activations.ranks.rank[i % lists];
        check_coefficients(search, "max", search->coefficient + i * cells, cells,
                           rank == RANK_MIN ? INFINITY : rank == RANK_VALUE ? -INFINITY : 0);
    }
}

/* Offers one sentence's prefix to a list of a key. path: see topk_offer; tokens: of the sentence. */
static void offer(struct search *search, size_t list, float coefficient, size_t sentence, uint32_t position,
                  const float *path, const uint32_t *tokens)
{
    if (position >= search->batch.tokens.length[sentence])
        stream_fail(search->activations.stream, "position %u lies outside of sentence %llu", position,
                    (unsigned long long)batch_sentence(&search->batch.tokens, sentence));
    topk_offer(search->topk, list, coefficient, batch_sentence(&search->batch.tokens, sentence), position,
               path, tokens, search->batch.tokens.length[sentence], &search->texts[sentence]);
}

/* The path to an element of max, which lies behind those asked for before; NULL: it has none. */
static const float *find_path(const struct search *search, struct path_walk *walk, size_t element)
{
    const struct layer_record *path = &search->path;
    for (; walk->index < path->paths && path->path[walk->index] < element; walk->index++)
        walk->coefficients += search->argmax[path->path[walk->index]];
    bool is_there = walk->index < path->paths && path->path[walk->index] == element;
    return is_there ? path->path_coefficient + walk->coefficients : NULL;
}

/* The run of keys that begins with key: a sentence's maxima by list l, which begin at element at. */
static void search_run(struct search *search, struct path_walk *walk, size_t key, size_t l, size_t at,
                       size_t sentence, const uint32_t *tokens)
{
    const size_t list = topk_list(search->topk, key, l), run = search->keys[key].run;
    const float *coefficient = search->coefficient + at;
    for (size_t i = 0;; i++) {
        i += topk_first_wanted(search->topk, list + i, coefficient + i, run - i);
        if (i == run)
            return;
        offer(search, list + i, coefficient[i], sentence, search->argmax[at + i],
              search->paths ? find_path(search, walk, at + i) : NULL, tokens);
    }
}

/* One prefix a sentence and list, from each sentence's maximum. */
static void search_maxima(struct search *search, const struct record *record, size_t key, size_t end)
{
    size_t cells = search->activations.cell_count, columns = activations_columns(&search->activations);
    read_coefficients(search, record, "max", search->batch.tokens.sentences, columns);
    check_maxima(search);
    search->argmax = grow_array(search->argmax, matrix_count(search->batch.tokens.sentences, columns),
                                sizeof(uint16_t));
    activations_copy(&search->activations, &search->batch, record, "argmax", search->argmax);
    struct path_walk walk = {0};
    if (search->paths)
        activations_read_paths(&search->activations, &search->batch, record, search->coefficient,
                               search->argmax, &search->path);
    const uint32_t *tokens = search->batch.tokens.token;
    for (size_t s = 0; s < search->batch.tokens.sentences; tokens += search->batch.tokens.length[s], s++)
        for (size_t l = 0; l < search->ranks.count; l++)
            for (size_t k = key; k < end; k += search->keys[k].run)
                search_run(search, &walk, k, l,
                           s * columns + search->list_of[l] * cells + search->keys[k].column, s, tokens);
}

/* Of a key and a list, whose rank it is, from the rows of a sentence: all, or the best one. */
static void search_column(struct search *search, size_t key, size_t l, size_t sentence, size_t row,
                          size_t end, const uint32_t *tokens)
{
    const float *coefficient = search->coefficient + search->keys[key].column;
    const uint32_t *position = search->batch.row_position;
    size_t cells = search->activations.cell_count, list = topk_list(search->topk, key, l), best = end;
    enum rank rank = search->ranks.rank[l];
    for (size_t r = row; r < end; r++) {
        float value = coefficient[r * cells];
        if (position[r] < search->activations.first || !topk_wants(search->topk, list, value))
            continue;
        if (search->options->prefixes == PREFIXES_EVERY)
            offer(search, list, value, sentence, position[r], NULL, tokens);
        else if (best == end || rank_score(rank, value) > rank_score(rank, coefficient[best * cells]))
            best = r;
    }
    if (best < end)
        offer(search, list, coefficient[best * cells], sentence, position[best], NULL, tokens);
}

/* From the coefficients of single positions: every prefix, or each sentence's best. */
static void search_rows(struct search *search, const struct record *record, size_t key, size_t end)
{
    size_t cells = search->activations.cell_count;
    read_coefficients(search, record, "coef", search->batch.rows, cells);
    check_coefficients(search, "coef", search->coefficient, search->batch.rows * cells, 0);
    const uint32_t *tokens = search->batch.tokens.token;
    for (size_t s = 0, row = 0, next; s < search->batch.tokens.sentences;
         tokens += search->batch.tokens.length[s], s++, row = next) {
        for (next = row; next < search->batch.rows && search->batch.row_sentence[next] == s;)
            next++;
        for (size_t k = key; k < end; k++)
            for (size_t l = 0; l < search->ranks.count; l++)
                search_column(search, k, l, s, row, next, tokens);
    }
}

/* Whether the best coefficients of a sentence are the record's maxima, where it has them. */
static bool takes_maxima(const struct search *search)
{
    if (search->options->prefixes != PREFIXES_SENTENCE)
        return false;
    for (size_t l = 0; l < search->ranks.count; l++)
        if (search->list_of[l] == search->activations.ranks.count)
            return false;
    return true;
}

static _Noreturn void fail_lacking(const struct search *search)
{
    if (ranks_have_signs(&search->ranks))
        stream_fail(search->activations.stream, "the record lacks what is searched: forward-dump --rank with "
                    "signs gives it, and only one prefix a sentence (--prefixes sentence)");
    char *ranks = ranks_text(&search->ranks);
    stream_fail(search->activations.stream,
                "the record lacks what is searched: forward-dump --emit %s --rank %s gives it",
                search->options->prefixes == PREFIXES_EVERY ? "coef" : "max", ranks);
}

static void search_layer(struct search *search, const struct record *record, size_t layer)
{
    size_t key = 0, end;
    while (key < search->key_count && search->keys[key].layer < layer)
        key++;
    for (end = key; end < search->key_count && search->keys[end].layer == layer;)
        end++;
    if (key == end)
        return;
    if (takes_maxima(search) && record_has(record, "max"))
        search_maxima(search, record, key, end);
    else if (record_has(record, "coef") && search->batch.has_rows && !ranks_have_signs(&search->ranks))
        search_rows(search, record, key, end);
    else
        fail_lacking(search);
}

static void search_all(struct search *search)
{
    struct record record;
    size_t layer;
    search->paths = search->activations.paths && takes_maxima(search);
    if (search->paths && search->options->top > search->activations.paths)
        stream_fail(search->activations.stream,
                    "paths of the best %zu sentences of each key: --top %llu needs forward-dump --paths "
                    "%llu, or more", search->activations.paths, (unsigned long long)search->options->top,
                    (unsigned long long)search->options->top);
    search->token_counts.vocabulary = search->activations.shape.vocabulary;
    fields_allocate(token_counts_fields, 0, &search->token_counts);
    search->topk = topk_new(search->key_count, &search->ranks, (size_t)search->options->top,
                            (float)search->options->threshold);
    while (activations_next_batch(&search->activations, &search->batch)) {
        begin_batch(search);
        while (activations_next_layer(&search->activations, &search->batch, &record, &layer))
            search_layer(search, &record, layer);
        end_batch(search);
    }
}

/* ---- output ---- */

/* What a search has found. */
struct found {
    struct topk *topk;
    const struct key *keys;
    size_t key_count, lists, following;
    bool paths;
    struct histogram *counted[COUNTED_KINDS]; /* keys; NULL: they were not counted */
    const struct token_counts *token_counts;
};

/* A list of a key. */
static struct key_triggers take_list(const struct found *found, size_t key, size_t list)
{
    struct key_triggers triggers = topk_take(found->topk, topk_list(found->topk, key, list),
                                             found->keys[key].layer, found->keys[key].cell,
                                             found->following, found->paths);
    triggers.lists = found->lists;
    triggers.list = list;
    if (found->paths && !triggers.prefix_coefficient)
        die("layer %zu cell %zu has a trigger without its path, which 'path' should have",
            layer_shown(triggers.layer), triggers.cell);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (found->counted[kind] && list == 0) {
            triggers.counted[kind] = found->counted[kind][key];
            found->counted[kind][key] = (struct histogram){0};
        }
    return triggers;
}

static void write_triggers(const struct options *options, const json_t *header, const struct found *found,
                           const json_t *counts)
{
    struct stream_writer *writer = stream_create(options->output, options->gzip, header);
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (size_t i = 0; i < found->key_count * found->lists; i++) {
        struct key_triggers triggers = take_list(found, i / found->lists, i % found->lists);
        fields_pack(&buffer, key_fields, key_triggers_groups(&triggers), &triggers);
        stream_append(writer, &buffer, 1);
        key_triggers_free(&triggers);
    }
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        free(found->counted[kind]);
    fields_pack(&buffer, token_counts_fields, 0, found->token_counts);
    stream_append(writer, &buffer, 1);
    stream_finish(writer, counts);
    msgpack_sbuffer_destroy(&buffer);
}

/* How often each key's coefficients occur, by a kind of bins; NULL: the input does not say. */
static struct histogram *take_counted(const struct search *search, enum counted kind)
{
    struct histogram *histograms = NULL;
    for (size_t k = 0; k < search->key_count; k++) {
        const struct key *key = &search->keys[k];
        const uint64_t *counts = activations_counts(&search->activations, kind, key->layer, key->column);
        if (!counts)
            return NULL;
        if (!histograms)
            histograms = new_array(search->key_count, sizeof *histograms);
        histograms[k] = histogram_new(counted_bins[kind]);
        memcpy(histograms[k].count, counts, counted_bins[kind] * sizeof *counts);
    }
    return histograms;
}

/* The groups of a record of a key's first list. */
static unsigned groups_found(const struct found *found)
{
    unsigned groups = KEY_TRIGGERS | (found->paths ? KEY_PREFIX_COEFFICIENTS : 0);
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        groups |= found->counted[kind] ? (unsigned)KEY_COUNTED << kind : 0;
    return groups;
}

static json_t *make_header(const struct search *search, const struct found *found)
{
    const struct options *options = search->options;
    json_t *header = header_new("triggers", stream_header(search->activations.stream));
    json_t *values = json_make("{s:I, s:s, s:o, s:f}", "top", (json_int_t)options->top, "prefixes",
                               prefixes_words[options->prefixes], "rank", ranks_json(&search->ranks),
                               "threshold", options->threshold);
    if (options->following)
        json_put(values, "following", json_integer((json_int_t)options->following));
    if (options->sample) {
        json_put(values, "sample", json_integer((json_int_t)options->sample));
        json_put(values, "seed", json_integer((json_int_t)options->seed));
    }
    json_put(header, "layers", json_list(search->layers, search->layer_count));
    if (options->cells)
        json_put(header, "cells", json_list(search->cells, search->cell_count));
    json_put(header, "keys", json_integer((json_int_t)search->key_count));
    json_put(header, "top", json_integer((json_int_t)options->top));
    json_put(header, "prefixes", json_string(prefixes_words[options->prefixes]));
    json_put(header, "rank", ranks_json(&search->ranks));
    json_object_del(header, "paths");
    json_put(header, "arrays", json_object());
    fields_declare(header, key_fields, groups_found(found), NULL);
    if (options->following) {
        const struct key_triggers following = {.following_tokens = (size_t)options->following};
        json_put(header, "following", json_integer((json_int_t)options->following));
        fields_declare(header, key_fields, KEY_FOLLOWING, &following);
    }
    fields_declare(header, token_counts_fields, 0, NULL);
    header_add_stage(header, "topk-keys", values);
    return header;
}

static void run_search(const struct options *options, const char *path)
{
    struct stream_reader *stream = stream_open(path, "activations");
    struct search search = {.options = options, .activations = activations_open(stream),
                            .ranks = ranks_chosen(options->rank)};
    for (size_t l = 0; l < search.ranks.count; l++)
        search.list_of[l] = ranks_find(&search.activations.ranks, search.ranks.rank[l]);
    choose_keys(&search);
    search_all(&search);

    struct found found = {.topk = search.topk, .keys = search.keys, .key_count = search.key_count,
                          .lists = search.ranks.count, .following = (size_t)options->following,
                          .paths = search.paths,
                          .token_counts = &search.token_counts};
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        found.counted[kind] = take_counted(&search, kind);
    json_t *header = make_header(&search, &found);
    write_triggers(options, header, &found, stream_trailer(stream));
    json_decref(header);
    topk_free(search.topk);
    activations_close(&search.activations);
    stream_close(stream);
    free(search.layers);
    free(search.cells);
    free(search.keys);
    fields_free(token_counts_fields, &search.token_counts);
    free(search.coefficient);
    free(search.argmax);
    fields_free(layer_fields, &search.path);
}

/* ---- merging ---- */

/* All inputs have the same keys in the same order: one list of one key is in memory, that of each input. */
struct merge {
    const struct options *options;
    struct trigger_merge how;
    struct triggers_reader *inputs; /* count */
    struct key_triggers *lists;     /* count: the current one of each */
    size_t count;
    struct stream_writer *writer;
    msgpack_sbuffer buffer;
};

static void open_inputs(struct merge *merge, struct stream_reader *const *inputs, size_t count)
{
    const json_t *header = stream_header(inputs[0]);
    const char *prefixes = json_string_value(json_object_get(header, "prefixes"));
    merge->count = count;
    merge->inputs = new_array(count, sizeof *merge->inputs);
    merge->lists = new_array(count, sizeof *merge->lists);
    for (size_t i = 0; i < count; i++)
        merge->inputs[i] = triggers_open(inputs[i]);
    const struct triggers_reader *first = &merge->inputs[0];
    merge->how = (struct trigger_merge){.top = first->top, .following = first->following,
                                        .every = prefixes && !strcmp(prefixes, "every"),
                                        .paths = first->prefix_coefficients};
    merge->writer = stream_create(merge->options->output, merge->options->gzip, header);
    msgpack_sbuffer_init(&merge->buffer);
}

/* Reads the next list of an input: false where there is none, and the stream ends. */
static bool read_list(struct merge *merge, size_t input)
{
    const struct triggers_reader *reader = &merge->inputs[input];
    struct key_triggers *list = &merge->lists[input];
    const struct key_triggers *first = &merge->lists[0];
    if (!triggers_next(&merge->inputs[input], list))
        return false;
    if (list->top)
        stream_fail(reader->stream, "triggers with projected values: merge before project-values");
    if (list->layer != first->layer || list->cell != first->cell)
        stream_fail(reader->stream, "layer %zu cell %zu stands where the first input has layer %zu cell %zu",
                    layer_shown(list->layer), list->cell, layer_shown(first->layer), first->cell);
    return true;
}

/* False: all inputs have ended; each had as many keys as its header says, which the reader checks. */
static bool read_lists(struct merge *merge)
{
    bool any = read_list(merge, 0);
    for (size_t i = 1; i < merge->count; i++)
        if (read_list(merge, i) != any)
            stream_fail(merge->inputs[i].stream, "not as many keys as in the first input");
    return any;
}

static void write_list(struct merge *merge)
{
    const struct triggers_reader *first = &merge->inputs[0];
    struct key_triggers merged;
    struct trigger_twice twice = trigger_merge(&merge->how, triggers_rank(first, &merge->lists[0]),
                                               merge->lists, merge->count, &merged);
    if (twice.found)
        stream_fail(merge->inputs[twice.input].stream, "sentence %llu is in %s as well: the shards overlap",
                    (unsigned long long)twice.sentence,
                    input_name(stream_input(merge->inputs[twice.other].stream)));
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++) {
        if (!merge->lists[0].counted[kind].bins)
            continue;
        merged.counted[kind] = histogram_new(counted_bins[kind]);
        for (size_t i = 0; i < merge->count; i++)
            histogram_add(&merged.counted[kind], &merge->lists[i].counted[kind]);
    }
    fields_pack(&merge->buffer, key_fields, key_triggers_groups(&merged), &merged);
    stream_append(merge->writer, &merge->buffer, 1);
    key_triggers_free(&merged);
    for (size_t i = 0; i < merge->count; i++)
        key_triggers_free(&merge->lists[i]);
}

static void write_token_counts(struct merge *merge)
{
    struct token_counts sum = {.vocabulary = merge->inputs[0].shape.vocabulary};
    fields_allocate(token_counts_fields, 0, &sum);
    for (size_t i = 0; i < merge->count; i++)
        if (merge->inputs[i].token_counts.count)
            fields_add(token_counts_fields, 0, &sum, &merge->inputs[i].token_counts);
    fields_pack(&merge->buffer, token_counts_fields, 0, &sum);
    stream_append(merge->writer, &merge->buffer, 1);
    fields_free(token_counts_fields, &sum);
}

static void merge_inputs_together(void *merging, struct stream_reader *const *inputs, size_t count)
{
    struct merge *merge = merging;
    open_inputs(merge, inputs, count);
    while (read_lists(merge))
        write_list(merge);
    write_token_counts(merge);
}

static void end_merge(void *merging, const struct stream_reader *first, const json_t *counts)
{
    (void)first;
    struct merge *merge = merging;
    stream_finish(merge->writer, counts);
    msgpack_sbuffer_destroy(&merge->buffer);
    for (size_t i = 0; i < merge->count; i++)
        triggers_close(&merge->inputs[i]);
    free(merge->inputs);
    free(merge->lists);
}

static const struct merge_work merge_work = {
    .kind = "triggers", .whole = &whole_corpus, .read_all = merge_inputs_together, .end = end_merge};

int main(int argc, char **argv)
{
    struct options options = {.prefixes = -1, .seed = 1};
    const struct option_spec specs[] = {
        {'t', "top", "N", "triggers kept of each key (default 25)", OPTION_NUMBER, &options.top, 1,
         MAX_TRIGGERS, NULL},
        {0, "prefixes", "WHICH",
         "one prefix a sentence (default: sentence), or every prefix, which needs coef", OPTION_CHOICE,
         &options.prefixes, 0, 0, prefixes_words},
        {0, "rank", "LIST",
         "best are the largest coefficients (default: value), absolute values (abs), the lowest (min), those "
         "of each combination of signs of gate and input (signs); several give each key several lists",
         OPTION_CHOICES, &options.rank, 0, 0, ranks_option_words},
        {0, "threshold", "X",
         "only coefficients whose value (abs, signs: absolute value, min: negative) is above X (default 0)",
         OPTION_REAL, &options.threshold, 0, 0, NULL},
        {0, "following", "N", "record N tokens behind each trigger's next one (default: none)", OPTION_NUMBER,
         &options.following, 1, MAX_FOLLOWING, NULL},
        OPTION_LAYERS(&options.layers, "keys of"),
        OPTION_CELLS(&options.cells, "keys of"),
        {0, "sample", "N", "only N random keys of each layer (default: all)", OPTION_NUMBER, &options.sample,
         1, INT64_MAX, NULL},
        OPTION_SEED(&options.seed),
        {0, "merge", NULL, "join the outputs of several shards, FILE..., into that of one run", OPTION_FLAG,
         &options.merge, 0, 0, NULL},
        OPTION_PARTIAL(&options.partial),
        OPTION_OUTPUT(&options.output),
        OPTION_GZIP(&options.gzip),
        OPTION_END,
    };
    const struct tool tool = {"topk-keys", "Finds the trigger examples of each key.",
                              "[FILE] | --merge FILE...", specs, SIZE_MAX};
    int first = cli_parse(&tool, argc, argv);
    if (!options.merge && argc - first > 1)
        die_usage("more than one input; --merge joins the outputs of several runs");
    if (options.merge && (options.top || options.following || options.prefixes >= 0 || options.rank
                          || options.threshold > 0 || options.layers || options.cells || options.sample))
        die_usage(
            "--merge keeps the keys and triggers that its inputs have; of the options only --partial, -o "
            "and -z go with it");
    cli_check_partial(options.partial, options.merge);
    if (!options.top)
        options.top = DEFAULT_TOP;
    if (options.prefixes < 0)
        options.prefixes = PREFIXES_SENTENCE;
    if (options.merge)
        merge_inputs(&merge_work, argv + first, (size_t)(argc - first), options.partial,
                     &(struct merge){.options = &options});
    else
        run_search(&options, cli_input(argc, argv, first));
    return STATUS_DONE;
}
