#include "text/sentencepiece.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/messages.h"
#include "text/byte_tokens.h"
#include "text/charsmap.h"
#include "text/score_bpe.h"
#include "text/token_display.h"
#include "text/trie.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { BYTES = 256 };

struct sentencepiece {
    char id[HASH_CHARACTERS + 1];
    struct vocabulary *vocabulary;
    enum piece_type *types;
    bool byte_fallback, dummy_prefix, space_suffix, remove_spaces, escape_spaces;
    struct unigram *unigram;    /* one of the two */
    struct score_bpe *bpe;
    struct charsmap *charsmap;  /* NULL: none */
    struct trie *user_defined;  /* pieces that are not normalized */
    char *normal;
    size_t length, capacity;
};

/* ---- making and freeing ---- */

/* The unknown piece, and in byte_tokens, of BYTES, those of bytes; what is missing ends the program. */
static uint32_t special_pieces(const struct sentencepiece *pieces, uint32_t *byte_tokens)
{
    const struct vocabulary *vocabulary = pieces->vocabulary;
    uint32_t unknown = NO_TOKEN;
    memset(byte_tokens, 0xff, BYTES * sizeof *byte_tokens);
    for (uint32_t i = 0; i < vocabulary->size; i++) {
        int byte = pieces->types[i] == PIECE_BYTE ? byte_token_value(vocabulary->tokens[i]) : 0;
        if (pieces->types[i] == PIECE_UNKNOWN && unknown != NO_TOKEN)
            die("%s: pieces %u and %u are both the unknown one", vocabulary->path, unknown, i);
        if (byte < 0)
            die("%s: piece %u is to be a byte, but its text is not <0xNN>", vocabulary->path, i);
        if (pieces->types[i] == PIECE_UNKNOWN)
            unknown = i;
        else if (pieces->types[i] == PIECE_BYTE)
            byte_tokens[byte] = i;
    }
    if (unknown == NO_TOKEN && !pieces->byte_fallback)
        die("%s: there is no unknown piece, and characters that are none do not become bytes",
            vocabulary->path);
    for (unsigned byte = 0; byte < BYTES && pieces->byte_fallback; byte++)
        if (byte_tokens[byte] == NO_TOKEN)
            die("%s: characters that are no piece are to become bytes, and there is no piece for byte 0x%02X",
                vocabulary->path, byte);
    return unknown;
}

/* A piece that the unigram model can choose. */
static bool is_chosen(enum piece_type type)
{
    return type == PIECE_NORMAL || type == PIECE_USER_DEFINED;
}

/*
 * The unigram model's scores. A user-defined piece is worth as much as the best piece for each of its
 * bytes, so that nothing is better.
 */
static struct unigram *make_unigram(const struct sentencepiece *pieces, const struct piece_model *model,
                                    uint32_t unknown, const uint32_t *byte_tokens)
{
    struct span *tokens = new_array(model->count, sizeof *tokens);
    double *scores = new_array(model->count, sizeof *scores);
    float least = FLT_MAX, most = FLT_MIN;
    for (size_t i = 0; i < model->count; i++)
        if (model->pieces[i].type == PIECE_NORMAL) {
            least = model->pieces[i].score < least ? model->pieces[i].score : least;
            most = model->pieces[i].score > most ? model->pieces[i].score : most;
        }
    for (size_t i = 0; i < model->count; i++) {
        const struct piece *piece = &model->pieces[i];
        scores[i] = piece->type == PIECE_USER_DEFINED ? (float)((float)piece->length * most - 0.1)
                                                      : piece->score;
        if (is_chosen(piece->type))
            tokens[i] = pieces->vocabulary->tokens[i];
    }
    const struct unigram_parts parts = {
        .path = pieces->vocabulary->path, .tokens = tokens, .scores = scores, .count = model->count,
        .unknown_score = (double)(least - UNIGRAM_PENALTY), .unknown = unknown,
        .byte_tokens = pieces->byte_fallback ? byte_tokens : NULL, .sentencepiece = true,
    };
    struct unigram *unigram = unigram_new(&parts);
    free(tokens);
    free(scores);
    return unigram;
}

static struct score_bpe *make_bpe(const struct sentencepiece *pieces, const struct piece_model *model,
                                  uint32_t unknown, const uint32_t *byte_tokens)
{
    const struct score_bpe_parts parts = {.vocabulary = pieces->vocabulary, .pieces = model->pieces,
                                          .unknown = unknown,
                                          .byte_tokens = pieces->byte_fallback ? byte_tokens : NULL};
    return score_bpe_new(&parts);
}

