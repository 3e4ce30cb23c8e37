#include "stream/records.h"

#include "base/messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

/* Places of a sample's sentences. */
static uint64_t *read_sentences(const struct record *record, const struct batch *batch)
{
    uint64_t *sentence = record_array_of(record, "sentence", batch->sentences, sizeof *sentence);
    for (size_t i = 0; i < batch->sentences; i++)
        if (sentence[i] > INT64_MAX || (i ? sentence[i] <= sentence[i - 1] : sentence[0] != batch->id))
            stream_fail(record->reader, "the numbers of the sentences do not rise from the batch's id on");
    return sentence;
}

struct batch batch_read(const struct record *record, size_t vocabulary)
{
    struct batch batch = {.id = record_number(record, "id", INT64_MAX)};
    batch.length = record_array(record, "len", sizeof *batch.length, &batch.sentences);
    batch.token = record_array(record, "tok", sizeof *batch.token, &batch.tokens);
    if (batch.sentences == 0)
        stream_fail(record->reader, "a batch without a sentence");
    if (record_has(record, "sentence"))
        batch.sentence = read_sentences(record, &batch);
    size_t tokens = 0;
    for (size_t i = 0; i < batch.sentences; i++) {
        if (batch.length[i] < 1 || batch.length[i] > MOST_SENTENCE_TOKENS)
            stream_fail(record->reader, "sentence %llu has %u tokens; 1 to %d are possible",
                        (unsigned long long)batch_sentence(&batch, i), batch.length[i], MOST_SENTENCE_TOKENS);
        tokens += batch.length[i];
    }
    if (tokens != batch.tokens)
        stream_fail(record->reader, "the sentences' lengths add up to %zu, but there are %zu tokens", tokens,
                    batch.tokens);
    for (size_t i = 0; i < batch.tokens; i++)
        if (batch.token[i] >= vocabulary)
            stream_fail(record->reader, "token %u is outside of the vocabulary of %zu", batch.token[i],
                        vocabulary);
    return batch;
}

void batch_free(struct batch *batch)
{
    free(batch->sentence);
    free(batch->length);
    free(batch->token);
    *batch = (struct batch){0};
}

uint64_t batch_sentence(const struct batch *batch, size_t s)
{
    return batch->sentence ? batch->sentence[s] : batch->id + s;
}

size_t batch_members(const struct batch *batch)
{
    return batch->sentence ? 4 : 3;
}

void batch_pack(msgpack_sbuffer *buffer, const struct batch *batch)
{
    pack_number(buffer, "id", batch->id);
    if (batch->sentence)
        pack_array(buffer, "sentence", batch->sentence, batch->sentences, sizeof *batch->sentence);
    pack_array(buffer, "len", batch->length, batch->sentences, sizeof *batch->length);
    pack_array(buffer, "tok", batch->token, batch->tokens, sizeof *batch->token);
}

void header_declare_batch(json_t *header)
{
    header_declare(header, "len", "uint32", json_make("[s]", "sentences"));
    header_declare(header, "tok", "uint32", json_make("[s]", "tokens"));
}

/* ---- the model's shape in a header ---- */

struct model_shape shape_read(const struct stream_reader *reader)
{
    enum { MOST = 1 << 26 }; /* keeps products of two far from overflow */
    struct model_shape shape = {
        .layers = (size_t)header_number(reader, "model", "layers", MOST),
        .d_model = (size_t)header_number(reader, "model", "d_model", MOST),
        .d_ff = (size_t)header_number(reader, "model", "d_ff", MOST),
        .vocabulary = (size_t)header_number(reader, "model", "vocabulary", MOST),
    };
    if (!shape.layers || !shape.d_model || !shape.d_ff || !shape.vocabulary)
        stream_fail(reader, "the header's model has a size of 0");
    return shape;
}

/* ---- triggers ---- */

const char *const rank_words[] = {"value", "abs", "min", NULL};

float rank_score(enum rank rank, float coefficient)
{
    return rank == RANK_VALUE ? coefficient : rank == RANK_ABS ? fabsf(coefficient) : -coefficient;
}

enum rank header_rank(const struct stream_reader *reader)
{
    if (!json_object_get(stream_header(reader), "rank"))
        return RANK_VALUE;
    return (enum rank)header_choice(reader, "rank", rank_words);
}

/* By score, falling, then sentence, then position: two are never equal. */
static bool is_before(enum rank rank, const struct key_triggers *key, size_t a, size_t b)
{
    float score_a = rank_score(rank, key->coefficient[a]), score_b = rank_score(rank, key->coefficient[b]);
    if (score_a != score_b)
        return score_a > score_b;
    if (key->sentence[a] != key->sentence[b])
        return key->sentence[a] < key->sentence[b];
    return key->position[a] < key->position[b];
}

