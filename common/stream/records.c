#include "stream/records.h"

#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "stream/counts.h"
#include "stream/coverage.h"
#include "stream/fields.h"
#include "stream/header_members.h"
#include "stream/record_members.h"
#include "stream/stream_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

const struct field batch_fields[] = {
    FIELD_INTEGER(struct batch, id, "id", FIELD_NUMBER),
    FIELD_ARRAY(struct batch, sentence, "sentence", "sentences", sentences, BATCH_NUMBERED),
    FIELD_ARRAY(struct batch, length, "len", "sentences", sentences, 0),
    FIELD_ARRAY(struct batch, token, "tok", "tokens", tokens, 0),
    FIELD_END,
};

void batch_hash(const struct batch *batch, struct hash *hash)
{
    const uint64_t sizes[] = {batch->id, batch->sentences, batch->tokens};
    hash_add(hash, sizes, sizeof sizes);
    if (batch->sentence)
        hash_add(hash, batch->sentence, batch->sentences * sizeof *batch->sentence);
    hash_add(hash, batch->length, batch->sentences * sizeof *batch->length);
    hash_add(hash, batch->token, batch->tokens * sizeof *batch->token);
}

unsigned batch_groups(const struct batch *batch)
{
    return batch->sentence ? BATCH_NUMBERED : 0;
}

/* Numbers of a sample's sentences. */
static void check_sentences(const struct record *record, const struct batch *batch)
{
    const uint64_t *sentence = batch->sentence;
    for (size_t i = 0; i < batch->sentences; i++)
        if (sentence[i] > INT64_MAX || (i ? sentence[i] <= sentence[i - 1] : sentence[0] != batch->id))
            stream_fail(record->reader, "the numbers of the sentences do not rise from the batch's id on");
}