static void set_pieces(struct sentencepiece *pieces, const char *path, const struct piece_model *model)
{
    struct span *tokens = new_array(model->count, sizeof *tokens);
    struct trie_key *keys = new_array(model->count, sizeof *keys);
    size_t count = 0;
    pieces->types = new_array(model->count, sizeof *pieces->types);
    for (size_t i = 0; i < model->count; i++) {
        tokens[i] = (struct span){model->pieces[i].bytes, model->pieces[i].length};
        pieces->types[i] = model->pieces[i].type;
        if (pieces->types[i] == PIECE_USER_DEFINED)
            keys[count++] = (struct trie_key){tokens[i], (uint32_t)i};
    }
    pieces->vocabulary = vocabulary_new(path, tokens, model->count, NULL, 0);
    pieces->user_defined = trie_new(keys, count, path);
    free(tokens);
    free(keys);
}

static void set_id(struct sentencepiece *pieces, const struct piece_model *model)
{
    struct hash *hash = hash_new();
    const uint64_t sizes[] = {model->count, model->charsmap_length};
    const unsigned char settings[] = {(unsigned char)model->kind, model->byte_fallback, model->dummy_prefix,
                                      model->space_suffix, model->remove_spaces, model->escape_spaces};
    hash_add(hash, sizes, sizeof sizes);
    hash_add(hash, settings, sizeof settings);
    hash_add(hash, model->charsmap, model->charsmap_length);
    for (size_t i = 0; i < model->count; i++) {
        const struct piece *piece = &model->pieces[i];
        const uint32_t numbers[] = {(uint32_t)piece->length, (uint32_t)piece->type};
        hash_add(hash, numbers, sizeof numbers);
        hash_add(hash, &piece->score, sizeof piece->score);
        hash_add(hash, piece->bytes, piece->length);
    }
    hash_finish(hash, pieces->id);
}

struct sentencepiece *sentencepiece_new(const char *path, const struct piece_model *model)
{
    struct sentencepiece *pieces = new_array(1, sizeof *pieces);
    uint32_t byte_tokens[BYTES];
    pieces->byte_fallback = model->byte_fallback;
    pieces->dummy_prefix = model->dummy_prefix;
    pieces->space_suffix = model->space_suffix;
    pieces->remove_spaces = model->remove_spaces;
    pieces->escape_spaces = model->escape_spaces;
    if (model->charsmap_length)
        pieces->charsmap = charsmap_new((struct span){model->charsmap, model->charsmap_length}, path);
    set_pieces(pieces, path, model);
    uint32_t unknown = special_pieces(pieces, byte_tokens);
    if (model->kind == PIECE_MODEL_UNIGRAM)
        pieces->unigram = make_unigram(pieces, model, unknown, byte_tokens);
    else
        pieces->bpe = make_bpe(pieces, model, unknown, byte_tokens);
    set_id(pieces, model);
    return pieces;
}

struct sentencepiece *sentencepiece_read(const char *path)
{
    struct sentencepiece_file *file = sentencepiece_open(path);
    struct sentencepiece *pieces = sentencepiece_new(path, sentencepiece_model(file));
    sentencepiece_close(file);
    return pieces;
}

void sentencepiece_free(struct sentencepiece *pieces)
{
    if (pieces->unigram)
        unigram_free(pieces->unigram);
    if (pieces->bpe)
        score_bpe_free(pieces->bpe);
    if (pieces->charsmap)
        charsmap_free(pieces->charsmap);
    trie_free(pieces->user_defined);
    vocabulary_free(pieces->vocabulary);
    free(pieces->types);
    free(pieces->normal);
    free(pieces);
}

/* ---- normalizing ---- */

/* What text begins with and is normalized as one; how many bytes of it that is. */
static size_t normal_prefix(const struct sentencepiece *pieces, struct span text, struct span *normal)
{
    uint32_t piece;
    size_t length = trie_longest(pieces->user_defined, text, &piece);
    if (!length && pieces->charsmap) {
        length = charsmap_longest(pieces->charsmap, text, normal);
        if (length)
            return length;
    }
    if (!length)
        U8_FWD_1((const uint8_t *)text.bytes, length, text.length);
    *normal = (struct span){text.bytes, length};
    return length;
}

static struct span rest_of(struct span text, size_t used)
{
    return (struct span){text.bytes + used, text.length - used};
}

static bool begins_with_space(struct span text)
{
    return text.length && text.bytes[0] == ' ';
}

static void put(struct sentencepiece *pieces, struct span text)
{
    pieces->normal = reserve_array(pieces->normal, &pieces->capacity, pieces->length + text.length + 1, 1);
    memcpy(pieces->normal + pieces->length, text.bytes, text.length);
    pieces->length += text.length;
}

