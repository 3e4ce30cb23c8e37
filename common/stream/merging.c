#include "stream/merging.h"

#include "base/heap.h"
#include "base/input.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/messages.h"
#include "stream/counts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Units that one of the inputs covers. */
struct part {
    struct progression units;
    const char *input; /* its name */
};

struct merging {
    const struct merge_work *work;
    char **paths;
    size_t path_count, opened;
    struct stream_reader **readers; /* path_count: that are open; else NULL */
    json_t *counts;
    uint64_t units, covered; /* of the whole; in the inputs so far */
    char *hash;              /* the whole's; NULL before the first input that says it */
    struct part *parts;      /* MAX_PROGRESSIONS: each is compared with every other */
    size_t part_count;
};

static void merging_open(struct merging *merging, const struct merge_work *work, char **paths, size_t count)
{
    if (!count)
        die_usage("--merge needs the names of its inputs");
    *merging = (struct merging){.work = work, .paths = paths, .path_count = count};
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
    free(merging->hash);
    json_decref(merging->counts);
}

/* ---- inputs ---- */

/* The first stays open as long as the merging, for its header and for messages. */
static struct stream_reader *first_input(const struct merging *merging)
{
    return merging->readers[0];
}

/* The name of an input that is open; it holds when the input is closed. */
static const char *name_of(const struct merging *merging, const struct stream_reader *reader)
{
    size_t index = 0;
    while (merging->readers[index] != reader)
        index++;
    return strcmp(merging->paths[index], "-") ? merging->paths[index] : "standard input";
}

/* A member that two objects do not have alike; NULL: there is none. */
static const char *different_member(const json_t *a, const json_t *b)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)a, name, value)
        if (!json_equal(value, json_object_get(b, name)))
            return name;
    json_object_foreach((json_t *)(uintptr_t)b, name, value)
        if (!json_object_get(a, name))
            return name;
    return NULL;
}

/* The first stage that two histories do not have alike, and its option, as a text of its own. */
static char *different_stage(const json_t *a, const json_t *b)
{
    size_t i = 0;
    while (i < json_array_size(a) && json_equal(json_array_get(a, i), json_array_get(b, i)))
        i++;
    const json_t *left = json_array_get(a, i), *right = json_array_get(b, i);
    const char *tool = json_string_value(json_object_get(right, "tool"));
    const char *option = different_member(json_object_get(left, "options"),
                                          json_object_get(right, "options"));
    return format_string("history has another %s%s%s", tool ? tool : "stage", option ? ", by " : "",
                         option ? option : "");
}

/* Ends the program unless the header is that of the first input. The history tells of options by name. */
static void check_header(const struct merging *merging, const struct stream_reader *reader)
{
    const json_t *first = stream_header(first_input(merging)), *header = stream_header(reader);
    if (json_equal(first, header))
        return;
    static const char *const of_input[] = {"model", "corpus", "tokenizer", "history"};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof of_input / sizeof *of_input && !name; i++) {
        const json_t *left = json_object_get(first, of_input[i]);
        const json_t *right = json_object_get(header, of_input[i]);
        if (left != right && !json_equal(left, right)) /* neither may have it */
            name = of_input[i];
    }
    if (!name)
        name = different_member(first, header);
    char *what = !strcmp(name, "history")
        ? different_stage(json_object_get(first, name), json_object_get(header, name))
        : format_string("header has another %s", name);
    stream_fail(reader, "made with another model, corpus or options than the first input, %s: its %s",
                name_of(merging, first_input(merging)), what);
}

/* Opens the next input, whose header must be that of the first; NULL: there is none left. */
static struct stream_reader *next_input(struct merging *merging)
{
    if (merging->opened == merging->path_count)
        return NULL;
    const char *path = merging->paths[merging->opened];
    struct stream_reader *reader = stream_open(strcmp(path, "-") ? path : NULL, merging->work->kind);
    merging->readers[merging->opened++] = reader;
    check_header(merging, reader);
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

/* All at once, which are more than a process has files by default. */
static void open_all(struct merging *merging)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* else an input that cannot be opened tells */
    }
    while (next_input(merging))
        ;
}