struct batch batch_read(const struct record *record, size_t vocabulary)
{
    struct batch batch = {.bos = header_bos(record->reader, vocabulary)};
    fields_read(record, batch_fields, fields_found(record, batch_fields), &batch);
    if (batch.sentences == 0)
        stream_fail(record->reader, "a batch without a sentence");
    if (batch.sentence)
        check_sentences(record, &batch);
    size_t tokens = 0;
    for (size_t i = 0; i < batch.sentences; i++) {
        if (batch.length[i] < 1 || batch.length[i] > MAX_SENTENCE_TOKENS)
            stream_fail(record->reader, "sentence %llu has %u tokens; 1 to %d are possible",
                        (unsigned long long)batch_sentence(&batch, i), batch.length[i], MAX_SENTENCE_TOKENS);
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
    fields_free(batch_fields, batch);
    *batch = (struct batch){0};
}

uint64_t batch_sentence(const struct batch *batch, size_t s)
{
    return batch->sentence ? batch->sentence[s] : batch->id + s;
}

void batch_reserve(struct batch *batch, unsigned groups, struct batch_capacity *capacity, size_t sentences,
                   size_t tokens)
{
    fields_reserve(batch_fields, groups, "sentences", &capacity->sentences, sentences, batch);
    fields_reserve(batch_fields, groups, "tokens", &capacity->tokens, tokens, batch);
}

/* ---- the model's shape in a header ---- */

struct model_shape shape_read(const struct stream_reader *reader)
{
    const json_t *model = json_object_get(stream_header(reader), "model");
    struct model_shape shape = {
        .layers = (size_t)header_number(reader, "model", "layers", MAX_STREAM_SIZE),
        .d_model = (size_t)header_number(reader, "model", "d_model", MAX_STREAM_SIZE),
        .d_ff = (size_t)header_number(reader, "model", "d_ff", MAX_STREAM_SIZE),
        .vocabulary = (size_t)header_number(reader, "model", "vocabulary", MAX_STREAM_SIZE),
        .experts = json_object_get(model, "experts")
            ? (size_t)header_number(reader, "model", "experts", MAX_STREAM_SIZE) : 0,
    };
    if (!shape.layers || !shape.d_model || !shape.d_ff || !shape.vocabulary)
        stream_fail(reader, "the header's model has a size of 0");
    return shape;
}

bool counted_in_part(const struct model_shape *shape, enum counted kind)
{
    return shape->experts && kind == COUNTED_SIGNS;
}

/* ---- triggers ---- */

#define COUNTED_FIELD(kind, name) FIELD_SUM(struct key_triggers, counted[kind], name, KEY_COUNTED << (kind))

const char *const counted_bin_arrays[COUNTED_KINDS] = {"coefs_bin", "magnitudes_bin", "signs_bin"};

const struct field key_fields[] = {
    FIELD_INTEGER(struct key_triggers, layer, "layer", FIELD_NUMBER),
    FIELD_INTEGER(struct key_triggers, cell, "cell", FIELD_NUMBER),
    FIELD_INTEGER_IN(struct key_triggers, list, "list", FIELD_NUMBER, KEY_LIST),
    FIELD_ARRAY(struct key_triggers, coefficient, "coef", "triggers", count, KEY_TRIGGERS),
    FIELD_ARRAY(struct key_triggers, sentence, "sentence", "triggers", count, KEY_TRIGGERS),
    FIELD_ARRAY(struct key_triggers, position, "position", "triggers", count, KEY_TRIGGERS),
    FIELD_ARRAY(struct key_triggers, next, "next", "triggers", count, KEY_TRIGGERS),
    FIELD_ARRAY(struct key_triggers, prefix, "prefix", "prefix tokens", prefix_tokens, KEY_TRIGGERS),
    FIELD_MATRIX(struct key_triggers, following, "following", "triggers", count, following_tokens,
                 KEY_FOLLOWING),
    FIELD_ARRAY(struct key_triggers, prefix_coefficient, "prefix_coef", "prefix tokens", prefix_tokens,
                KEY_PREFIX_COEFFICIENTS),
    COUNTED_FIELD(COUNTED_COEFFICIENTS, "coefs"),
    COUNTED_FIELD(COUNTED_MAGNITUDES, "magnitudes"),
    COUNTED_FIELD(COUNTED_SIGNS, "signs"),
    FIELD_ARRAY(struct key_triggers, top, "top", "tops", tops, KEY_TOPS),
    FIELD_ARRAY(struct key_triggers, top_probability, "top_p", "tops", tops, KEY_TOPS),
    FIELD_ARRAY(struct key_triggers, bottom, "bottom", "bottoms", bottoms, KEY_BOTTOMS),
    FIELD_ARRAY(struct key_triggers, bottom_probability, "bottom_p", "bottoms", bottoms, KEY_BOTTOMS),
    FIELD_ARRAY(struct key_triggers, next_rank, "next_rank", "triggers", count, KEY_RANKS),
    FIELD_ARRAY(struct key_triggers, next_probability, "next_p", "triggers", count, KEY_RANKS),
    FIELD_ARRAY(struct key_triggers, last_rank, "last_rank", "triggers", count, KEY_RANKS),
    FIELD_ARRAY(struct key_triggers, last_probability, "last_p", "triggers", count, KEY_RANKS),
    FIELD_END,
};

unsigned key_triggers_groups(const struct key_triggers *key)
{
    unsigned counted = 0;
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        counted |= key->counted[kind].bins ? (unsigned)KEY_COUNTED << kind : 0;
    return (key->lists > 1 ? KEY_LIST : 0) | (key->coefficient ? KEY_TRIGGERS : 0)
           | (key->following ? KEY_FOLLOWING : 0)
           | (key->prefix_coefficient ? KEY_PREFIX_COEFFICIENTS : 0) | counted | (key->top ? KEY_TOPS : 0)
           | (key->bottom ? KEY_BOTTOMS : 0) | (key->next_rank ? KEY_RANKS : 0);
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
                           const struct triggers_reader *reader)
{
    const struct model_shape *shape = &reader->shape;
    enum rank rank = triggers_rank(reader, key);
    size_t prefix_tokens = 0;
    for (size_t i = 0; i < key->count; i++) {
        if (!isfinite(key->coefficient[i]) || rank_score(rank, key->coefficient[i]) <= 0
            || key->sentence[i] > INT64_MAX || key->position[i] >= MAX_SENTENCE_TOKENS
            || key->next[i] >= shape->vocabulary || (!key->position[i] && reader->bos == NO_TOKEN))
            stream_fail(record->reader, "trigger %zu of layer %zu cell %zu is out of range", i,
                        layer_shown(key->layer), key->cell);
        if (i && !is_before(rank, key, i - 1, i))
            stream_fail(record->reader, "triggers %zu and %zu of layer %zu cell %zu are not in order", i - 1,
                        i, layer_shown(key->layer), key->cell);
        prefix_tokens += key->position[i];
    }
    if (prefix_tokens != key->prefix_tokens)
        stream_fail(record->reader, "the prefixes of layer %zu cell %zu should have %zu tokens, not %zu",
                    layer_shown(key->layer), key->cell, prefix_tokens, key->prefix_tokens);
    for (size_t i = 0; i < key->prefix_tokens; i++)
        if (key->prefix[i] >= shape->vocabulary)
            stream_fail(record->reader, "token %u is outside of the vocabulary of %zu", key->prefix[i],
                        shape->vocabulary);
}

/* Tokens, and behind the sentence's end no more. */
static void check_following(const struct record *record, const struct key_triggers *key, size_t vocabulary)
{
    for (size_t i = 0; i < key->count; i++) {
        const uint32_t *token = key->following + i * key->following_tokens;
        bool ended = false, right = true;
        for (size_t j = 0; j < key->following_tokens; j++) {
            right = right && (token[j] == NO_FOLLOWING || (token[j] < vocabulary && !ended));
            ended = token[j] == NO_FOLLOWING;
        }
        if (!right || key->position[i] + 1 + following_length(key, i) > MAX_SENTENCE_TOKENS)
            stream_fail(record->reader, "what follows trigger %zu of layer %zu cell %zu is out of range", i,
                        layer_shown(key->layer), key->cell);
    }
}

/* Each prefix ends with its trigger's coefficient. */
static void check_prefix_coefficients(const struct record *record, const struct key_triggers *key)
{
    bool right = true;
    size_t at = 0;
    for (size_t i = 0; i < key->prefix_tokens; i++)
        right = right && isfinite(key->prefix_coefficient[i]);
    for (size_t i = 0; i < key->count; i++) {
        at += key->position[i];
        right = right && (!key->position[i] || key->prefix_coefficient[at - 1] == key->coefficient[i]);
    }
    if (!right)
        stream_fail(record->reader,
                    "a coefficient along the prefixes of layer %zu cell %zu is not finite, or a prefix does "
                    "not end with its trigger's", layer_shown(key->layer), key->cell);
}

static void check_counted(const struct stream_reader *reader, const struct model_shape *shape,
                          struct key_positions *positions, const struct key_triggers *key, enum counted kind)
{
    uint64_t total = histogram_total(&key->counted[kind]);
    bool in_part = counted_in_part(shape, kind);
    if (!positions->known && !in_part)
        *positions = (struct key_positions){total, true};
    bool right = in_part ? !positions->known || total <= positions->count
                         : total == positions->count && total >= key->count;
    if (!right)
        stream_fail(reader,
                    "layer %zu cell %zu has %llu coefficients and %zu triggers; the first key has %llu",
                    layer_shown(key->layer), key->cell, (unsigned long long)total, key->count,
                    (unsigned long long)positions->count);
}

void key_positions_check(const struct stream_reader *reader, const struct model_shape *shape,
                         struct key_positions *positions, const struct key_triggers *key)
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (key->counted[kind].bins)
            check_counted(reader, shape, positions, key, kind);
}