static void check_triggers(const struct record *record, const struct key_triggers *key,
                           const struct model_shape *shape, enum rank rank)
{
    size_t prefix_tokens = 0;
    for (size_t i = 0; i < key->count; i++) {
        if (!isfinite(key->coefficient[i]) || rank_score(rank, key->coefficient[i]) <= 0 || key->sentence[i] > INT64_MAX
            || key->position[i] >= MOST_SENTENCE_TOKENS || key->next[i] >= shape->vocabulary)
            stream_fail(record->reader, "trigger %zu of layer %zu cell %zu is out of range", i, key->layer,
                        key->cell);
        if (i && !is_before(rank, key, i - 1, i))
            stream_fail(record->reader, "triggers %zu and %zu of layer %zu cell %zu are not in order", i - 1, i,
                        key->layer, key->cell);
        prefix_tokens += key->position[i];
    }
    if (prefix_tokens != key->prefix_tokens)
        stream_fail(record->reader, "the prefixes of layer %zu cell %zu should have %zu tokens, not %zu",
                    key->layer, key->cell, prefix_tokens, key->prefix_tokens);
    for (size_t i = 0; i < key->prefix_tokens; i++)
        if (key->prefix[i] >= shape->vocabulary)
            stream_fail(record->reader, "token %u is outside of the vocabulary of %zu", key->prefix[i],
                        shape->vocabulary);
}

/* exp of a rounded logarithm may lie above 1 by a little. */
static bool is_probability(float p)
{
    return p >= 0 && p < 1.001f;
}

static void check_projection(const struct record *record, const struct key_triggers *key,
                             const struct model_shape *shape)
{
    bool right = key->tops > 0;
    for (size_t i = 0; i < key->bottoms; i++)
        right = right && key->bottom[i] < shape->vocabulary && is_probability(key->bottom_probability[i]);
    for (size_t i = 0; i < key->tops; i++)
        right = right && key->top[i] < shape->vocabulary && is_probability(key->top_probability[i]);
    for (size_t i = 0; i < key->count; i++)
        right = right && key->next_rank[i] >= 1 && key->next_rank[i] <= shape->vocabulary
             && key->last_rank[i] >= 1 && key->last_rank[i] <= shape->vocabulary
             && is_probability(key->next_probability[i]) && is_probability(key->last_probability[i]);
    if (!right)
        stream_fail(record->reader, "a rank, token or probability of layer %zu cell %zu is out of range",
                    key->layer, key->cell);
}

static struct key_triggers key_triggers_read(const struct record *record, const struct model_shape *shape,
                                             enum rank rank)
{
    struct key_triggers key = {
        .layer = (size_t)record_number(record, "layer", shape->layers - 1),
        .cell = (size_t)record_number(record, "cell", shape->d_ff - 1),
    };
    key.coefficient = record_array(record, "coef", sizeof *key.coefficient, &key.count);
    key.sentence = record_array_of(record, "sentence", key.count, sizeof *key.sentence);
    key.position = record_array_of(record, "position", key.count, sizeof *key.position);
    key.next = record_array_of(record, "next", key.count, sizeof *key.next);
    key.prefix = record_array(record, "prefix", sizeof *key.prefix, &key.prefix_tokens);
    check_triggers(record, &key, shape, rank);
    if (record_has(record, "top")) {
        key.top = record_array(record, "top", sizeof *key.top, &key.tops);
        key.top_probability = record_array_of(record, "top_p", key.tops, sizeof *key.top_probability);
        if (record_has(record, "bottom") || record_has(record, "bottom_p")) {
            key.bottom = record_array(record, "bottom", sizeof *key.bottom, &key.bottoms);
            key.bottom_probability = record_array_of(record, "bottom_p", key.bottoms, sizeof *key.bottom_probability);
        }
        key.next_rank = record_array_of(record, "next_rank", key.count, sizeof *key.next_rank);
        key.next_probability = record_array_of(record, "next_p", key.count, sizeof *key.next_probability);
        key.last_rank = record_array_of(record, "last_rank", key.count, sizeof *key.last_rank);
        key.last_probability = record_array_of(record, "last_p", key.count, sizeof *key.last_probability);
        check_projection(record, &key, shape);
    }
    return key;
}

void key_triggers_pack(msgpack_sbuffer *buffer, const struct key_triggers *key)
{
    pack_map(buffer, key->top ? key->bottom ? 15 : 13 : 7);
    pack_number(buffer, "layer", key->layer);
    pack_number(buffer, "cell", key->cell);
    pack_array(buffer, "coef", key->coefficient, key->count, sizeof *key->coefficient);
    pack_array(buffer, "sentence", key->sentence, key->count, sizeof *key->sentence);
    pack_array(buffer, "position", key->position, key->count, sizeof *key->position);
    pack_array(buffer, "next", key->next, key->count, sizeof *key->next);
    pack_array(buffer, "prefix", key->prefix, key->prefix_tokens, sizeof *key->prefix);
    if (!key->top)
        return;
    pack_array(buffer, "top", key->top, key->tops, sizeof *key->top);
    pack_array(buffer, "top_p", key->top_probability, key->tops, sizeof *key->top_probability);
    if (key->bottom) {
        pack_array(buffer, "bottom", key->bottom, key->bottoms, sizeof *key->bottom);
        pack_array(buffer, "bottom_p", key->bottom_probability, key->bottoms, sizeof *key->bottom_probability);
    }
    pack_array(buffer, "next_rank", key->next_rank, key->count, sizeof *key->next_rank);
    pack_array(buffer, "next_p", key->next_probability, key->count, sizeof *key->next_probability);
    pack_array(buffer, "last_rank", key->last_rank, key->count, sizeof *key->last_rank);
    pack_array(buffer, "last_p", key->last_probability, key->count, sizeof *key->last_probability);
}

