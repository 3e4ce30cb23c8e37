/*
 * Words and their numbers, from fairseq's dict.txt: a line a word, "word count";
 * the special symbols <s> <pad> </s> <unk> come first and are not in the file.
 */
#ifndef FFKV_DICTIONARY_H
#define FFKV_DICTIONARY_H

#include "model.h"
#include "stream.h"

struct dictionary {
    size_t size;       /* words, special symbols among them */
    char **words;      /* size */
    uint32_t unknown;  /* the number of words that are not listed */
    char id[HASH_CHARACTERS + 1]; /* hash of dict.txt, hexadecimal */
    struct dictionary_entry *index;
};

/*
 * Reads config.directory/dict.txt. A damaged file, or more words than the
 * model's vocabulary, ends the program.
 */
struct dictionary *dictionary_read(const struct model_config *config);

/* The same of a file of any name, for a vocabulary of that size with this unknown word. */
struct dictionary *dictionary_read_file(const char *path, size_t vocabulary, uint32_t unknown);
void dictionary_free(struct dictionary *dictionary);

/* The word's number, or dictionary->unknown. */
uint32_t dictionary_find(const struct dictionary *dictionary, const char *word, size_t length);

/* The text of a token; "<token N>" in buffer for one beyond the dictionary. */
const char *dictionary_word(const struct dictionary *dictionary, uint32_t token, char buffer[32]);

/* Ends the program unless the stream was made with this dictionary and its model's BOS. */
void dictionary_check(const struct dictionary *dictionary, const struct model_config *config,
                      const struct stream_reader *reader);

#endif
