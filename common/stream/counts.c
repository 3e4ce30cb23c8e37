#include "stream/counts.h"

#include "base/json.h"
#include "base/messages.h"

#include <stddef.h>

/* The counts that every trailer carries and merging adds up. */
static const char *const passed_counts[] = {"sentences", "tokens", "unknown", "truncated", "skipped"};
enum { PASSED_COUNTS = sizeof passed_counts / sizeof *passed_counts };

static const char *const passed_members[] = {COVERAGE_BATCHES, COVERAGE_RANGES, COVERAGE_TEXT};
enum { PASSED_MEMBERS = sizeof passed_members / sizeof *passed_members };

void count_add(uint64_t *sum, uint64_t more)
{
    *sum += more; /* both are at most MAX_COUNT */
    if (*sum > MAX_COUNT)
        die("counts of the inputs add up to more than 2^48");
}

void counts_need_sentences(const json_t *counts, const char *name)
{
    const json_t *sentences = json_object_get(counts, "sentences");
    if (sentences && json_integer_value(sentences) == 0)
        die("%s: there is no sentence in it", name);
}

const char *counts_wrong(const json_t *trailer)
{
    for (size_t i = 0; i < PASSED_COUNTS; i++) {
        const json_t *count = json_object_get(trailer, passed_counts[i]);
        if (count && (!json_is_integer(count) || (uint64_t)json_integer_value(count) > MAX_COUNT))
            return passed_counts[i];
    }
    return NULL;
}

void counts_add(json_t *sums, const json_t *trailer)
{
    for (size_t i = 0; i < PASSED_COUNTS; i++) {
        uint64_t sum = (uint64_t)json_integer_value(json_object_get(sums, passed_counts[i]));
        count_add(&sum, (uint64_t)json_integer_value(json_object_get(trailer, passed_counts[i])));
        json_put(sums, passed_counts[i], json_integer((json_int_t)sum));
    }
}

void counts_pass(json_t *trailer, const json_t *counts)
{
    counts_add(trailer, counts);
    for (size_t i = 0; i < PASSED_MEMBERS; i++) {
        json_t *member = json_object_get(counts, passed_members[i]);
        if (member)
            json_put(trailer, passed_members[i], json_incref(member));
    }
}
