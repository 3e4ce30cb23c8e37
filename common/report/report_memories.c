#include "report/report_memories.h"

#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "report/page_data.h"
#include "report/report_index.h"
#include "stream/coefficient_bins.h"
#include "stream/records.h"

#include <stdlib.h>

enum { NOT_IN_PIECE = 0 };

/* The texts of the tokens that a piece mentions. */
struct piece_tokens {
    uint32_t *place;   /* vocabulary: from 1, or NOT_IN_PIECE */
    uint32_t *listed;  /* their tokens */
    size_t count, capacity;
    json_t *texts;
};

struct report_memories {
    const char *folder;
    struct token_texts texts;
    size_t top;

    size_t layer, group; /* of the current pieces */
    json_t *memories;    /* of the group; NULL before the first */
    struct piece_tokens group_tokens, layer_tokens;
    json_t *summary;     /* of the layer: lists by name */
    size_t keys, live;   /* of the layer */
    json_t *layers;

    struct report_index *index;
};

static json_t *real(float number)
{
    return json_make("f", (double)number);
}

static json_t *integer(size_t number)
{
    return json_make("I", (json_int_t)number);
}

/* ---- tokens ---- */

static struct piece_tokens piece_tokens_new(size_t vocabulary)
{
    return (struct piece_tokens){.place = new_array(vocabulary, sizeof(uint32_t)), .texts = json_make("[]")};
}

/* The token's index in the piece. */
static uint32_t place_of(struct report_memories *memories, struct piece_tokens *tokens, uint32_t token)
{
    if (tokens->place[token] == NOT_IN_PIECE) {
        tokens->listed = reserve_array(tokens->listed, &tokens->capacity, tokens->count + 1,
                                       sizeof *tokens->listed);
        tokens->listed[tokens->count++] = token;
        tokens->place[token] = (uint32_t)tokens->count;
        json_add(tokens->texts, token_texts_json(&memories->texts, token));
    }
    return tokens->place[token] - 1;
}

static json_t *refer(struct report_memories *memories, struct piece_tokens *tokens, uint32_t token)
{
    return integer(place_of(memories, tokens, token));
}

/* The texts, for the finished piece; the next one begins. */
static json_t *take_texts(struct piece_tokens *tokens)
{
    json_t *texts = tokens->texts;
    while (tokens->count)
        tokens->place[tokens->listed[--tokens->count]] = NOT_IN_PIECE;
    tokens->texts = json_make("[]");
    return texts;
}

static void piece_tokens_free(struct piece_tokens *tokens)
{
    free(tokens->place);
    free(tokens->listed);
    json_decref(tokens->texts);
    *tokens = (struct piece_tokens){0};
}

/* ---- pieces ---- */

static const char *const summary_lists[] = {"cell",  "triggers", "coefficient", "confidence",
                                            "agree", "top",      "annotated"};

static json_t *new_summary(void)
{
    json_t *summary = json_make("{}");
    for (size_t i = 0; i < sizeof summary_lists / sizeof *summary_lists; i++)
        json_put(summary, summary_lists[i], json_make("[]"));
    return summary;
}

static void summarize(struct report_memories *memories, const char *list, json_t *value)
{
    json_add(json_object_get(memories->summary, list), value);
}

static void finish_group(struct report_memories *memories)
{
    if (!memories->memories)
        return;
    char *name = format_string("memories-%zu-%zu", layer_shown(memories->layer), memories->group);
    page_data_write(memories->folder, name,
                    json_make("{s:o, s:o}", "tokens", take_texts(&memories->group_tokens), "memories",
                              memories->memories));
    free(name);
    memories->memories = NULL;
}

static void finish_layer(struct report_memories *memories)
{
    if (!memories->summary)
        return;
    char *name = format_string("layer-%zu", layer_shown(memories->layer));
    json_put(memories->summary, "tokens", take_texts(&memories->layer_tokens));
    page_data_write(memories->folder, name, memories->summary);
    free(name);
    json_add(memories->layers,
             json_make("{s:I, s:I, s:I}", "layer", (json_int_t)layer_shown(memories->layer), "keys",
                       (json_int_t)memories->keys, "live", (json_int_t)memories->live));
    memories->summary = NULL;
    memories->keys = memories->live = 0;
}

