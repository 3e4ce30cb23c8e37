#include "formats/sentencepiece_file.h"

#include "base/input.h"
#include "base/limits.h"
#include "base/messages.h"
#include "formats/sentencepiece_file.pb-c.h" /* of sentencepiece_file.proto; made by the Makefile */

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIECE_BYTES = 8000 }; /* SentencePiece takes no longer ones */

struct sentencepiece_file {
    PieceFile__Model *message;
    struct piece_model model;
};

/* ---- what is not known ---- */

/* Fields of trainer_spec that are of the training alone, or of reading tokens. */
static bool is_of_training(uint32_t field)
{
    return field <= 55 && field != 8 && field != 9 && !(field >= 27 && field <= 29)
        && !(field >= 37 && field <= 39);
}

static void check_fields(const char *path, const char *where, const ProtobufCMessage *message, bool training)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        uint32_t field = message->unknown_fields[i].tag;
        if (!training || !is_of_training(field))
            die("%s: %s has a field %u, which is not known to this program; it may change the tokens", path,
                where, field);
    }
}

/* tiktoken's files: lines of a token in base64 and its rank. */
static bool is_tiktoken(const char *bytes, size_t length)
{
    size_t at = 0;
    while (at < length && (isalnum((unsigned char)bytes[at]) || strchr("+/=", bytes[at])) && bytes[at])
        at++;
    size_t space = at;
    at += at && at < length && bytes[at] == ' ';
    while (at > space && at < length && isdigit((unsigned char)bytes[at]))
        at++;
    return at > space + 1 && at < length && bytes[at] == '\n';
}

static PieceFile__Model *read_message(const char *path)
{
    size_t length;
    char *bytes = input_read_all(path, "tokenizer's", &length);
    if (is_tiktoken(bytes, length))
        die("%s: this is a file of tiktoken, which this program does not read; transformers' "
            "AutoTokenizer.from_pretrained and save_pretrained write what it has as tokenizer.json",
            path);
    PieceFile__Model *message = piece_file__model__unpack(NULL, length, (const uint8_t *)bytes);
    free(bytes);
    if (!message || !message->n_pieces)
        die("%s: this is no model of SentencePiece, or a damaged one", path);
    return message;
}

/* ---- its parts ---- */

static void read_trainer(const char *path, const PieceFile__Trainer *trainer, struct piece_model *model)
{
    static const PieceFile__Trainer none = PIECE_FILE__TRAINER__INIT;
    trainer = trainer ? trainer : &none;
    check_fields(path, "trainer_spec", &trainer->base, true);
    switch (trainer->model_type) {
    case PIECE_FILE__TRAINER__KIND__UNIGRAM:
        model->kind = PIECE_MODEL_UNIGRAM;
        break;
    case PIECE_FILE__TRAINER__KIND__BPE:
        model->kind = PIECE_MODEL_BPE;
        break;
    default:
        die("%s: the model_type is %s; this program knows UNIGRAM and BPE", path,
            trainer->model_type == PIECE_FILE__TRAINER__KIND__WORD   ? "WORD"
            : trainer->model_type == PIECE_FILE__TRAINER__KIND__CHAR ? "CHAR" : "a newer one");
    }
    model->byte_fallback = trainer->byte_fallback;
    model->space_suffix = trainer->treat_whitespace_as_suffix;
}

static void read_normalizer(const char *path, const PieceFile__Normalizer *normalizer,
                            struct piece_model *model)
{
    static const PieceFile__Normalizer none = PIECE_FILE__NORMALIZER__INIT;
    normalizer = normalizer ? normalizer : &none;
    check_fields(path, "normalizer_spec", &normalizer->base, false);
    model->dummy_prefix = normalizer->add_dummy_prefix;
    model->remove_spaces = normalizer->remove_extra_whitespaces;
    model->escape_spaces = normalizer->escape_whitespaces;
    model->charsmap = (const char *)normalizer->precompiled_charsmap.data;
    model->charsmap_length = normalizer->precompiled_charsmap.len;
}

static struct piece read_piece(const char *path, size_t id, const PieceFile__Piece *piece)
{
    struct piece read = {(const char *)piece->piece.data, piece->piece.len, piece->score,
                         (enum piece_type)piece->type};
    check_fields(path, "a piece", &piece->base, false);
    if (read.length == 0 || read.length >= MAX_PIECE_BYTES || memchr(read.bytes, 0, read.length))
        die("%s: piece %zu has %zu bytes, or a NUL among them; 1 to %d others are possible", path, id,
            read.length, MAX_PIECE_BYTES - 1);
    if (!isfinite(read.score))
        die("%s: the score of piece %zu is no number", path, id);
    if (read.type < PIECE_NORMAL || read.type > PIECE_BYTE)
        die("%s: piece %zu is of type %d, which is not known to this program", path, id, (int)read.type);
    return read;
}

struct sentencepiece_file *sentencepiece_open(const char *path)
{
    struct sentencepiece_file *file = new_array(1, sizeof *file);
    const PieceFile__Model *message = file->message = read_message(path);
    struct piece_model *model = &file->model;
    check_fields(path, "the model", &message->base, false);
    if (message->n_pieces > MAX_TOKENIZER_TOKENS)
        die("%s: %zu pieces; at most %d are possible", path, message->n_pieces, MAX_TOKENIZER_TOKENS);
    read_trainer(path, message->trainer_spec, model);
    read_normalizer(path, message->normalizer_spec, model);
    model->count = message->n_pieces;
    model->pieces = new_array(model->count, sizeof *model->pieces);
    for (size_t i = 0; i < model->count; i++)
        model->pieces[i] = read_piece(path, i, message->pieces[i]);
    return file;
}

const struct piece_model *sentencepiece_model(const struct sentencepiece_file *file)
{
    return &file->model;
}

void sentencepiece_close(struct sentencepiece_file *file)
{
    piece_file__model__free_unpacked(file->message, NULL);
    free(file->model.pieces);
    free(file);
}