void key_triggers_free(struct key_triggers *key)
{
    free(key->coefficient);
    free(key->sentence);
    free(key->position);
    free(key->next);
    free(key->prefix);
    free(key->top);
    free(key->top_probability);
    free(key->bottom);
    free(key->bottom_probability);
    free(key->next_rank);
    free(key->next_probability);
    free(key->last_rank);
    free(key->last_probability);
    *key = (struct key_triggers){0};
}

void header_declare_triggers(json_t *header, bool projected)
{
    header_declare(header, "coef", "float32", json_make("[s]", "triggers"));
    header_declare(header, "sentence", "uint64", json_make("[s]", "triggers"));
    header_declare(header, "position", "uint32", json_make("[s]", "triggers"));
    header_declare(header, "next", "uint32", json_make("[s]", "triggers"));
    header_declare(header, "prefix", "uint32", json_make("[s]", "prefix tokens"));
    header_declare(header, "token_counts", "uint64", json_make("[s]", "vocabulary"));
    if (!projected)
        return;
    header_declare(header, "top", "uint32", json_make("[s]", "tops"));
    header_declare(header, "top_p", "float32", json_make("[s]", "tops"));
    header_declare(header, "next_rank", "uint32", json_make("[s]", "triggers"));
    header_declare(header, "next_p", "float32", json_make("[s]", "triggers"));
    header_declare(header, "last_rank", "uint32", json_make("[s]", "triggers"));
    header_declare(header, "last_p", "float32", json_make("[s]", "triggers"));
}

/* ---- how often each token occurs ---- */

static const char TOKEN_COUNTS[] = "token_counts";

void token_counts_pack(msgpack_sbuffer *buffer, const uint64_t *counts, size_t vocabulary)
{
    pack_map(buffer, 1);
    pack_array(buffer, TOKEN_COUNTS, counts, vocabulary, sizeof *counts);
}

void token_counts_read(const struct record *record, uint64_t *counts, size_t vocabulary)
{
    record_copy(record, TOKEN_COUNTS, counts, vocabulary, sizeof *counts);
    for (size_t token = 0; token < vocabulary; token++)
        if (counts[token] > MAX_COUNT)
            stream_fail(record->reader, "token %zu cannot occur %llu times", token,
                        (unsigned long long)counts[token]);
}

/* ---- a triggers stream ---- */

struct triggers_reader triggers_open(struct stream_reader *stream)
{
    struct triggers_reader reader = {.stream = stream, .shape = shape_read(stream)};
    reader.keys = (size_t)header_number(stream, NULL, "keys", reader.shape.layers * reader.shape.d_ff);
    reader.top = (size_t)header_number(stream, NULL, "top", MOST_TRIGGERS);
    reader.rank = header_rank(stream);
    if (!reader.top)
        stream_fail(stream, "the header's top is 0");
    return reader;
}

static void check_key(struct triggers_reader *reader, const struct key_triggers *key)
{
    size_t number = key->layer * reader->shape.d_ff + key->cell;
    if (number < reader->next_key || reader->token_counts)
        stream_fail(reader->stream, "layer %zu cell %zu is not in order", key->layer, key->cell);
    if (key->count > reader->top)
        stream_fail(reader->stream, "layer %zu cell %zu has %zu triggers, the header promises at most %zu",
                    key->layer, key->cell, key->count, reader->top);
    reader->next_key = number + 1;
    reader->seen++;
}

bool triggers_next(struct triggers_reader *reader, struct key_triggers *key)
{
    struct record record;
    size_t vocabulary = reader->shape.vocabulary;
    while (stream_next(reader->stream, &record)) {
        if (!record_has(&record, TOKEN_COUNTS)) {
            *key = key_triggers_read(&record, &reader->shape, reader->rank);
            check_key(reader, key);
            return true;
        }
        if (reader->token_counts)
            stream_fail(reader->stream, "a second record of %s", TOKEN_COUNTS);
        reader->token_counts = new_array(vocabulary, sizeof *reader->token_counts);
        token_counts_read(&record, reader->token_counts, vocabulary);
    }
    if (reader->seen != reader->keys)
        stream_fail(reader->stream, "%zu keys, the header promises %zu", reader->seen, reader->keys);
    return false;
}

void triggers_close(struct triggers_reader *reader)
{
    free(reader->token_counts);
    *reader = (struct triggers_reader){0};
}