/* ---- what they cover ---- */

/* Adds units of an input. */
static void add_part(struct merging *merging, const struct stream_reader *reader, struct progression units)
{
    const struct whole *whole = merging->work->whole;
    uint64_t common;
    for (size_t i = 0; i < merging->part_count; i++)
        if (progression_meets(units, merging->parts[i].units, &common))
            stream_fail(reader, "%s %llu is in %s as well: the shards overlap", whole->unit,
                        (unsigned long long)common, merging->parts[i].input);
    if (merging->part_count == MAX_PROGRESSIONS)
        stream_fail(reader, "the inputs are of more than %d parts of the %s", MAX_PROGRESSIONS, whole->name);
    merging->parts[merging->part_count++] = (struct part){units, name_of(merging, reader)};
    merging->covered += progression_count(units);
}

/* The whole must be that of the first input. */
static void check_whole(struct merging *merging, const struct stream_reader *reader, const char *hash,
                        uint64_t units)
{
    if (!merging->hash) {
        merging->hash = copy_string(hash);
        merging->units = units;
    }
    if (strcmp(merging->hash, hash) || merging->units != units)
        stream_fail(reader, "a shard of %s of %s", merging->work->whole->another,
                    name_of(merging, first_input(merging)));
}

/* Where the trailer does not say what the input covers: it has all, or a stage lost it. */
static void check_lone(const struct merging *merging, const struct stream_reader *reader)
{
    const struct whole *whole = merging->work->whole;
    if (merging->path_count == 1 && (merging->work->is_lone_right || !whole->always))
        return;
    if (!whole->always)
        stream_fail(reader, "it has all %s: the shards overlap", whole->name);
    stream_fail(reader,
                "the trailer does not say what of the %s it covers: a stage between %s "
                "and here did not pass on %s, %s and %s",
                whole->name, whole->maker, whole->units, whole->covers, whole->hash);
}

static void add_coverage(struct merging *merging, const struct stream_reader *reader)
{
    const struct whole *whole = merging->work->whole;
    const json_t *trailer = stream_trailer(reader), *list;
    const json_t *units = json_object_get(trailer, whole->units),
                 *covers = json_object_get(trailer, whole->covers);
    const char *hash = json_string_value(json_object_get(trailer, whole->hash));
    size_t index;
    if (!hash || !json_is_integer(units) || !json_is_array(covers)) {
        check_lone(merging, reader);
        return;
    }
    check_whole(merging, reader, hash, (uint64_t)json_integer_value(units));
    json_array_foreach((json_t *)(uintptr_t)covers, index, list) {
        struct progression progression;
        if (!progression_read(list, json_integer_value(units), &progression))
            stream_fail(reader, "the trailer's %s are not [first, end, step] of its %s", whole->covers,
                        whole->units);
        add_part(merging, reader, progression);
    }
}

/*
 * Adds what the trailer of an input says, which was read to its end: what it covers, and its counts. Where
 * the corpus is what is divided these add up; else they are of all of it, in each input.
 */
static void add_trailer(struct merging *merging, const struct stream_reader *reader)
{
    const json_t *trailer = stream_trailer(reader);
    add_coverage(merging, reader);
    if (merging->work->whole == &whole_corpus)
        counts_add(merging->counts, trailer);
    else if (!counts_equal(trailer, stream_trailer(first_input(merging))))
        stream_fail(reader, "made of another text, or of other shards of it, than %s",
                    name_of(merging, first_input(merging)));
    else if (reader == first_input(merging))
        counts_pass(merging->counts, trailer);
}

/* ---- what is missing ---- */

