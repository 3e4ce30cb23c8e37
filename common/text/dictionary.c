#include "text/dictionary.h"

#include "base/hash.h"
#include "base/hash_table.h"
#include "base/messages.h"
#include "model/checksums.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const special_symbols[] = {"<s>", "<pad>", "</s>", "<unk>"};
enum { SPECIAL_UNKNOWN = 3, SPECIALS = sizeof special_symbols / sizeof *special_symbols };

struct dictionary_entry {
    const char *word;
    uint32_t token;
    UT_hash_handle hh;
};

static void add_word(struct dictionary *dictionary, const char *word, size_t length, size_t vocabulary,
                     const char *path, uint64_t line)
{
    struct dictionary_entry *entry;
    HASH_FIND(hh, dictionary->index, word, length, entry);
    if (entry)
        die("%s: line %llu: the word '%.*s' is here a second time", path, (unsigned long long)line,
            (int)length, word);
    if (dictionary->size == vocabulary)
        die("%s: line %llu: more words than the model's vocabulary of %zu", path, (unsigned long long)line,
            vocabulary);
    char *copy = new_array(length + 1, 1);
    memcpy(copy, word, length);
    dictionary->words[dictionary->size] = copy;
    entry = new_array(1, sizeof *entry);
    entry->word = copy;
    entry->token = (uint32_t)dictionary->size++;
    HASH_ADD_KEYPTR(hh, dictionary->index, entry->word, length, entry);
}

/* The word of a line "word count"; its length, or 0 when the line is not so. */
static size_t word_length(const char *line, size_t length)
{
    while (length && (line[length - 1] == '\r' || line[length - 1] == ' '))
        length--;
    size_t digits = 0;
    while (digits < length && line[length - 1 - digits] >= '0' && line[length - 1 - digits] <= '9')
        digits++;
    if (!digits || digits + 2 > length || line[length - 1 - digits] != ' ')
        return 0;
    return length - 1 - digits;
}

/* "madeupword0000 0": what fairseq pads a dictionary with (Dictionary.pad_to_multiple_). */
static bool is_filler(struct span line, size_t length)
{
    static const char start[] = "madeupword";
    const size_t digits = sizeof start - 1;
    bool filler = length > digits && !memcmp(line.bytes, start, digits);
    for (size_t i = digits; filler && i < length; i++)
        filler = line.bytes[i] >= '0' && line.bytes[i] <= '9';
    for (size_t i = length; filler && i < line.length; i++) /* the count, and white space around it */
        filler = line.bytes[i] < '1' || line.bytes[i] > '9';
    return filler;
}

struct dictionary *dictionary_read_file(const char *path, size_t vocabulary, uint32_t unknown)
{
    struct dictionary *dictionary = new_array(1, sizeof *dictionary);
    struct text_reader *text = text_open(path, TEXT_LINES, NULL);
    struct hash *hash = hash_new();
    struct span line;
    dictionary->words = new_array(vocabulary, sizeof *dictionary->words);
    dictionary->filler = new_array(vocabulary, sizeof *dictionary->filler);
    dictionary->unknown = unknown;
    for (size_t i = 0; i < SPECIALS; i++)
        add_word(dictionary, special_symbols[i], strlen(special_symbols[i]), vocabulary, path, 0);
    while (text_next(text, &line)) {
        size_t length = word_length(line.bytes, line.length);
        if (!length)
            die("%s: line %llu: 'word count' is expected", path, (unsigned long long)text_line(text));
        add_word(dictionary, line.bytes, length, vocabulary, path, text_line(text));
        dictionary->filler[dictionary->size - 1] = is_filler(line, length);
        hash_add(hash, line.bytes, line.length);
        hash_add(hash, "\n", 1);
    }
    text_close(text);
    hash_finish(hash, dictionary->id);
    if (dictionary->size < vocabulary)
        die("%s: %zu words and special symbols, the model has %zu: the file was cut, or is another model's",
            path, dictionary->size, vocabulary);
    return dictionary;
}

struct dictionary *dictionary_read(const struct model_config *config)
{
    char *path = format_string("%s/dict.txt", config->path);
    uint32_t unknown = config->unknown == NO_TOKEN ? SPECIAL_UNKNOWN : config->unknown;
    checksums_check_file(config->path, "dict.txt");
    struct dictionary *dictionary = dictionary_read_file(path, config->vocabulary, unknown);
    free(path);
    return dictionary;
}

void dictionary_free(struct dictionary *dictionary)
{
    struct dictionary_entry *entry, *next;
    HASH_ITER(hh, dictionary->index, entry, next) {
        HASH_DEL(dictionary->index, entry);
        free(entry);
    }
    for (size_t i = 0; i < dictionary->size; i++)
        free(dictionary->words[i]);
    free(dictionary->words);
    free(dictionary->filler);
    free(dictionary);
}

uint32_t dictionary_find(const struct dictionary *dictionary, const char *word, size_t length)
{
    struct dictionary_entry *entry;
    HASH_FIND(hh, dictionary->index, word, length, entry);
    return entry ? entry->token : dictionary->unknown;
}

bool dictionary_can_follow(const struct dictionary *dictionary, uint32_t token)
{
    return token == dictionary->unknown
        || (token >= SPECIALS && token < dictionary->size && !dictionary->filler[token]);
}

char *dictionary_text(const struct dictionary *dictionary, const uint32_t *tokens, size_t count)
{
    size_t length = 0, capacity = 0;
    char *text = reserve_array(NULL, &capacity, 1, 1);
    for (size_t i = 0; i < count; i++) {
        char number[32];
        snprintf(number, sizeof number, "<token %u>", tokens[i]);
        const char *word = tokens[i] < dictionary->size ? dictionary->words[tokens[i]] : number;
        size_t word_length = strlen(word);
        text = reserve_array(text, &capacity, length + word_length + 2, 1);
        if (i)
            text[length++] = ' ';
        memcpy(text + length, word, word_length);
        length += word_length;
    }
    text[length] = '\0';
    return text;
}