static void begin_pieces(struct report_memories *memories, const struct key_triggers *key)
{
    size_t group = key->cell / MEMORIES_A_PIECE;
    bool new_layer = !memories->summary || key->layer != memories->layer;
    if (new_layer || group != memories->group)
        finish_group(memories);
    if (new_layer)
        finish_layer(memories);
    memories->layer = key->layer;
    memories->group = group;
    if (!memories->summary)
        memories->summary = new_summary();
    if (!memories->memories)
        memories->memories = json_make("[]");
}

/* ---- a memory ---- */

/* How many of a list's triggers are shown. */
static size_t shown_triggers(const struct report_memories *memories, const struct key_triggers *key)
{
    return key->count < memories->top ? key->count : memories->top;
}

static json_t *distribution_json(struct report_memories *memories, const uint32_t *token,
                                 const float *probability, size_t count)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, json_make("[o, o]", refer(memories, &memories->group_tokens, token[i]),
                                 real(probability[i])));
    return list;
}

static json_t *tokens_json(struct report_memories *memories, const uint32_t *token, size_t count)
{
    struct numbers tokens = {0};
    for (size_t i = 0; i < count; i++)
        numbers_add_integer(&tokens, place_of(memories, &memories->group_tokens, token[i]));
    return numbers_take(&tokens);
}

/* Numbers of which two digits are shown. */
static json_t *coefficients_json(const float *coefficient, size_t count)
{
    struct numbers numbers = {0};
    for (size_t i = 0; i < count; i++)
        numbers_add_real(&numbers, coefficient[i], 2);
    return numbers_take(&numbers);
}

/*
 * [coefficient, sentence, next token, its rank in the value's distribution, "prefix's tokens",
 * "tokens behind the next one", "coefficients along the prefix"], the last two only where the stream has
 * them, and null in the place of what is followed by the other.
 */
static json_t *trigger_json(struct report_memories *memories, const struct key_triggers *key,
                            const struct prefix_walk *prefix)
{
    const size_t trigger = prefix->index;
    json_t *json = json_make(
        "[o, I, o, I, o]", real(key->coefficient[trigger]), (json_int_t)key->sentence[trigger],
        refer(memories, &memories->group_tokens, key->next[trigger]), (json_int_t)key->next_rank[trigger],
        tokens_json(memories, prefix->token, prefix->length));
    if (key->following)
        json_add(json, tokens_json(memories, key->following + trigger * key->following_tokens,
                                   following_length(key, trigger)));
    else if (key->prefix_coefficient)
        json_add(json, json_null());
    if (key->prefix_coefficient)
        json_add(json, coefficients_json(prefix_coefficients(key, prefix), prefix->length));
    return json;
}

static json_t *bins_json(const struct histogram *histogram)
{
    struct numbers numbers = {0};
    for (size_t bin = 0; bin < histogram->bins; bin++)
        if (histogram->count[bin]) {
            numbers_add_integer(&numbers, bin);
            numbers_add_integer(&numbers, histogram->count[bin]);
        }
    return numbers_take(&numbers);
}

/*
 * ["bins and how many coefficients fall into each", "the same of the triggers, also those not shown"]: the
 * bins are those of coefficient_bins.h.
 */
static json_t *histograms_json(const struct key_triggers *key)
{
    struct histogram triggers = histogram_new(COEFFICIENT_BINS);
    for (size_t i = 0; i < key->count; i++)
        triggers.count[coefficient_bin(key->coefficient[i])]++;
    json_t *json = json_make("[o, o]", bins_json(&key->counted[COUNTED_COEFFICIENTS]), bins_json(&triggers));
    histogram_free(&triggers);
    return json;
}

/* How often each combination of signs occurs. */
static json_t *signs_json(const struct histogram *signs)
{
    json_t *json = json_make("[]");
    for (size_t i = 0; i < signs->bins; i++)
        json_add(json, json_make("I", (json_int_t)signs->count[i]));
    return json;
}

