#include "report_memories.h"

#include "messages.h"
#include "page_data.h"
#include "postings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSTINGS_A_PIECE = 20000, NOT_IN_PIECE = 0 };

/* The texts of the tokens that a piece mentions. */
struct piece_tokens {
    uint32_t *place;   /* vocabulary: from 1, or NOT_IN_PIECE */
    uint32_t *listed;  /* their tokens */
    size_t count, capacity;
    json_t *texts;
};

struct report_memories {
    const char *folder;
    const struct tokenizer *tokenizer;
    size_t vocabulary, top;
    json_t **text; /* vocabulary: made once */

    size_t layer, group; /* of the pieces at hand */
    json_t *memories;    /* of the group; NULL before the first */
    struct piece_tokens group_tokens, layer_tokens;
    json_t *summary;     /* of the layer: lists by name */
    size_t keys, live;   /* of the layer */
    json_t *layers;

    struct postings value, last, anywhere;
    /* For the key at hand: triggers with each token, and the last trigger that had it. */
    uint32_t *with_token;          /* vocabulary */
    uint64_t *latest;              /* vocabulary; triggers count from 1, over all keys */
    uint32_t *distinct;            /* tokens with with_token above 0 */
    size_t distinct_capacity;
    uint64_t triggers_seen;
};

static json_t *real(float number)
{
    return json_make("f", (double)number);
}

static json_t *integer(size_t number)
{
    return json_make("I", (json_int_t)number);
}

/*
 * Long lists of numbers are texts with spaces between: a JSON value for each of some
 * ten million numbers would take most of the time.
 */
struct numbers {
    char *text;
    size_t length, capacity;
};

static void numbers_add(struct numbers *numbers, const char *number, size_t length)
{
    if (numbers->length + length + 1 >= numbers->capacity) {
        numbers->capacity = 2 * numbers->capacity + length + 64;
        numbers->text = grow_array(numbers->text, numbers->capacity, 1);
    }
    if (numbers->length)
        numbers->text[numbers->length++] = ' ';
    memcpy(numbers->text + numbers->length, number, length);
    numbers->length += length;
}

static void numbers_add_integer(struct numbers *numbers, uint32_t integer)
{
    char digits[16], *first = digits + sizeof digits;
    do
        *--first = (char)('0' + integer % 10);
    while (integer /= 10);
    numbers_add(numbers, first, (size_t)(digits + sizeof digits - first));
}

static void numbers_add_real(struct numbers *numbers, float real)
{
    char digits[32];
    numbers_add(numbers, digits, (size_t)snprintf(digits, sizeof digits, "%.5g", (double)real));
}

static json_t *numbers_take(struct numbers *numbers)
{
    json_t *json = json_make("s%", numbers->length ? numbers->text : "", numbers->length);
    free(numbers->text);
    *numbers = (struct numbers){0};
    return json;
}

/* ---- tokens ---- */

static json_t *text_of(struct report_memories *memories, uint32_t token)
{
    if (!memories->text[token]) {
        char *text = tokenizer_text(memories->tokenizer, &token, 1);
        memories->text[token] = json_make("s", text);
        free(text);
    }
    return json_incref(memories->text[token]);
}

static struct piece_tokens piece_tokens_new(size_t vocabulary)
{
    return (struct piece_tokens){.place = new_array(vocabulary, sizeof(uint32_t)), .texts = json_make("[]")};
}

/* The token's index in the piece. */
static uint32_t place_of(struct report_memories *memories, struct piece_tokens *tokens, uint32_t token)
{
    if (tokens->place[token] == NOT_IN_PIECE) {
        if (tokens->count == tokens->capacity) {
            tokens->capacity = tokens->capacity ? 2 * tokens->capacity : 1024;
            tokens->listed = grow_array(tokens->listed, tokens->capacity, sizeof *tokens->listed);
        }
        tokens->listed[tokens->count++] = token;
        tokens->place[token] = (uint32_t)tokens->count;
        json_add(tokens->texts, text_of(memories, token));
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
}

/* ---- pieces ---- */

static const char *const summary_lists[] = {"cell", "triggers", "coefficient", "confidence", "agree", "top", "annotated"};

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
    char *name = format_string("memories-%zu-%zu", memories->layer + 1, memories->group);
    page_data_write(memories->folder, name, json_make("{s:o, s:o}", "tokens", take_texts(&memories->group_tokens),
                                                      "memories", memories->memories));
    free(name);
    memories->memories = NULL;
}

