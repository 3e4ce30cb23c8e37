/*
 * Reads the model files of SentencePiece (tokenizer.model): pieces, and how text becomes them. The format is
 * a message of protocol buffers, sentencepiece_model.proto of the SentencePiece project.
 */
#ifndef FFKV_SENTENCEPIECE_FILE_H
#define FFKV_SENTENCEPIECE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* tokenizer.ggml.token_type of GGUF files has the same numbers. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3,
    PIECE_USER_DEFINED = 4, /* a piece wherever its text is found */
    PIECE_UNUSED = 5,       /* merged, but not given out */
    PIECE_BYTE = 6,         /* <0xNN>: a byte of a character that is no piece */
};

struct piece {
    const char *bytes; /* not terminated; nothing checks that they are UTF-8 */
    size_t length;
    float score;
    enum piece_type type;
};

enum piece_model_kind { PIECE_MODEL_UNIGRAM = 1, PIECE_MODEL_BPE = 2 };

/* A model: of a file, or of a GGUF file's metadata. */
struct piece_model {
    enum piece_model_kind kind;
    struct piece *pieces; /* by id */
    size_t count;
    bool byte_fallback;   /* what is no piece becomes bytes, else the unknown piece */
    bool dummy_prefix;    /* white space is put before the text, */
    bool space_suffix;    /* or behind it, as pieces have it at their ends */
    bool remove_spaces;   /* at both ends, and all but one within */
    bool escape_spaces;   /* they become U+2581 */
    const char *charsmap; /* the table of replacements, of charsmap_length bytes; 0: none */
    size_t charsmap_length;
};

struct sentencepiece_file;

/* The file at path. One that is damaged, or that has what is not known here, ends the program. */
struct sentencepiece_file *sentencepiece_open(const char *path);
const struct piece_model *sentencepiece_model(const struct sentencepiece_file *file);
void sentencepiece_close(struct sentencepiece_file *file);

#endif
