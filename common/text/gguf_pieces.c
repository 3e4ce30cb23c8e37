/* SentencePiece's models in GGUF files. */
#include "text/gguf_tokenizer.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

/* The metadata that say how text becomes pieces. */
static const char space_prefix[] = "tokenizer.ggml.add_space_prefix",
                  removed_spaces[] = "tokenizer.ggml.remove_extra_whitespaces",
                  escaped_spaces[] = "tokenizer.ggml.escape_whitespaces",
                  charsmap[] = "tokenizer.ggml.precompiled_charsmap";

static bool setting(const struct gguf *file, const char *key, bool otherwise)
{
    return gguf_has_key(file, key) ? gguf_bool(file, key) : otherwise;
}

static void check_count(const char *path, const char *key, size_t count, size_t pieces)
{
    if (count != pieces)
        die("%s: %s has %zu elements for %zu tokens", path, key, count, pieces);
}

/* The caller frees the array; the texts are the file's. */
static void read_pieces(const struct gguf *file, const char *path, struct piece_model *model)
{
    static const char scores_key[] = "tokenizer.ggml.scores", types_key[] = "tokenizer.ggml.token_type";
    size_t score_count, type_count;
    struct gguf_text *texts = gguf_texts(file, "tokenizer.ggml.tokens", &model->count);
    float *scores = gguf_floats(file, scores_key, &score_count);
    int64_t *types = gguf_ints(file, types_key, &type_count);
    check_count(path, scores_key, score_count, model->count);
    check_count(path, types_key, type_count, model->count);
    model->pieces = new_array(model->count, sizeof *model->pieces);
    for (size_t i = 0; i < model->count; i++) {
        if (types[i] < PIECE_NORMAL || types[i] > PIECE_BYTE)
            die("%s: %s: token %zu is of type %lld, which is not known", path, types_key, i,
                (long long)types[i]);
        if (!texts[i].length)
            die("%s: token %zu has no text", path, i);
        model->pieces[i] =
            (struct piece){texts[i].bytes, texts[i].length, scores[i], (enum piece_type)types[i]};
        model->byte_fallback = model->byte_fallback || types[i] == PIECE_BYTE;
    }
    free(texts);
    free(scores);
    free(types);
}

/* The table of replacements, which the caller frees; NULL: there is none. */
static char *read_charsmap(const struct gguf *file, const char *path, struct piece_model *model)
{
    if (!gguf_has_key(file, charsmap))
        return NULL;
    int64_t *numbers = gguf_ints(file, charsmap, &model->charsmap_length);
    char *table = new_array(model->charsmap_length, 1);
    for (size_t i = 0; i < model->charsmap_length; i++) {
        if (numbers[i] < INT8_MIN || numbers[i] > UINT8_MAX)
            die("%s: %s has %lld, which is no byte", path, charsmap, (long long)numbers[i]);
        table[i] = (char)numbers[i];
    }
    free(numbers);
    model->charsmap = table;
    return table;
}

struct sentencepiece *gguf_pieces(const struct gguf *file, const char *path, enum piece_model_kind kind)
{
    static const char *const read[] = {space_prefix, removed_spaces, escaped_spaces, charsmap, NULL};
    gguf_check_tokenizer_keys(file, path, read);
    struct piece_model model = {
        .kind = kind,
        .dummy_prefix = setting(file, space_prefix, true),
        .remove_spaces = setting(file, removed_spaces, false),
        .escape_spaces = setting(file, escaped_spaces, true),
    };
    read_pieces(file, path, &model);
    char *table = read_charsmap(file, path, &model);
    struct sentencepiece *pieces = sentencepiece_new(path, &model);
    free(table);
    free(model.pieces);
    return pieces;
}
