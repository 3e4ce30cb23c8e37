#include "stream/merging.h"

#include "base/json.h"
#include "base/messages.h"
#include "stream/counts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each is compared with every other. */
enum { MAX_PROGRESSIONS = 4096 };

__extension__ typedef unsigned __int128 wide; /* holds the product of two batch numbers */

/* ---- progressions ---- */

uint64_t progression_count(struct progression progression)
{
    return progression.first < progression.end
        ? (progression.end - 1 - progression.first) / progression.step + 1 : 0;
}

struct progression progression_normal(struct progression progression)
{
    uint64_t count = progression_count(progression);
    if (count <= 1)
        return (struct progression){progression.first, progression.first + count, 1};
    progression.end = progression.first + (count - 1) * progression.step + 1;
    return progression;
}

/* The greatest common divisor of two numbers, and *inverse with a * inverse = it modulo b. */
static uint64_t divide(uint64_t a, uint64_t b, uint64_t *inverse)
{
    int64_t factor = 1, next_factor = 0;
    uint64_t modulus = b;
    while (b) {
        int64_t quotient = (int64_t)(a / b);
        uint64_t rest = a % b;
        int64_t next = factor - quotient * next_factor; /* stays within modulus */
        a = b;
        b = rest;
        factor = next_factor;
        next_factor = next;
    }
    *inverse = factor < 0 ? modulus - (uint64_t)-factor : (uint64_t)factor;
    return a;
}

/* Chinese remainder theorem, for moduli that may have a common divisor. */
bool progression_meets(struct progression a, struct progression b, uint64_t *common)
{
    if (a.first > b.first) {
        struct progression lower = b;
        b = a;
        a = lower;
    }
    uint64_t inverse, divisor = divide(a.step, b.step, &inverse), distance = b.first - a.first;
    if (distance % divisor)
        return false;
    uint64_t modulus = b.step / divisor;
    uint64_t steps = (uint64_t)((wide)(distance / divisor % modulus) * (inverse % modulus) % modulus);
    wide number = (wide)a.first + (wide)steps * a.step, period = (wide)a.step * modulus;
    if (number < b.first)
        number += (b.first - number + period - 1) / period * period;
    if (number >= a.end || number >= b.end)
        return false;
    *common = (uint64_t)number;
    return true;
}

/* ---- in trailers ---- */

void coverage_put(json_t *counts, const struct progression *covered, size_t count, uint64_t batches,
                  const char *text)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, json_make("[I, I, I]", (json_int_t)covered[i].first, (json_int_t)covered[i].end,
                                 (json_int_t)covered[i].step));
    json_put(counts, COVERAGE_BATCHES, json_integer((json_int_t)batches));
    json_put(counts, COVERAGE_RANGES, list);
    json_put(counts, COVERAGE_TEXT, json_string(text));
}

/* False unless it is [first, end, step] with first below end and end at most batches. */
static bool read_progression(const json_t *list, int64_t batches, struct progression *progression)
{
    int64_t number[3];
    for (size_t i = 0; i < 3; i++) {
        const json_t *element = json_array_get(list, i);
        number[i] = json_is_integer(element) ? json_integer_value(element) : -1;
    }
    if (json_array_size(list) != 3 || number[0] < 0 || number[1] <= number[0] || number[1] > batches
        || number[2] < 1)
        return false;
    *progression = progression_normal(
        (struct progression){(uint64_t)number[0], (uint64_t)number[1], (uint64_t)number[2]});
    return true;
}

/* ---- merging ---- */

/* Batches that one of the inputs covers. */
struct part {
    struct progression batches;
    const char *input; /* its name */
};

struct merging {
    const char *kind;
    char **paths;
    size_t path_count, opened;
    struct stream_reader **readers; /* path_count: that are open; else NULL */
    json_t *counts;
    uint64_t batches, covered; /* of the text; in the inputs so far */
    char *text;                /* the hash of it; NULL before the first input */
    struct part *parts;        /* MAX_PROGRESSIONS */
    size_t part_count;
};

static void merging_open(struct merging *merging, const char *kind, char **paths, size_t count)
{
    if (!count)
        die_usage("--merge needs the names of its inputs");
    *merging = (struct merging){.kind = kind, .paths = paths, .path_count = count};
    merging->readers = new_array(count, sizeof(struct stream_reader *));
    merging->counts = json_make("{}");
    merging->parts = new_array(MAX_PROGRESSIONS, sizeof *merging->parts);
}

