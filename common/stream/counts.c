#include "stream/counts.h"

#include "base/json.h"
#include "base/messages.h"

#include <stddef.h>

/* The counts that every trailer carries and merging adds up. */
static const char *const passed_counts[] = {"sentences", "tokens", "unknown", "truncated", "skipped"};
enum { PASSED_COUNTS = sizeof passed_counts / sizeof *passed_counts };

static const char *const passed_members[] = {COVERAGE_BATCHES, COVERAGE_RANGES, COVERAGE_TEXT,
                                             COVERAGE_KEY_BLOCKS, COVERAGE_KEY_RANGES, COVERAGE_KEYS};
enum { CORPUS_MEMBERS = 3, PASSED_MEMBERS = sizeof passed_members / sizeof *passed_members };

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

/* Also where neither has it. */
static bool member_equal(const json_t *a, const json_t *b, const char *name)
{
    const json_t *left = json_object_get(a, name), *right = json_object_get(b, name);
    return left == right || json_equal(left, right);
}

bool counts_equal(const json_t *a, const json_t *b)
{
    bool equal = true;
    for (size_t i = 0; i < PASSED_COUNTS; i++)
        equal = equal && member_equal(a, b, passed_counts[i]);
    for (size_t i = 0; i < CORPUS_MEMBERS; i++)
        equal = equal && member_equal(a, b, passed_members[i]);
    return equal;
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
