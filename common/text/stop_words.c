#include "text/stop_words.h"

#include "base/hash_table.h"
#include "base/messages.h"
#include "base/order.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

struct word {
    UT_hash_handle hh;
    char text[];
};

static char small_letter(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The bytes in small letters. The caller frees it. */
static char *fold(struct span text)
{
    char *folded = new_array(text.length + 1, 1);
    for (size_t i = 0; i < text.length; i++)
        folded[i] = small_letter(text.bytes[i]);
    return folded;
}

static struct word *read_words(const char *path)
{
    struct text_reader *reader = text_open(path, TEXT_LINES, NULL);
    struct word *words = NULL;
    struct span line;
    while (text_next(reader, &line)) {
        const char *comment = memchr(line.bytes, '#', line.length);
        if (comment)
            line.length = (size_t)(comment - line.bytes);
        char *text = fold(text_strip(line));
        struct word *known;
        HASH_FIND_STR(words, text, known);
        if (*text && !known) {
            struct word *word = new_struct(sizeof *word, strlen(text) + 1, 1);
            strcpy(word->text, text);
            HASH_ADD_STR(words, text, word);
        }
        free(text);
    }
    text_close(reader);
    if (!words)
        die("%s: there is no word in it", path);
    return words;
}

bool *stop_words_read(const char *path, const struct tokenizer *tokenizer, size_t vocabulary)
{
    struct word *words = read_words(path), *word, *next;
    bool *is_stop_word = new_array(vocabulary, sizeof *is_stop_word);
    for (uint32_t token = 0; token < vocabulary; token++) {
        char *text = tokenizer_text(tokenizer, &token, 1);
        char *folded = fold(text_strip((struct span){text, strlen(text)}));
        HASH_FIND_STR(words, folded, word);
        is_stop_word[token] = word != NULL;
        free(folded);
        free(text);
    }
    HASH_ITER(hh, words, word, next) {
        HASH_DEL(words, word);
        free(word);
    }
    return is_stop_word;
}

struct counted {
    uint64_t count;
    size_t token;
};

static int most_frequent_first(const void *a, const void *b)
{
    const struct counted *left = a, *right = b;
    int order = compare_numbers(right->count, left->count);
    return order ? order : compare_numbers(left->token, right->token);
}

bool *frequent_tokens(const uint64_t *token_counts, size_t vocabulary, size_t count)
{
    struct counted *sorted = new_array(vocabulary, sizeof *sorted);
    bool *is_frequent = new_array(vocabulary, sizeof *is_frequent);
    for (size_t token = 0; token < vocabulary; token++)
        sorted[token] = (struct counted){token_counts[token], token};
    qsort(sorted, vocabulary, sizeof *sorted, most_frequent_first);
    for (size_t i = 0; i < vocabulary && i < count; i++)
        is_frequent[sorted[i].token] = sorted[i].count > 0;
    free(sorted);
    return is_frequent;
}