static bool is_covered(const struct merging *merging, uint64_t unit)
{
    for (size_t i = 0; i < merging->part_count; i++)
        if (progression_has(merging->parts[i].units, unit))
            return true;
    return false;
}

/* Whether no input has any of these units. */
static bool is_missing(const struct merging *merging, struct progression units)
{
    uint64_t common;
    for (size_t i = 0; i < merging->part_count; i++)
        if (progression_meets(units, merging->parts[i].units, &common))
            return false;
    return true;
}

/*
 * The missing shards, "shard 2/7, 5/7", where what is missing is whole shards of a division that one of
 * the inputs is of: as a text of its own. NULL: it is not, or is not looked for among so many.
 */
static char *missing_shards(const struct merging *merging, uint64_t shards)
{
    enum { NAMED = 3, LOOKED_AT = 1 << 20 };
    uint64_t missing = merging->units - merging->covered, found = 0, named = 0;
    char *names = copy_string("shard ");
    for (uint64_t i = 0; i < shards && i < merging->units && shards * merging->part_count < LOOKED_AT; i++) {
        struct progression units = {i, merging->units, shards};
        if (!is_missing(merging, units))
            continue;
        found += progression_count(units);
        if (named < NAMED) {
            char *longer = format_string("%s%s%llu/%llu", names, named ? ", " : "", (unsigned long long)i,
                                         (unsigned long long)shards);
            free(names);
            names = longer;
        }
        named++;
    }
    char *all = found == missing ? format_string("%s%s %s", names, named > NAMED ? " ..." : "",
                                                 named > 1 ? "are missing" : "is missing") : NULL;
    free(names);
    return all;
}

/* The same of the divisions of all inputs. */
static char *missing_of_any_division(const struct merging *merging)
{
    uint64_t tried = 1;
    for (size_t i = 0; i < merging->part_count; i++) {
        uint64_t shards = merging->parts[i].units.step;
        char *names = shards == tried ? NULL : missing_shards(merging, shards);
        if (names)
            return names;
        tried = shards;
    }
    return copy_string("a shard is missing");
}

/* Names the first of the missing units, those that a look at some of all finds. */
static _Noreturn void missing(const struct merging *merging)
{
    enum { NAMED = 3, LOOKED_AT = 1 << 14, NUMBER = 24 };
    uint64_t missing = merging->units - merging->covered;
    char names[NAMED * NUMBER] = "";
    size_t length = 0, named = 0;
    for (uint64_t unit = 0; unit < merging->units && unit < LOOKED_AT && named < NAMED; unit++)
        if (!is_covered(merging, unit)) {
            length += (size_t)snprintf(names + length, NUMBER, "%s%llu", named ? ", " : ": ",
                                       (unsigned long long)unit);
            named++;
        }
    const struct whole *whole = merging->work->whole;
    die("%llu of the %s' %llu %s are in none of the inputs%s%s: %s; --partial "
        "merges without it", (unsigned long long)missing, whole->name, (unsigned long long)merging->units,
        whole->unit_plural, names, named && named < missing ? " ..." : "", missing_of_any_division(merging));
}

static int by_first(const void *a, const void *b)
{
    const struct part *left = a, *right = b; /* no two have a unit in common */
    return left->units.first < right->units.first ? -1 : 1;
}

/* The counts for the trailer of the result. */
static const json_t *merged_counts(struct merging *merging, bool partial)
{
    if (merging->covered < merging->units && !partial)
        missing(merging);
    if (!merging->hash)
        return merging->counts;
    /* In one order, whatever that of the inputs; and what is whole is written as one run has it. */
    qsort(merging->parts, merging->part_count, sizeof *merging->parts, by_first);
    struct progression *covered = new_array(merging->part_count + 1, sizeof *covered);
    size_t count = merging->part_count;
    for (size_t i = 0; i < count; i++)
        covered[i] = merging->parts[i].units;
    const struct whole *whole = merging->work->whole;
    bool is_whole = merging->covered == merging->units;
    if (is_whole) {
        covered[0] = (struct progression){0, merging->units, 1};
        count = merging->units > 0;
    }
    if (whole->always || !is_whole)
        coverage_put(merging->counts, whole, covered, count, merging->units, merging->hash);
    else
        coverage_remove(merging->counts, whole); /* the first input's */
    free(covered);
    return merging->counts;
}

