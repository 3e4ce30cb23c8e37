#include "stream/header.h"

#include "base/json.h"
#include "base/messages.h"
#include "base/version.h"
#include "stream/stream_format.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

json_t *header_new(const char *kind, const json_t *before)
{
    int version = json_object_get(before, "prompts") ? PROMPTS_VERSION : STREAM_VERSION;
    json_t *header = json_make("{s:s, s:i, s:s}", "format", STREAM_FORMAT, "version", version, "kind", kind);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)before, name, value)
        if (!json_object_get(header, name))
            json_put(header, name, json_deep_copy(value));
    if (!before) {
        json_put(header, "arrays", json_object());
        json_put(header, "history", json_array());
    }
    return header;
}

void header_set_prompts(json_t *header)
{
    json_put(header, "version", json_integer(PROMPTS_VERSION));
    json_put(header, "prompts", json_true());
}

void header_declare(json_t *header, const char *array, const char *type, json_t *shape)
{
    json_put(json_object_get(header, "arrays"), array, json_make("{s:s, s:o}", "type", type, "shape", shape));
}

void header_add_stage(json_t *header, const char *tool, json_t *options)
{
    json_t *stage = json_make("{s:s, s:s, s:o}", "tool", tool, "version", FFKV_VERSION, "options", options);
    if (json_array_append_new(json_object_get(header, "history"), stage) != 0)
        die("out of memory");
}

/* ---- the size of records ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Up to MAX_OBJECT_BYTES, which stands for all that is more. */
static size_t bounded_product(size_t a, size_t b)
{
    return b && a > MAX_OBJECT_BYTES / b ? MAX_OBJECT_BYTES : a * b;
}

/* What the header says under section and name, or, where it does not, otherwise. */
static size_t said(const json_t *header, const char *section, const char *name, size_t otherwise)
{
    const json_t *number = json_object_get(section ? json_object_get(header, section) : header, name);
    json_int_t value = json_integer_value(number);
    bool is_said = json_is_integer(number) && value >= 0 && (uint64_t)value <= MAX_OBJECT_BYTES;
    return is_said ? (size_t)value : otherwise;
}

/* How many there can be in a record of what a dimension counts; ffkv-stream(5), Limits. */
static size_t most_counted(const json_t *header, const json_t *dimension)
{
    enum { MAX_BINS = 1 << 18, MAX_SENTENCE = MAX_SENTENCE_TOKENS + 1 };
    const size_t tokens = larger(MAX_SENTENCE, said(header, "batch", "positions", 0));
    const size_t vocabulary = said(header, "model", "vocabulary", said(header, "tokenizer", "vocabulary", 0));
    const size_t triggers = said(header, NULL, "top", tokens); /* else prefixes of a batch's rows */
    const size_t lists = larger(1, json_array_size(json_object_get(header, "rank")));
    const char *name = json_string_value(dimension);
    if (json_is_integer(dimension))
        return json_integer_value(dimension) < 0 ? 0 : (size_t)json_integer_value(dimension);
    if (name && (!strcmp(name, "sentences") || !strcmp(name, "tokens") || !strcmp(name, "rows")
                 || !strcmp(name, "changes")))
        return tokens;
    if (name && !strcmp(name, "triggers"))
        return triggers;
    if (name && !strcmp(name, "prefix tokens"))
        return bounded_product(triggers, MAX_SENTENCE);
    if (name && (!strcmp(name, "paths") || !strcmp(name, "path coefficients")))
        return bounded_product(tokens, bounded_product(lists, said(header, "model", "d_ff", 0)));
    return larger(MAX_BINS, larger(vocabulary, larger(tokens, said(header, "model", "d_ff", 0))));
}

size_t header_record_bytes(const json_t *header)
{
    enum { WIDEST = 8 };
    size_t most = MAX_HEADER_BYTES, index;
    const char *name;
    json_t *array, *dimension;
    json_object_foreach(json_object_get(header, "arrays"), name, array) {
        size_t bytes = WIDEST;
        json_array_foreach(json_object_get(array, "shape"), index, dimension)
            bytes = bounded_product(bytes, most_counted(header, dimension));
        bytes = bytes < MAX_ARRAY_BYTES ? bytes : MAX_ARRAY_BYTES;
        most = bytes > MAX_OBJECT_BYTES - most ? MAX_OBJECT_BYTES : most + bytes;
    }
    return most;
}