static struct span space_of(const struct sentencepiece *pieces)
{
    return pieces->escape_spaces ? piece_space : (struct span){" ", 1};
}

/* Adds text, whose spaces become what pieces have for them. */
static void put_escaped(struct sentencepiece *pieces, struct span text)
{
    while (text.length) {
        const char *space = memchr(text.bytes, ' ', text.length);
        size_t length = space ? (size_t)(space - text.bytes) : text.length;
        put(pieces, (struct span){text.bytes, length});
        if (space)
            put(pieces, space_of(pieces));
        text = rest_of(text, length + (space != NULL));
    }
}

static struct span without_spaces_before(const struct sentencepiece *pieces, struct span text)
{
    struct span normal;
    size_t length;
    while (text.length && (length = normal_prefix(pieces, text, &normal)) && normal.length == 1
           && normal.bytes[0] == ' ')
        text = rest_of(text, length);
    return text;
}

static void remove_spaces_behind(struct sentencepiece *pieces)
{
    struct span space = space_of(pieces);
    while (pieces->length >= space.length
           && !memcmp(pieces->normal + pieces->length - space.length, space.bytes, space.length))
        pieces->length -= space.length;
}

/* The text as pieces have it, which holds until the next call. */
static struct span normalize(struct sentencepiece *pieces, struct span text)
{
    bool after_space = pieces->remove_spaces;
    pieces->length = 0;
    if (pieces->remove_spaces)
        text = without_spaces_before(pieces, text);
    if (!text.length)
        return text;
    if (pieces->dummy_prefix && !pieces->space_suffix)
        put(pieces, space_of(pieces));
    while (text.length) {
        struct span normal;
        text = rest_of(text, normal_prefix(pieces, text, &normal));
        while (after_space && begins_with_space(normal))
            normal = rest_of(normal, 1);
        put_escaped(pieces, normal);
        if (normal.length)
            after_space = pieces->remove_spaces && normal.bytes[normal.length - 1] == ' ';
    }
    if (pieces->remove_spaces)
        remove_spaces_behind(pieces);
    if (pieces->dummy_prefix && pieces->space_suffix)
        put(pieces, space_of(pieces));
    return (struct span){pieces->normal, pieces->length};
}

/* ---- use ---- */

size_t sentencepiece_encode(struct sentencepiece *pieces, struct span text, uint32_t **tokens,
                            size_t *capacity)
{
    struct token_row row = {tokens, capacity, 0};
    if (text.length > MAX_ENCODED_BYTES)
        die("a text of %zu bytes; at most %d can be encoded at once", text.length, MAX_ENCODED_BYTES);
    if (!text_is_utf8(text))
        die("a text that is not UTF-8 cannot be encoded; convert it, for instance with iconv");
    struct span normal = normalize(pieces, text);
    token_row_add(&row, 0);
    if (pieces->unigram)
        unigram_encode(pieces->unigram, normal, &row);
    else
        score_bpe_encode(pieces->bpe, normal, &row);
    return row.count;
}

uint32_t sentencepiece_find(const struct sentencepiece *pieces, struct span text)
{
    return vocabulary_find(pieces->vocabulary, text);
}

bool sentencepiece_adds_space(const struct sentencepiece *pieces)
{
    return pieces->dummy_prefix;
}

const char *sentencepiece_kind(const struct sentencepiece *pieces)
{
    return pieces->bpe ? "SentencePiece's BPE" : "SentencePiece's unigram model";
}

size_t sentencepiece_size(const struct sentencepiece *pieces)
{
    return pieces->vocabulary->size;
}

bool sentencepiece_can_follow(const struct sentencepiece *pieces, uint32_t id)
{
    enum piece_type type = id < pieces->vocabulary->size ? pieces->types[id] : PIECE_UNUSED;
    return is_chosen(type) || type == (pieces->byte_fallback ? PIECE_BYTE : PIECE_UNKNOWN);
}

char *sentencepiece_bytes(const struct sentencepiece *pieces, const uint32_t *tokens, size_t count,
                          size_t *length)
{
    struct token_display display = {.byte_tokens = pieces->byte_fallback};
    if (pieces->escape_spaces)
        memcpy(display.mark, piece_space.bytes, piece_space.length);
    return token_display_row(&display, pieces->vocabulary, tokens, count, length);
}

char *sentencepiece_text(const struct sentencepiece *pieces, const uint32_t *tokens, size_t count)
{
    size_t length;
    char *bytes = sentencepiece_bytes(pieces, tokens, count, &length);
    char *text = token_display_escape((struct span){bytes, length});
    free(bytes);
    return text;
}

const char *sentencepiece_id(const struct sentencepiece *pieces)
{
    return pieces->id;
}