bool is_probability(float p)
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
                    layer_shown(key->layer), key->cell);
}

/* A list of a key is not the one that should come next: the stream is a shard of the keys, or wrong. */
static _Noreturn void refuse_list(const struct triggers_reader *reader, const char *message)
{
    coverage_need_all_keys(reader->stream);
    stream_fail(reader->stream, "%s", message);
}

/* A key's lists come in the order of the header's ranks, of which a part may lack some. */
static size_t read_list(const struct record *record, const struct triggers_reader *reader)
{
    if (reader->ranks.count == 1)
        return 0;
    uint64_t list = record_number(record, "list", RANKS - 1);
    if (reader->is_part ? list >= reader->ranks.count : list != reader->next_list)
        refuse_list(reader, format_string("the key has list %llu, list %zu should come",
                                          (unsigned long long)list, reader->next_list));
    return (size_t)list;
}

void key_counted_new(struct key_triggers *key, unsigned counted)
{
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        if (counted >> kind & 1)
            key->counted[kind] = histogram_new(counted_bins[kind]);
}

/* Of a triggers stream, where projected values come with ranks. */
static struct key_triggers key_triggers_read(const struct record *record, struct triggers_reader *reader)
{
    const struct model_shape *shape = &reader->shape;
    struct key_triggers key = {.lists = reader->ranks.count, .following_tokens = reader->following};
    unsigned counted = read_list(record, reader) ? 0 : reader->counted; /* in a key's first record */
    key_counted_new(&key, counted);
    unsigned found = KEY_TRIGGERS | (reader->following ? KEY_FOLLOWING : 0)
                   | (reader->prefix_coefficients ? KEY_PREFIX_COEFFICIENTS : 0)
                   | counted * KEY_COUNTED | (key.lists > 1 ? KEY_LIST : 0);
    unsigned groups = record_has(record, "top")
        ? KEY_TOPS | KEY_RANKS | (fields_found(record, key_fields) & KEY_BOTTOMS) : 0;
    fields_read(record, key_fields, found | groups, &key);
    number_check(record->reader, "layer", key.layer, shape->layers - 1);
    number_check(record->reader, "cell", key.cell, shape->d_ff - 1);
    check_triggers(record, &key, reader);
    if (key.following)
        check_following(record, &key, shape->vocabulary);
    if (key.prefix_coefficient)
        check_prefix_coefficients(record, &key);
    key_positions_check(record->reader, shape, &reader->positions, &key);
    if (groups)
        check_projection(record, &key, shape);
    return key;
}

