#include "stream/coverage.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/messages.h"
#include "stream/counts.h"
#include "stream/header_members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide; /* holds the product of two unit numbers */

/* ---- numbers of units ---- */

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

bool progression_has(struct progression progression, uint64_t unit)
{
    return unit >= progression.first && unit < progression.end
        && (unit - progression.first) % progression.step == 0;
}

bool progression_read(const json_t *list, int64_t units, struct progression *progression)
{
    int64_t number[3];
    for (size_t i = 0; i < 3; i++) {
        const json_t *element = json_array_get(list, i);
        number[i] = json_is_integer(element) ? json_integer_value(element) : -1;
    }
    if (json_array_size(list) != 3 || number[0] < 0 || number[1] <= number[0] || number[1] > units
        || number[2] < 1)
        return false;
    *progression = progression_normal(
        (struct progression){(uint64_t)number[0], (uint64_t)number[1], (uint64_t)number[2]});
    return true;
}

/* ---- in trailers ---- */

const struct whole whole_corpus = {
    .units = COVERAGE_BATCHES, .covers = COVERAGE_RANGES, .hash = COVERAGE_TEXT, .name = "corpus",
    .unit = "batch", .unit_plural = "batches", .another = "another text than that", .maker = "tokenize",
    .always = true};
const struct whole whole_keys = {
    .units = COVERAGE_KEY_BLOCKS, .covers = COVERAGE_KEY_RANGES, .hash = COVERAGE_KEYS, .name = "keys",
    .unit = "block", .unit_plural = "blocks", .another = "other keys than those",
    .maker = "project-values"};

void coverage_put(json_t *counts, const struct whole *whole, const struct progression *covered, size_t count,
                  uint64_t units, const char *hash)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, json_make("[I, I, I]", (json_int_t)covered[i].first, (json_int_t)covered[i].end,
                                 (json_int_t)covered[i].step));
    json_put(counts, whole->units, json_integer((json_int_t)units));
    json_put(counts, whole->covers, list);
    json_put(counts, whole->hash, json_string(hash));
}

void coverage_remove(json_t *counts, const struct whole *whole)
{
    const char *const members[] = {whole->units, whole->covers, whole->hash};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        json_object_del(counts, members[i]);
}

/* Which shard these units are, where they are one of a division, or else how many; a text of its own. */
static char *shard_text(const json_t *covers, int64_t units, const char *name)
{
    struct progression part;
    uint64_t count = 0;
    for (size_t i = 0; i < json_array_size(covers); i++)
        if (progression_read(json_array_get(covers, i), units, &part))
            count += progression_count(part);
    if (json_array_size(covers) == 1 && count > 1 && part.first < part.step)
        return format_string("shard %llu/%llu of the %s", (unsigned long long)part.first,
                             (unsigned long long)part.step, name);
    return format_string("a shard with %llu of the %lld %s of the %s", (unsigned long long)count,
                         (long long)units, whole_keys.unit_plural, name);
}

void coverage_need_all_keys(struct stream_reader *reader)
{
    struct record record;
    while (stream_next(reader, &record))
        ;
    const json_t *trailer = stream_trailer(reader), *units = json_object_get(trailer, whole_keys.units);
    if (!units)
        return;
    const char *name = strcmp(header_text(reader, NULL, "kind"), "values") ? whole_keys.name : "values";
    stream_fail(reader, "%s, and all are needed: project-values --merge joins the shards",
                shard_text(json_object_get(trailer, whole_keys.covers), json_integer_value(units), name));
}

/* ---- a run ---- */

struct coverage coverage_begin(const char *shard)
{
    struct coverage coverage = {.taken = {0, 0, 1}};
    char index[10] = "0", count[10] = "1"; /* MAX_SHARDS' digits: no signs, no overflow */
    int used = 0;
    bool right = !shard || (sscanf(shard, "%9[0-9]/%9[0-9]%n", index, count, &used) == 2 && !shard[used]);
    coverage.shard = strtoull(index, NULL, 10);
    coverage.shards = strtoull(count, NULL, 10);
    if (!right || coverage.shard >= coverage.shards)
        die_usage("--shard takes I/N with I from 0 to N-1, and N up to %d, not '%s'", MAX_SHARDS, shard);
    coverage.hash = hash_new();
    return coverage;
}

bool coverage_take(struct coverage *coverage, bool wanted)
{
    uint64_t unit = coverage->units++;
    if (!wanted || unit % coverage->shards != coverage->shard)
        return false;
    if (progression_count(coverage->taken) == 0)
        coverage->taken = (struct progression){.first = unit, .step = coverage->shards};
    coverage->taken.end = unit + 1;
    return true;
}

void coverage_end(struct coverage *coverage, const struct whole *whole, json_t *counts)
{
    struct progression taken = progression_normal(coverage->taken);
    uint64_t count = progression_count(taken);
    char hash[HASH_CHARACTERS + 1];
    hash_finish(coverage->hash, hash);
    /* A shard that has all, since there are few units, goes together with others that have none. */
    if (whole->always || coverage->shards > 1 || count < coverage->units)
        coverage_put(counts, whole, &taken, count > 0, coverage->units, hash);
}
