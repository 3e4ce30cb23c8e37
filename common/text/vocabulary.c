#include "text/vocabulary.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

static bool same_text(struct span left, struct span right)
{
    return left.length == right.length && !memcmp(left.bytes, right.bytes, left.length);
}

/* Where the token with this text is in the index, or belongs. */
static size_t index_place(const struct vocabulary *vocabulary, struct span text)
{
    const uint32_t *index = vocabulary->index;
    size_t place = hash_bytes(text.bytes, text.length) & (vocabulary->index_size - 1);
    while (index[place] != NO_TOKEN && !same_text(vocabulary->tokens[index[place]], text))
        place = (place + 1) & (vocabulary->index_size - 1);
    return place;
}

uint32_t vocabulary_find(const struct vocabulary *vocabulary, struct span text)
{
    return vocabulary->index[index_place(vocabulary, text)];
}

uint32_t vocabulary_find_text(const struct vocabulary *vocabulary, const char *text)
{
    return text ? vocabulary_find(vocabulary, (struct span){text, strlen(text)}) : NO_TOKEN;
}

size_t vocabulary_table_size(size_t entries)
{
    size_t size = 16;
    while (size < 2 * entries)
        size *= 2;
    return size;
}

/* Takes a copy of text, behind *end, as the token's. */
static void set_token(struct vocabulary *vocabulary, uint32_t id, struct span text, char **end)
{
    if (!text_is_utf8(text))
        die("%s: the text of token %u is not UTF-8: the file is damaged", vocabulary->path, id);
    vocabulary->tokens[id] = (struct span){*end, text.length};
    if (text.length)
        memcpy(*end, text.bytes, text.length);
    *end += text.length;
    if (text.length > vocabulary->longest)
        vocabulary->longest = text.length;
}

static void add_to_index(struct vocabulary *vocabulary, uint32_t id)
{
    struct span text = vocabulary->tokens[id];
    size_t place = index_place(vocabulary, text);
    if (vocabulary->index[place] != NO_TOKEN)
        die("%s: tokens %u and %u are both '%.*s'", vocabulary->path, vocabulary->index[place], id,
            (int)text.length, text.bytes);
    vocabulary->index[place] = id;
}

static void check_added(const struct vocabulary *vocabulary, const struct added_token *token)
{
    if (token->text.length == 0 || token->text.length > MAX_ADDED_BYTES)
        die("%s: added token %u has %zu bytes; 1 to %d are possible", vocabulary->path, token->id,
            token->text.length, MAX_ADDED_BYTES);
    if (token->id >= MAX_TOKENIZER_TOKENS)
        die("%s: added token '%.*s' has id %u; ids below %d are possible", vocabulary->path,
            (int)token->text.length, token->text.bytes, token->id, MAX_TOKENIZER_TOKENS);
}

/* Room for all texts and ids. */
static void make_room(struct vocabulary *vocabulary, const struct span *tokens, size_t count,
                      const struct added_token *added, size_t added_count)
{
    size_t length = 0;
    if (count > MAX_TOKENIZER_TOKENS || added_count > MAX_TOKENIZER_TOKENS)
        die("%s: %zu tokens; at most %d are possible", vocabulary->path, count + added_count,
            MAX_TOKENIZER_TOKENS);
    vocabulary->size = count;
    for (size_t i = 0; i < count; i++)
        length += tokens[i].length;
    for (size_t i = 0; i < added_count; i++) {
        check_added(vocabulary, &added[i]);
        length += added[i].text.length;
        vocabulary->size = vocabulary->size > added[i].id ? vocabulary->size : added[i].id + 1;
    }
    vocabulary->tokens = new_array(vocabulary->size, sizeof *vocabulary->tokens);
    vocabulary->special = new_array(vocabulary->size, sizeof *vocabulary->special);
    vocabulary->text = new_array(length, 1);
    vocabulary->index_size = vocabulary_table_size(count);
    vocabulary->index = new_array(vocabulary->index_size, sizeof *vocabulary->index);
    memset(vocabulary->index, 0xff, vocabulary->index_size * sizeof *vocabulary->index);
}

static void set_added(struct vocabulary *vocabulary, const struct added_token *token, char **end)
{
    const struct span *known = &vocabulary->tokens[token->id];
    vocabulary->special[token->id] = token->special;
    if (!known->bytes)
        set_token(vocabulary, token->id, token->text, end);
    else if (!same_text(*known, token->text))
        die("%s: added token '%.*s' has the id %u of token '%.*s'", vocabulary->path, (int)token->text.length,
            token->text.bytes, token->id, (int)known->length, known->bytes);
}

struct vocabulary *vocabulary_new(const char *path, const struct span *tokens, size_t count,
                                  const struct added_token *added, size_t added_count)
{
    struct vocabulary *vocabulary = new_array(1, sizeof *vocabulary);
    vocabulary->path = copy_string(path);
    make_room(vocabulary, tokens, count, added, added_count);
    char *end = vocabulary->text;
    for (size_t i = 0; i < count; i++)
        if (tokens[i].bytes) {
            set_token(vocabulary, (uint32_t)i, tokens[i], &end);
            add_to_index(vocabulary, (uint32_t)i);
        }
    added_free(added_new(added, added_count, path)); /* looks for repetitions */
    for (size_t i = 0; i < added_count; i++)
        set_added(vocabulary, &added[i], &end);
    return vocabulary;
}

void vocabulary_free(struct vocabulary *vocabulary)
{
    free(vocabulary->path);
    free(vocabulary->tokens);
    free(vocabulary->special);
    free(vocabulary->text);
    free(vocabulary->index);
    free(vocabulary);
}