void key_triggers_free(struct key_triggers *key)
{
    fields_free(key_fields, key);
    *key = (struct key_triggers){0};
}

/* ---- how often each token occurs ---- */

static const char TOKEN_COUNTS[] = "token_counts";

const struct field token_counts_fields[] = {
    FIELD_ARRAY(struct token_counts, count, TOKEN_COUNTS, "vocabulary", vocabulary, 0),
    FIELD_END,
};

void token_counts_check(const struct record *record, const struct token_counts *counts)
{
    for (size_t token = 0; token < counts->vocabulary; token++)
        if (counts->count[token] > MAX_COUNT)
            stream_fail(record->reader, "token %zu cannot occur %llu times", token,
                        (unsigned long long)counts->count[token]);
}

bool token_counts_equal(const struct token_counts *a, const struct token_counts *b)
{
    return a->count && b->count ? !memcmp(a->count, b->count, a->vocabulary * sizeof *a->count)
                                : a->count == b->count;
}

void token_counts_fail(const struct stream_reader *reader)
{
    stream_fail(reader, "its counts of tokens are not those of the first input");
}

/* ---- prefixes ---- */

struct prefix_walk prefixes_walk(const uint32_t *lengths, const uint32_t *tokens, size_t count)
{
    return (struct prefix_walk){.index = SIZE_MAX, .token = tokens, .lengths = lengths, .count = count};
}

struct prefix_walk key_prefixes(const struct key_triggers *key, size_t count)
{
    return prefixes_walk(key->position, key->prefix, count < key->count ? count : key->count);
}

size_t following_length(const struct key_triggers *key, size_t trigger)
{
    if (!key->following)
        return 0;
    const uint32_t *token = key->following + trigger * key->following_tokens;
    size_t length = 0;
    while (length < key->following_tokens && token[length] != NO_FOLLOWING)
        length++;
    return length;
}

const float *prefix_coefficients(const struct key_triggers *key, const struct prefix_walk *walk)
{
    return key->prefix_coefficient ? key->prefix_coefficient + (walk->token - key->prefix) : NULL;
}

bool prefix_next(struct prefix_walk *walk)
{
    walk->index++; /* the first time to 0 */
    if (walk->index >= walk->count)
        return false;
    walk->token += walk->length;
    walk->length = walk->lengths[walk->index];
    return true;
}

uint32_t prefix_last(const struct prefix_walk *walk, uint32_t bos)
{
    return walk->length ? walk->token[walk->length - 1] : bos;
}

/* ---- a triggers stream ---- */

unsigned header_counted(const struct stream_reader *reader)
{
    const json_t *arrays = json_object_get(stream_header(reader), "arrays");
    unsigned counted = 0;
    for (enum counted kind = 0; kind < COUNTED_KINDS; kind++)
        counted |= json_object_get(arrays, counted_bin_arrays[kind]) ? 1u << kind : 0;
    return counted;
}

struct triggers_reader triggers_open(struct stream_reader *stream)
{
    struct triggers_reader reader = {.stream = stream, .shape = shape_read(stream)};
    reader.keys = (size_t)header_number(stream, NULL, "keys", reader.shape.layers * reader.shape.d_ff);
    reader.top = (size_t)header_number(stream, NULL, "top", MAX_TRIGGERS);
    if (json_object_get(stream_header(stream), "following"))
        reader.following = (size_t)header_number(stream, NULL, "following", MAX_FOLLOWING);
    const json_t *arrays = json_object_get(stream_header(stream), "arrays");
    reader.prefix_coefficients = json_object_get(arrays, "prefix_coef");
    reader.counted = header_counted(stream);
    reader.ranks = header_ranks(stream);
    reader.chosen = reader.ranks.count;
    reader.bos = header_bos(stream, reader.shape.vocabulary);
    if (!reader.top)
        stream_fail(stream, "the header's top is 0");
    return reader;
}

