#include "stream/ranks.h"

#include "base/json.h"
#include "base/messages.h"
#include "numeric/vector.h"

#include <stdlib.h>
#include <string.h>

#define RANK_WORDS "value", "abs", "min"
#define SIGN_WORDS "gate+input+", "gate+input-", "gate-input+", "gate-input-"

const char *const rank_words[] = {RANK_WORDS, NULL};
const char *const list_words[] = {RANK_WORDS, SIGN_WORDS, NULL};
const char *const sign_words[] = {SIGN_WORDS, NULL};
const char *const ranks_option_words[] = {RANK_WORDS, "signs", NULL};

/* Static, and of a name of its own, since clang 14 links clones neither across files nor twice by a name. */
KERNEL static void combine_signs(const float *gate, const float *input, size_t count, uint8_t *restrict signs)
{
    for (size_t i = 0; i < count; i++)
        signs[i] = signs_of(gate[i], input[i]);
}

void find_signs(const float *gate, const float *input, size_t count, uint8_t *signs)
{
    combine_signs(gate, input, count, signs);
}

struct ranks ranks_chosen(unsigned bits)
{
    struct ranks ranks = {0};
    for (enum rank rank = RANK_VALUE; rank < RANKS; rank++)
        if ((bits ? bits : 1u << RANK_VALUE) >> (rank < RANK_SIGNS ? rank : RANK_SIGNS) & 1)
            ranks.rank[ranks.count++] = rank;
    return ranks;
}

bool ranks_have_signs(const struct ranks *ranks)
{
    return ranks->rank[ranks->count - 1] >= RANK_SIGNS;
}

size_t ranks_find(const struct ranks *ranks, enum rank rank)
{
    size_t i = 0;
    while (i < ranks->count && ranks->rank[i] != rank)
        i++;
    return i;
}

json_t *ranks_json(const struct ranks *ranks)
{
    if (ranks->count == 1)
        return json_make("s", list_words[ranks->rank[0]]);
    json_t *list = json_make("[]");
    for (size_t i = 0; i < ranks->count; i++)
        json_add(list, json_make("s", list_words[ranks->rank[i]]));
    return list;
}

char *ranks_text(const struct ranks *ranks)
{
    char *text = copy_string(list_words[ranks->rank[0]]);
    for (size_t i = 1; i < ranks->count; i++) {
        char *longer = format_string("%s, %s", text, list_words[ranks->rank[i]]);
        free(text);
        text = longer;
    }
    return text;
}

/* RANKS: it is none. */
static enum rank rank_called(const char *word)
{
    enum rank rank = RANK_VALUE;
    while (rank < RANKS && (!word || strcmp(list_words[rank], word)))
        rank++;
    return rank;
}

struct ranks header_ranks(const struct stream_reader *reader)
{
    const json_t *said = json_object_get(stream_header(reader), "rank");
    struct ranks ranks = {0};
    if (!said)
        return ranks_chosen(0);
    size_t count = json_is_array(said) ? json_array_size(said) : 1;
    if (!count || (!json_is_array(said) && !json_is_string(said)))
        stream_fail(reader, "the header's rank is neither a text nor a list of texts");
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_is_array(said) ? json_array_get(said, i) : said);
        enum rank rank = rank_called(word);
        if (rank == RANKS)
            stream_fail(reader, "the header's rank is '%s', which is not known", word ? word : "no text");
        if (ranks.count && rank <= ranks.rank[ranks.count - 1])
            stream_fail(reader, "the header's rank has '%s' behind '%s', which is out of order", word,
                        list_words[ranks.rank[ranks.count - 1]]);
        ranks.rank[ranks.count++] = rank;
    }
    return ranks;
}