/* Closes what is open. */
static void merging_free(struct merging *merging)
{
    for (size_t i = 0; i < merging->path_count; i++)
        if (merging->readers[i])
            stream_close(merging->readers[i]);
    free(merging->readers);
    free(merging->parts);
    free(merging->text);
    json_decref(merging->counts);
}

/* The first stays open as long as the merging, for its header and for messages. */
static struct stream_reader *first_input(const struct merging *merging)
{
    return merging->readers[0];
}

/* Opens the next input, whose header must be that of the first; NULL: there is none left. */
static struct stream_reader *next_input(struct merging *merging)
{
    if (merging->opened == merging->path_count)
        return NULL;
    const char *path = merging->paths[merging->opened];
    struct stream_reader *reader = stream_open(strcmp(path, "-") ? path : NULL, merging->kind);
    merging->readers[merging->opened++] = reader;
    if (!json_equal(stream_header(first_input(merging)), stream_header(reader)))
        stream_fail(reader, "made with another model, corpus or options than the first input");
    return reader;
}

/* Closes the input that was opened last, unless it is the first. */
static void close_input(struct merging *merging)
{
    if (merging->opened == 1)
        return;
    stream_close(merging->readers[merging->opened - 1]);
    merging->readers[merging->opened - 1] = NULL;
}

/* The name of an input that is open; it holds when the input is closed. */
static const char *name_of(const struct merging *merging, const struct stream_reader *reader)
{
    size_t index = 0;
    while (merging->readers[index] != reader)
        index++;
    return strcmp(merging->paths[index], "-") ? merging->paths[index] : "standard input";
}

/* Adds batches of an input. */
static void add_part(struct merging *merging, const struct stream_reader *reader, struct progression batches)
{
    uint64_t common;
    for (size_t i = 0; i < merging->part_count; i++)
        if (progression_meets(batches, merging->parts[i].batches, &common))
            stream_fail(reader, "batch %llu is in %s as well: the shards overlap", (unsigned long long)common,
                        merging->parts[i].input);
    if (merging->part_count == MAX_PROGRESSIONS)
        stream_fail(reader, "the inputs are of more than %d parts of the corpus", MAX_PROGRESSIONS);
    merging->parts[merging->part_count++] = (struct part){batches, name_of(merging, reader)};
    merging->covered += progression_count(batches);
}

/* The text must be that of the first input. */
static void check_text(struct merging *merging, const struct stream_reader *reader, const char *text,
                       uint64_t batches)
{
    if (!merging->text) {
        merging->text = copy_string(text);
        merging->batches = batches;
    }
    if (strcmp(merging->text, text) || merging->batches != batches)
        stream_fail(reader, "a shard of another text than that of %s",
                    name_of(merging, first_input(merging)));
}

/* Adds what the trailer of an input says, which was read to its end: its counts, and what it covers. */
static void add_trailer(struct merging *merging, const struct stream_reader *reader)
{
    const json_t *trailer = stream_trailer(reader);
    const json_t *batches = json_object_get(trailer, COVERAGE_BATCHES),
                 *covers = json_object_get(trailer, COVERAGE_RANGES);
    const json_t *list;
    const char *text = json_string_value(json_object_get(trailer, COVERAGE_TEXT));
    size_t index;
    if (!text || !json_is_integer(batches) || !json_is_array(covers))
        stream_fail(reader,
                    "the trailer does not say what of the corpus it covers: a stage between tokenize "
                    "and here did not pass on %s, %s and %s",
                    COVERAGE_BATCHES, COVERAGE_RANGES, COVERAGE_TEXT);
    check_text(merging, reader, text, (uint64_t)json_integer_value(batches));
    json_array_foreach((json_t *)(uintptr_t)covers, index, list) {
        struct progression progression;
        if (!read_progression(list, json_integer_value(batches), &progression))
            stream_fail(reader, "the trailer's %s are not [first, end, step] of its %s", COVERAGE_RANGES,
                        COVERAGE_BATCHES);
        add_part(merging, reader, progression);
    }
    counts_add(merging->counts, trailer);
}

static bool is_covered(const struct merging *merging, uint64_t batch)
{
    for (size_t i = 0; i < merging->part_count; i++) {
        struct progression batches = merging->parts[i].batches;
        if (batch >= batches.first && batch < batches.end && (batch - batches.first) % batches.step == 0)
            return true;
    }
    return false;
}