/* A list of triggers, and what the value promotes for them. */
static void put_list(struct report_memories *memories, const struct key_triggers *key, enum rank rank,
                     json_t *object)
{
    json_t *triggers = json_make("[]");
    for (struct prefix_walk prefix = key_prefixes(key, shown_triggers(memories, key)); prefix_next(&prefix);)
        json_add(triggers, trigger_json(memories, key, &prefix));
    if (key->lists > 1)
        json_put(object, "list", json_make("s", list_words[rank]));
    json_put(object, "triggers", triggers);
    json_put(object, "top", distribution_json(memories, key->top, key->top_probability, key->tops));
    json_put(object, "bottom",
             distribution_json(memories, key->bottom, key->bottom_probability, key->bottoms));
}

static void add_memory(struct report_memories *memories, const struct key_triggers *key, enum rank rank,
                       json_t *measures, json_t *annotations)
{
    json_t *memory = json_make("{s:I}", "cell", (json_int_t)key->cell);
    put_list(memories, key, rank, memory);
    if (key->counted[COUNTED_COEFFICIENTS].bins)
        json_put(memory, "coefficients", histograms_json(key));
    if (key->counted[COUNTED_SIGNS].bins)
        json_put(memory, "signs", signs_json(&key->counted[COUNTED_SIGNS]));
    json_put(memory, "measures", measures);
    json_put(memory, "annotations", annotations);
    if (key->lists > 1)
        json_put(memory, "lists", json_make("[]"));
    json_add(memories->memories, memory);
}

static void add_to_summary(struct report_memories *memories, const struct key_triggers *key, size_t count,
                           bool annotated)
{
    size_t agree = 0;
    for (size_t i = 0; i < count; i++)
        agree += key->next[i] == key->top[0];
    summarize(memories, "cell", integer(key->cell));
    summarize(memories, "triggers", integer(count));
    summarize(memories, "coefficient", count ? real(key->coefficient[0]) : json_null());
    summarize(memories, "confidence", real(key->top_probability[0]));
    summarize(memories, "agree", integer(agree));
    summarize(memories, "top", refer(memories, &memories->layer_tokens, key->top[0]));
    summarize(memories, "annotated", integer(annotated));
    memories->keys++;
    memories->live += count > 0;
}

/* ---- whole ---- */

struct report_memories *report_memories_new(const char *folder, const struct tokenizer *tokenizer,
                                            size_t vocabulary, size_t top)
{
    struct report_memories *memories = new_array(1, sizeof *memories);
    memories->folder = folder;
    memories->texts = token_texts_new(tokenizer, vocabulary);
    memories->top = top;
    memories->group_tokens = piece_tokens_new(vocabulary);
    memories->layer_tokens = piece_tokens_new(vocabulary);
    memories->layers = json_make("[]");
    memories->index = report_index_new(vocabulary);
    return memories;
}

void report_memories_add(struct report_memories *memories, const struct key_triggers *key, enum rank rank,
                         json_t *measures, json_t *annotations)
{
    size_t count = shown_triggers(memories, key);
    begin_pieces(memories, key);
    add_to_summary(memories, key, count, json_array_size(annotations) > 0);
    add_memory(memories, key, rank, measures, annotations);
    report_index_add(memories->index, key, count);
}

void report_memories_add_list(struct report_memories *memories, const struct key_triggers *key,
                              enum rank rank)
{
    const json_t *memory = json_array_get(memories->memories, json_array_size(memories->memories) - 1);
    json_t *list = json_make("{}");
    put_list(memories, key, rank, list);
    json_add(json_object_get(memory, "lists"), list);
}

json_t *report_memories_finish(struct report_memories *memories)
{
    finish_group(memories);
    finish_layer(memories);
    report_index_finish(memories->index, memories->folder, &memories->texts);
    token_texts_free(&memories->texts);
    piece_tokens_free(&memories->group_tokens);
    piece_tokens_free(&memories->layer_tokens);
    json_t *layers = memories->layers;
    free(memories);
    return layers;
}