static void finish_layer(struct report_memories *memories)
{
    if (!memories->summary)
        return;
    char *name = format_string("layer-%zu", memories->layer + 1);
    json_put(memories->summary, "tokens", take_texts(&memories->layer_tokens));
    page_data_write(memories->folder, name, memories->summary);
    free(name);
    json_add(memories->layers, json_make("{s:I, s:I, s:I}", "layer", (json_int_t)memories->layer + 1, "keys",
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

static json_t *distribution_json(struct report_memories *memories, const uint32_t *token, const float *probability,
                                 size_t count)
{
    json_t *list = json_make("[]");
    for (size_t i = 0; i < count; i++)
        json_add(list, json_make("[o, o]", refer(memories, &memories->group_tokens, token[i]), real(probability[i])));
    return list;
}

/* [coefficient, sentence, next token, its rank in the value's distribution, "prefix's tokens"] */
static json_t *trigger_json(struct report_memories *memories, const struct key_triggers *key, size_t trigger,
                            const uint32_t *prefix)
{
    struct numbers tokens = {0};
    for (size_t i = 0; i < key->position[trigger]; i++)
        numbers_add_integer(&tokens, place_of(memories, &memories->group_tokens, prefix[i]));
    return json_make("[o, I, o, I, o]", real(key->coefficient[trigger]), (json_int_t)key->sentence[trigger],
                     refer(memories, &memories->group_tokens, key->next[trigger]), (json_int_t)key->next_rank[trigger],
                     numbers_take(&tokens));
}

static void add_memory(struct report_memories *memories, const struct key_triggers *key, size_t count,
                       json_t *measures, json_t *annotations)
{
    json_t *triggers = json_make("[]");
    const uint32_t *prefix = key->prefix;
    for (size_t i = 0; i < count; prefix += key->position[i++])
        json_add(triggers, trigger_json(memories, key, i, prefix));
    json_t *memory = json_make(
        "{s:I, s:o, s:o, s:o}", "cell", (json_int_t)key->cell, "triggers", triggers,
        "top", distribution_json(memories, key->top, key->top_probability, key->tops),
        "bottom", distribution_json(memories, key->bottom, key->bottom_probability, key->bottoms));
    json_put(memory, "measures", measures);
    json_put(memory, "annotations", annotations);
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

/* ---- the index of tokens ---- */

static void count_token(struct report_memories *memories, uint32_t token, size_t *distinct)
{
    if (memories->latest[token] == memories->triggers_seen)
        return;
    memories->latest[token] = memories->triggers_seen;
    if (memories->with_token[token]++ == 0)
        memories->distinct[(*distinct)++] = token;
}

/* What with_token counts goes into an index, and with_token is clear again. */
static void offer_counts(struct report_memories *memories, struct postings *postings, struct posting posting,
                         size_t distinct)
{
    for (size_t i = 0; i < distinct; i++) {
        uint32_t token = memories->distinct[i];
        posting.strength = (float)memories->with_token[token];
        postings_offer(postings, token, posting);
        memories->with_token[token] = 0;
    }
}

static void add_to_index(struct report_memories *memories, const struct key_triggers *key, size_t count)
{
    struct posting posting = {(uint32_t)key->layer, (uint32_t)key->cell, 0};
    for (size_t i = 0; i < key->tops; i++) {
        posting.strength = key->top_probability[i];
        postings_offer(&memories->value, key->top[i], posting);
    }
    if (key->prefix_tokens > memories->distinct_capacity) {
        memories->distinct_capacity = key->prefix_tokens;
        memories->distinct = grow_array(memories->distinct, memories->distinct_capacity, sizeof *memories->distinct);
    }
    size_t distinct = 0;
    const uint32_t *end = key->prefix;
    for (size_t i = 0; i < count; i++) {
        end += key->position[i];
        memories->triggers_seen++;
        if (key->position[i])
            count_token(memories, end[-1], &distinct);
    }
    offer_counts(memories, &memories->last, posting, distinct);
    distinct = 0;
    const uint32_t *next = key->prefix;
    for (size_t i = 0; i < count; i++) {
        memories->triggers_seen++;
        for (size_t j = 0; j < key->position[i]; j++)
            count_token(memories, *next++, &distinct);
    }
    offer_counts(memories, &memories->anywhere, posting, distinct);
}

/* "layer cell strength layer ..." */
static json_t *postings_json(struct postings *postings, uint32_t token, bool is_probability)
{
    struct numbers list = {0};
    postings_sort(postings, token);
    for (size_t i = 0; i < postings->token[token].count; i++) {
        const struct posting *posting = &postings->token[token].kept[i];
        numbers_add_integer(&list, posting->layer + 1);
        numbers_add_integer(&list, posting->cell);
        if (is_probability)
            numbers_add_real(&list, posting->strength);
        else
            numbers_add_integer(&list, (uint32_t)posting->strength);
    }
    return numbers_take(&list);
}

static void write_postings(const struct report_memories *memories, size_t piece, json_t *lists)
{
    char *name = format_string("postings-%zu", piece);
    page_data_write(memories->folder, name, lists);
    free(name);
}

/* The tokens that anything is known of, in pieces of about POSTINGS_A_PIECE postings. */
static void write_index(struct report_memories *memories)
{
    json_t *token = json_make("[]"), *text = json_make("[]"), *pieces = json_make("[]");
    json_t *totals[] = {json_make("[]"), json_make("[]"), json_make("[]")};
    struct postings *index[] = {&memories->value, &memories->last, &memories->anywhere};
    json_t *lists = NULL;
    size_t held = 0;
    for (uint32_t t = 0; t < memories->vocabulary; t++) {
        if (!index[0]->token[t].total && !index[2]->token[t].total)
            continue;
        if (lists && held >= POSTINGS_A_PIECE) {
            write_postings(memories, json_array_size(pieces) - 1, lists);
            lists = NULL;
        }
        if (!lists) {
            lists = json_make("[]");
            held = 0;
            json_add(pieces, integer(json_array_size(token)));
        }
        json_add(token, integer(t));
        json_add(text, text_of(memories, t));
        for (size_t i = 0; i < 3; i++) {
            json_add(totals[i], integer(index[i]->token[t].total));
            held += index[i]->token[t].count;
        }
        json_add(lists, json_make("[o, o, o]", postings_json(index[0], t, true), postings_json(index[1], t, false),
                                  postings_json(index[2], t, false)));
    }
    if (lists)
        write_postings(memories, json_array_size(pieces) - 1, lists);
    page_data_write(memories->folder, "tokens",
                    json_make("{s:o, s:o, s:o, s:o, s:o, s:o}", "token", token, "text", text, "value", totals[0],
                              "last", totals[1], "anywhere", totals[2], "pieces", pieces));
}

/* ---- whole ---- */

struct report_memories *report_memories_new(const char *folder, const struct tokenizer *tokenizer,
                                            size_t vocabulary, size_t top)
{
    struct report_memories *memories = new_array(1, sizeof *memories);
    memories->folder = folder;
    memories->tokenizer = tokenizer;
    memories->vocabulary = vocabulary;
    memories->top = top;
    memories->text = new_array(vocabulary, sizeof(json_t *));
    memories->group_tokens = piece_tokens_new(vocabulary);
    memories->layer_tokens = piece_tokens_new(vocabulary);
    memories->layers = json_make("[]");
    memories->value = postings_new(vocabulary, POSTINGS_A_TOKEN);
    memories->last = postings_new(vocabulary, POSTINGS_A_TOKEN);
    memories->anywhere = postings_new(vocabulary, POSTINGS_A_TOKEN);
    memories->with_token = new_array(vocabulary, sizeof *memories->with_token);
    memories->latest = new_array(vocabulary, sizeof *memories->latest);
    return memories;
}

void report_memories_add(struct report_memories *memories, const struct key_triggers *key, json_t *measures,
                         json_t *annotations)
{
    size_t count = key->count < memories->top ? key->count : memories->top;
    begin_pieces(memories, key);
    add_to_summary(memories, key, count, json_array_size(annotations) > 0);
    add_memory(memories, key, count, measures, annotations);
    add_to_index(memories, key, count);
}

json_t *report_memories_finish(struct report_memories *memories)
{
    finish_group(memories);
    finish_layer(memories);
    write_index(memories);
    for (size_t i = 0; i < memories->vocabulary; i++)
        json_decref(memories->text[i]);
    free(memories->text);
    piece_tokens_free(&memories->group_tokens);
    piece_tokens_free(&memories->layer_tokens);
    postings_free(&memories->value);
    postings_free(&memories->last);
    postings_free(&memories->anywhere);
    free(memories->with_token);
    free(memories->latest);
    free(memories->distinct);
    json_t *layers = memories->layers;
    free(memories);
    return layers;
}
