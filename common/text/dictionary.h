/*
 * Words and their numbers, from fairseq's dict.txt: a line a word, "word count";
 * the special symbols <s> <pad> </s> <unk> come first and are not in the file.
 */
#ifndef FFKV_DICTIONARY_H
#define FFKV_DICTIONARY_H

#include "base/hash.h"
#include "model/config.h"

#include <stdbool.h>

struct dictionary {
    size_t size;       /* words, special symbols among them */
    char **words;      /* size */
    bool *filler;      /* size: words that no text has, which make the size a round number */
    uint32_t unknown;  /* the number of words that are not listed */
    char id[HASH_CHARACTERS + 1]; /* hash of dict.txt, hexadecimal */
    struct dictionary_entry *index;
};

/*
 * Reads config.path/dict.txt. A damaged file, one that does not have the sum that
 * its directory lists, or more or fewer words than the model's vocabulary end the
 * program.
 */
struct dictionary *dictionary_read(const struct model_config *config);

/* The same of a file of any name, for a vocabulary of that size with this unknown word. */
struct dictionary *dictionary_read_file(const char *path, size_t vocabulary, uint32_t unknown);
void dictionary_free(struct dictionary *dictionary);

/* The word's number, or dictionary->unknown. */
uint32_t dictionary_find(const struct dictionary *dictionary, const char *word, size_t length);

/* Whether a text can have the token: it is no filler and, but for the unknown word, no special symbol. */
bool dictionary_can_follow(const struct dictionary *dictionary, uint32_t token);

/* The words of tokens with blanks between; "<token N>" for one beyond the dictionary. The caller frees it. */
char *dictionary_text(const struct dictionary *dictionary, const uint32_t *tokens, size_t count);

#endif
