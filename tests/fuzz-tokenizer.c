/*
 * A fuzzer of what reads subword tokenizers: a folder with tokenizer.json, or
 * vocab.json and merges.txt, and the settings beside them; encodes the lines of a
 * file "text" there, or what a file "raw" has, and reads the tokens.
 */
#include "fuzz.h"
#include "model/families.h"
#include "text/character_edits.h"
#include "text/normal_form.h"
#include "text/pretokenize.h"
#include "text/text.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VOCABULARY = 1 << 12 };

static void encode(struct tokenizer *tokenizer, struct text_reader *reader)
{
    uint32_t *tokens = NULL;
    size_t capacity = 0;
    struct span sentence;
    while (text_next(reader, &sentence)) {
        size_t count = tokenizer_encode(tokenizer, reader, sentence, &tokens, &capacity);
        for (size_t i = 0; i < count; i++)
            if (tokens[i] >= VOCABULARY)
                abort();
        free(tokenizer_text(tokenizer, tokens, count));
    }
    free(tokens);
}

static void read_folder(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"tokenizer.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "special_tokens_map.json",
                                        "tokenizer_config.json",
                                        "added_tokens.json",
                                        "config.json",
                                        "text",
                                        "raw",
                                        NULL};
    char folder[4096], raw[5000], text[5000];
    fuzz_files(bytes, size, names);
    snprintf(raw, sizeof raw, "%s/raw", strcpy(folder, fuzz_folder()));
    snprintf(text, sizeof text, "%s/text", folder);
    struct model_config config = {.path = folder,
                                  .family = family_find("llama"),
                                  .vocabulary = VOCABULARY,
                                  .unknown = NO_TOKEN};
    struct tokenizer *tokenizer = tokenizer_read(&config);
    struct text_reader *reader = access(raw, F_OK) == 0 ? text_open(raw, TEXT_RAW, "en")
                                                        : text_open(text, TEXT_LINES, NULL);
    encode(tokenizer, reader);
    text_close(reader);
    tokenizer_free(tokenizer);
}

/* ICU keeps what it has read of its tables. */
static void prepare(void)
{
    static const char accented[] = "e\xcc\x81";
    for (int form = FORM_C; form <= FORM_KD; form++) {
        struct form_writer *writer = form_writer_new((enum normal_form)form);
        form_write(writer, (struct span){accented, sizeof accented - 1});
        form_writer_free(writer);
    }
    for (int edit = EDIT_LOWERCASE; edit <= EDIT_BERT_STRIP_ACCENTS; edit++)
        character_editor_free(character_editor_new((enum character_edit)edit));
    struct pretokenizer *pretokenizer = pretokenizer_new();
    for (int set = SET_SPACES; set <= SET_PUNCTUATION; set++)
        pretokenizer_add(pretokenizer, (struct split_rule){.set = (enum split_set)set});
    pretokenizer_free(pretokenizer);

    static const char sentences[] = "He saw Mr. Lee. He ran.";
    struct span sentence;
    struct text_reader *reader =
        text_open(fuzz_file("raw", (const uint8_t *)sentences, sizeof sentences - 1), TEXT_RAW, "en");
    while (text_next(reader, &sentence))
        continue;
    text_close(reader);
}

const struct fuzzer fuzzer = {read_folder, prepare, 1 << 23, 64}; /* BPE has a cache of 4 MiB */