/* ---- merging ---- */

/* One input after the other. */
static void read_inputs(struct merging *merging, void *merge)
{
    const struct merge_work *work = merging->work;
    struct stream_reader *input;
    while ((input = next_input(merging))) {
        if (input == first_input(merging) && work->begin)
            work->begin(merge, input);
        work->read(merge, input);
        add_trailer(merging, input);
        close_input(merging);
    }
}

/* What an input lists next, and how much it has listed. */
struct list {
    struct stream_reader *input;
    size_t index; /* of the input */
    struct listed next;
    uint64_t so_far;
    uint64_t free_from; /* the number behind the last one that it listed */
};

/* Equal ones, which overlap: the earlier input, so that the later one is to blame. */
static bool is_lower(const struct list *a, const struct list *b)
{
    return a->next.first != b->next.first ? a->next.first < b->next.first : a->index < b->index;
}

DEFINE_HEAP(lowest, struct list, is_lower);

/* What a number is of, for messages, which end the program. */
static const char *name_number(const struct merge_work *work, const void *merge, uint64_t number)
{
    return work->name ? work->name(merge, number)
                      : format_string("sentence %llu", (unsigned long long)number);
}

/* False: it has listed all. */
static bool list_advance(struct list *list, const struct merge_work *work, void *merge)
{
    list->next = work->next(merge, list->input, list->so_far);
    list->so_far += list->next.count;
    if (!list->next.records)
        return false;
    if (list->next.first < list->free_from)
        stream_fail(list->input, "%s is not in order", name_number(work, merge, list->next.first));
    list->free_from = list->next.last + 1;
    return true;
}

/* All inputs at once, what they list in its order. */
static void read_lists(struct merging *merging, void *merge)
{
    const struct merge_work *work = merging->work;
    struct list *lists = new_array(merging->path_count, sizeof *lists);
    size_t count = 0;
    uint64_t free_from = 0; /* the number behind the last one that was taken */
    const struct stream_reader *last = NULL;
    for (size_t i = 0; i < merging->path_count; i++) {
        struct list list = {.input = merging->readers[i], .index = i};
        if (list_advance(&list, work, merge))
            lowest_push(lists, count++, list);
    }
    while (count) {
        struct list list = lists[0];
        if (list.next.first < free_from)
            stream_fail(list.input, "%s is in %s as well: the shards overlap",
                        name_number(work, merge, list.next.first), name_of(merging, last));
        free_from = list.next.last + 1;
        last = list.input;
        work->take(merge, &list.next);
        if (list_advance(&list, work, merge))
            lowest_replace(lists, count, list);
        else
            lowest_pop(lists, count--);
    }
    free(lists);
}

/* What needs all inputs open at once. */
static void read_together(struct merging *merging, void *merge)
{
    open_all(merging);
    if (merging->work->begin)
        merging->work->begin(merge, first_input(merging));
    if (merging->work->read_all)
        merging->work->read_all(merge, merging->readers, merging->path_count);
    else
        read_lists(merging, merge);
    for (size_t i = 0; i < merging->path_count; i++)
        add_trailer(merging, merging->readers[i]);
}

void merge_inputs(const struct merge_work *work, char **paths, size_t count, bool partial, void *merge)
{
    struct merging merging;
    merging_open(&merging, work, paths, count);
    if (work->read)
        read_inputs(&merging, merge);
    else
        read_together(&merging, merge);
    work->end(merge, first_input(&merging), merged_counts(&merging, partial));
    merging_free(&merging);
}