struct triggers_reader triggers_open_list(struct stream_reader *stream, const char *list)
{
    struct triggers_reader reader = triggers_open(stream);
    char *lists = ranks_text(&reader.ranks);
    if (!list && reader.ranks.count > 1)
        stream_fail(stream, "each key has several lists of triggers (%s): take one with --list", lists);
    reader.chosen = 0;
    while (list && reader.chosen < reader.ranks.count
           && strcmp(list_words[reader.ranks.rank[reader.chosen]], list))
        reader.chosen++;
    if (reader.chosen == reader.ranks.count)
        stream_fail(stream, "there is no list '%s' of triggers (but %s)", list, lists);
    free(lists);
    return reader;
}

struct triggers_reader triggers_open_first(struct stream_reader *stream)
{
    struct triggers_reader reader = triggers_open(stream);
    reader.chosen = 0;
    return reader;
}

struct triggers_reader triggers_open_part(struct stream_reader *stream)
{
    struct triggers_reader reader = triggers_open(stream);
    reader.is_part = true;
    return reader;
}

void options_set_list(json_t *options, const struct triggers_reader *reader)
{
    if (reader->ranks.count > 1)
        json_put(options, "list", json_make("s", list_words[reader->ranks.rank[reader->chosen]]));
}

enum rank triggers_rank(const struct triggers_reader *reader, const struct key_triggers *key)
{
    return reader->ranks.rank[key->list];
}

uint64_t key_record(const struct key_triggers *key, size_t d_ff)
{
    return ((uint64_t)key->layer * d_ff + key->cell) * key->lists + key->list;
}

char *key_name(uint64_t number, size_t d_ff)
{
    return format_string("layer %zu cell %zu", layer_shown((size_t)(number / d_ff)), (size_t)(number % d_ff));
}

static void check_key(struct triggers_reader *reader, const struct key_triggers *key)
{
    uint64_t number = key_record(key, reader->shape.d_ff);
    if (number > reader->next_record && key->list && !reader->is_part)
        refuse_list(reader, format_string("layer %zu cell %zu is not in order", layer_shown(key->layer),
                                          key->cell));
    if (number < reader->next_record || reader->token_counts.count)
        stream_fail(reader->stream, "layer %zu cell %zu is not in order", layer_shown(key->layer), key->cell);
    if (key->count > reader->top)
        stream_fail(reader->stream, "layer %zu cell %zu has %zu triggers, the header promises at most %zu",
                    layer_shown(key->layer), key->cell, key->count, reader->top);
    reader->next_record = number + 1;
    reader->next_list = (key->list + 1) % reader->ranks.count;
    reader->seen += !reader->next_list;
}

static bool is_chosen(const struct triggers_reader *reader, const struct key_triggers *key)
{
    return reader->chosen == reader->ranks.count || reader->chosen == key->list;
}

bool triggers_next(struct triggers_reader *reader, struct key_triggers *key)
{
    struct record record;
    while (stream_next(reader->stream, &record)) {
        if (!record_has(&record, TOKEN_COUNTS)) {
            *key = key_triggers_read(&record, reader);
            check_key(reader, key);
            if (is_chosen(reader, key))
                return true;
            key_triggers_free(key);
            continue;
        }
        if (reader->token_counts.count)
            stream_fail(reader->stream, "a second record of %s", TOKEN_COUNTS);
        reader->token_counts.vocabulary = reader->shape.vocabulary;
        fields_read(&record, token_counts_fields, 0, &reader->token_counts);
        token_counts_check(&record, &reader->token_counts);
    }
    if (reader->is_part && json_object_get(stream_trailer(reader->stream), COVERAGE_KEY_BLOCKS))
        return false;
    coverage_need_all_keys(reader->stream);
    if (reader->next_list)
        stream_fail(reader->stream, "the last key has %zu lists of triggers, the header promises %zu",
                    reader->next_list, reader->ranks.count);
    if (reader->seen != reader->keys)
        stream_fail(reader->stream, "%zu keys, the header promises %zu", reader->seen, reader->keys);
    return false;
}

void triggers_close(struct triggers_reader *reader)
{
    fields_free(token_counts_fields, &reader->token_counts);
    *reader = (struct triggers_reader){0};
}
