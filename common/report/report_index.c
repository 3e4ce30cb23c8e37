#include "report/report_index.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "report/page_data.h"
#include "report/postings.h"

#include <stdbool.h>
#include <stdlib.h>

enum { POSTINGS_A_PIECE = 20000 };

struct report_index {
    struct postings value, last, anywhere;
    /* For the current key: triggers with each token, and the last trigger that had it. */
    uint32_t *with_token;   /* vocabulary */
    uint64_t *latest;       /* vocabulary; triggers count from 1, over all keys */
    uint32_t *distinct;     /* tokens with with_token above 0 */
    size_t distinct_capacity;
    uint64_t triggers_seen;
};

struct report_index *report_index_new(size_t vocabulary)
{
    struct report_index *index = new_array(1, sizeof *index);
    index->value = postings_new(vocabulary, POSTINGS_A_TOKEN);
    index->last = postings_new(vocabulary, POSTINGS_A_TOKEN);
    index->anywhere = postings_new(vocabulary, POSTINGS_A_TOKEN);
    index->with_token = new_array(vocabulary, sizeof *index->with_token);
    index->latest = new_array(vocabulary, sizeof *index->latest);
    return index;
}

static void count_token(struct report_index *index, uint32_t token, size_t *distinct)
{
    if (index->latest[token] == index->triggers_seen)
        return;
    index->latest[token] = index->triggers_seen;
    if (index->with_token[token]++ == 0)
        index->distinct[(*distinct)++] = token;
}

/* What with_token counts goes into an index, and with_token is clear again. */
static void offer_counts(struct report_index *index, struct postings *postings, struct posting posting,
                         size_t distinct)
{
    for (size_t i = 0; i < distinct; i++) {
        uint32_t token = index->distinct[i];
        posting.strength = (float)index->with_token[token];
        postings_offer(postings, token, posting);
        index->with_token[token] = 0;
    }
}

void report_index_add(struct report_index *index, const struct key_triggers *key, size_t count)
{
    struct posting posting = {(uint32_t)key->layer, (uint32_t)key->cell, 0};
    for (size_t i = 0; i < key->tops; i++) {
        posting.strength = key->top_probability[i];
        postings_offer(&index->value, key->top[i], posting);
    }
    index->distinct = reserve_array(index->distinct, &index->distinct_capacity, key->prefix_tokens,
                                    sizeof *index->distinct);
    size_t distinct = 0;
    for (struct prefix_walk prefix = key_prefixes(key, count); prefix_next(&prefix);) {
        index->triggers_seen++;
        if (prefix.length) /* of BOS nothing is to be found */
            count_token(index, prefix.token[prefix.length - 1], &distinct);
    }
    offer_counts(index, &index->last, posting, distinct);
    distinct = 0;
    for (struct prefix_walk prefix = key_prefixes(key, count); prefix_next(&prefix);) {
        index->triggers_seen++;
        for (size_t j = 0; j < prefix.length; j++)
            count_token(index, prefix.token[j], &distinct);
    }
    offer_counts(index, &index->anywhere, posting, distinct);
}

/* "layer cell strength layer ..." */
static json_t *postings_json(struct postings *postings, uint32_t token, bool is_probability)
{
    struct numbers list = {0};
    postings_sort(postings, token);
    for (size_t i = 0; i < postings->token[token].count; i++) {
        const struct posting *posting = &postings->token[token].kept[i];
        numbers_add_integer(&list, (uint32_t)layer_shown(posting->layer));
        numbers_add_integer(&list, posting->cell);
        if (is_probability)
            numbers_add_real(&list, posting->strength, 5); /* as all reals in the data */
        else
            numbers_add_integer(&list, (uint32_t)posting->strength);
    }
    return numbers_take(&list);
}

static void write_postings(const char *folder, size_t piece, json_t *lists)
{
    char *name = format_string("postings-%zu", piece);
    page_data_write(folder, name, lists);
    free(name);
}

/* The tokens that anything is known of, in pieces of about POSTINGS_A_PIECE postings. */
static void write_index(struct report_index *index, const char *folder, struct token_texts *texts)
{
    json_t *token = json_make("[]"), *text = json_make("[]"), *pieces = json_make("[]");
    json_t *totals[] = {json_make("[]"), json_make("[]"), json_make("[]")};
    struct postings *kinds[] = {&index->value, &index->last, &index->anywhere};
    json_t *lists = NULL;
    size_t held = 0;
    for (uint32_t t = 0; t < texts->vocabulary; t++) {
        if (!index->value.token[t].total && !index->anywhere.token[t].total)
            continue;
        if (lists && held >= POSTINGS_A_PIECE) {
            write_postings(folder, json_array_size(pieces) - 1, lists);
            lists = NULL;
        }
        if (!lists) {
            lists = json_make("[]");
            held = 0;
            json_add(pieces, json_make("I", (json_int_t)json_array_size(token)));
        }
        json_add(token, json_make("I", (json_int_t)t));
        json_add(text, token_texts_json(texts, t));
        for (size_t i = 0; i < 3; i++) {
            json_add(totals[i], json_make("I", (json_int_t)kinds[i]->token[t].total));
            held += kinds[i]->token[t].count;
        }
        json_add(lists, json_make("[o, o, o]", postings_json(kinds[0], t, true),
                                  postings_json(kinds[1], t, false), postings_json(kinds[2], t, false)));
    }
    if (lists)
        write_postings(folder, json_array_size(pieces) - 1, lists);
    page_data_write(folder, "tokens",
                    json_make("{s:o, s:o, s:o, s:o, s:o, s:o}", "token", token, "text", text, "value",
                              totals[0], "last", totals[1], "anywhere", totals[2], "pieces", pieces));
}

void report_index_finish(struct report_index *index, const char *folder, struct token_texts *texts)
{
    write_index(index, folder, texts);
    postings_free(&index->value);
    postings_free(&index->last);
    postings_free(&index->anywhere);
    free(index->with_token);
    free(index->latest);
    free(index->distinct);
    free(index);
}
