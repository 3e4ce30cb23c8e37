#include "model/candidates.h"

#include "base/json.h"
#include "base/messages.h"

#include <stdlib.h>

/* An array of three items each: far below what an object of a stream may have. */
enum { MAX_RANGES = 1 << 16 };

struct candidates candidates_all(size_t vocabulary)
{
    struct candidates all = {.vocabulary = vocabulary, .count = vocabulary, .range_count = 1};
    all.range = new_array(1, sizeof *all.range);
    all.range[0].end = vocabulary;
    return all;
}

struct candidates candidates_new(const bool *can_follow, size_t vocabulary, const char *where)
{
    struct candidates candidates = {.vocabulary = vocabulary};
    size_t capacity = 0;
    for (size_t token = 0; token < vocabulary; token++) {
        if (!can_follow[token])
            continue;
        if (!token || !can_follow[token - 1]) {
            candidates.range = reserve_array(candidates.range, &capacity, candidates.range_count + 1,
                                             sizeof *candidates.range);
            candidates.range[candidates.range_count++].first = token;
        }
        candidates.range[candidates.range_count - 1].end = token + 1;
        candidates.count++;
    }
    if (!candidates.count)
        die("%s: by the tokenizer no token can follow another: all are special or without a text; with "
            "--all-tokens all are ranked", where);
    if (candidates.range_count > MAX_RANGES)
        die("%s: the tokens that can follow are in %zu pieces between those that cannot; %d are possible; "
            "with --all-tokens all are ranked", where, candidates.range_count, MAX_RANGES);
    return candidates;
}

void candidates_free(struct candidates *candidates)
{
    free(candidates->range);
    *candidates = (struct candidates){0};
}

/* ---- headers ---- */

static json_t *candidates_json(const struct candidates *candidates)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < candidates->range_count; i++)
        json_add(list, json_make("[I, I]", (json_int_t)candidates->range[i].first,
                                 (json_int_t)candidates->range[i].end));
    return list;
}

void header_set_candidates(json_t *header, json_t *options, const struct candidates *candidates)
{
    json_put(header, "candidates", candidates_json(candidates));
    json_put(options, "all_tokens", json_boolean(candidates->count == candidates->vocabulary));
}

/* False unless it is [first, end], behind the range before, and within the vocabulary. */
static bool read_range(const json_t *pair, size_t before, size_t vocabulary, struct token_range *range)
{
    const json_t *first = json_array_get(pair, 0), *end = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(first) || !json_is_integer(end))
        return false;
    json_int_t from = json_integer_value(first), to = json_integer_value(end);
    if (from < 0 || (size_t)from < before || to <= from || (size_t)to > vocabulary)
        return false;
    *range = (struct token_range){(size_t)from, (size_t)to};
    return true;
}

struct candidates header_candidates(const struct stream_reader *reader, size_t vocabulary)
{
    const json_t *list = json_object_get(stream_header(reader), "candidates");
    if (!list)
        return candidates_all(vocabulary);
    struct candidates candidates = {.vocabulary = vocabulary, .range_count = json_array_size(list)};
    candidates.range = new_array(candidates.range_count, sizeof *candidates.range);
    size_t before = 0;
    for (size_t i = 0; i < candidates.range_count; i++) {
        struct token_range *range = &candidates.range[i];
        if (!read_range(json_array_get(list, i), before, vocabulary, range))
            stream_fail(reader, "the header's candidates are not rising ranges of tokens below %zu",
                        vocabulary);
        candidates.count += range->end - range->first;
        before = range->end + 1;
    }
    if (!candidates.count)
        stream_fail(reader, "the header's candidates are no list of ranges of tokens");
    return candidates;
}

static bool is_equal(const struct candidates *a, const struct candidates *b)
{
    bool equal = a->range_count == b->range_count;
    for (size_t i = 0; equal && i < a->range_count; i++)
        equal = a->range[i].first == b->range[i].first && a->range[i].end == b->range[i].end;
    return equal;
}

void header_check_candidates(const struct stream_reader *reader, const struct candidates *candidates)
{
    struct candidates theirs = header_candidates(reader, candidates->vocabulary);
    if (!is_equal(&theirs, candidates))
        stream_fail(reader, "its most probable tokens are those of %zu tokens, here they are those of %zu: "
                    "give --all-tokens in both places or in none, and the same tokenizer", theirs.count,
                    candidates->count);
    candidates_free(&theirs);
}