/* Names the first of the missing batches, those that a look at some of all finds. */
static _Noreturn void missing(const struct merging *merging)
{
    enum { NAMED = 3, LOOKED_AT = 1 << 14, NUMBER = 24 };
    uint64_t missing = merging->batches - merging->covered;
    char names[NAMED * NUMBER] = "";
    size_t length = 0, named = 0;
    for (uint64_t batch = 0; batch < merging->batches && batch < LOOKED_AT && named < NAMED; batch++)
        if (!is_covered(merging, batch)) {
            length += (size_t)snprintf(names + length, NUMBER, "%s%llu", named ? ", " : ": ",
                                       (unsigned long long)batch);
            named++;
        }
    die("%llu of the corpus' %llu batches are in none of the inputs%s%s: a shard is missing; --partial "
        "merges without it", (unsigned long long)missing, (unsigned long long)merging->batches, names,
        named && named < missing ? " ..." : "");
}

static int by_first(const void *a, const void *b)
{
    const struct part *left = a, *right = b; /* no two have a batch in common */
    return left->batches.first < right->batches.first ? -1 : 1;
}

/* The counts for the trailer of the result. */
static const json_t *merged_counts(struct merging *merging, bool partial)
{
    if (merging->covered < merging->batches && !partial)
        missing(merging);
    /* In one order, whatever that of the inputs; and what is whole is written as one run has it. */
    qsort(merging->parts, merging->part_count, sizeof *merging->parts, by_first);
    struct progression *covered = new_array(merging->part_count + 1, sizeof *covered);
    size_t count = merging->part_count;
    for (size_t i = 0; i < count; i++)
        covered[i] = merging->parts[i].batches;
    if (merging->covered == merging->batches) {
        covered[0] = (struct progression){0, merging->batches, 1};
        count = merging->batches > 0;
    }
    coverage_put(merging->counts, covered, count, merging->batches, merging->text);
    free(covered);
    return merging->counts;
}

/* One input after the other. */
static void read_inputs(struct merging *merging, const struct merge_work *work, void *merge)
{
    struct stream_reader *input;
    while ((input = next_input(merging))) {
        if (input == first_input(merging) && work->begin)
            work->begin(merge, input);
        work->read(merge, input);
        if (!work->of_keys)
            add_trailer(merging, input);
        close_input(merging);
    }
}

/* What an input lists next, and how much it has listed. */
struct list {
    struct listed next;
    uint64_t so_far;
};

static void list_advance(struct list *list, const struct merge_work *work, struct stream_reader *input,
                         void *merge)
{
    list->next = work->next(merge, input, list->so_far);
    list->so_far += list->next.count;
}

/* The input whose list goes on with the lowest sentence; count: none goes on. */
static size_t lowest(const struct list *lists, size_t count)
{
    size_t lowest = count;
    for (size_t i = 0; i < count; i++)
        if (lists[i].next.records && (lowest == count || lists[i].next.first < lists[lowest].next.first))
            lowest = i;
    return lowest;
}

/* All inputs at once, what they list in the order of the corpus. */
static void read_lists(struct merging *merging, const struct merge_work *work, void *merge)
{
    size_t count = merging->path_count, i;
    struct list *lists = new_array(count, sizeof *lists);
    uint64_t free_from = 0; /* the sentence behind the last one that was taken */
    while (next_input(merging))
        ;
    if (work->begin)
        work->begin(merge, first_input(merging));
    for (i = 0; i < count; i++)
        list_advance(&lists[i], work, merging->readers[i], merge);
    while ((i = lowest(lists, count)) < count) {
        const struct listed *listed = &lists[i].next;
        if (listed->first < free_from)
            stream_fail(merging->readers[i], "sentence %llu is in two of the inputs: their shards overlap",
                        (unsigned long long)listed->first);
        free_from = listed->last + 1;
        work->take(merge, listed);
        list_advance(&lists[i], work, merging->readers[i], merge);
    }
    for (i = 0; i < count; i++)
        add_trailer(merging, merging->readers[i]);
    free(lists);
}

void merge_inputs(const struct merge_work *work, char **paths, size_t count, bool partial, void *merge)
{
    struct merging merging;
    merging_open(&merging, work->kind, paths, count);
    if (work->next)
        read_lists(&merging, work, merge);
    else
        read_inputs(&merging, work, merge);
    work->end(merge, first_input(&merging), work->of_keys ? NULL : merged_counts(&merging, partial));
    merging_free(&merging);
}
