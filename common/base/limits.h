/*
 * What is read from outside may have at most so much: what is more ends the program, with a message that
 * names the limit. They bound memory, keep products of sizes far from overflow, and are more than texts and
 * models have. What only one file format has, or one option, is bounded where it is read.
 *
 * ffkv(7), Limits, has the same list: a test compares the two, word by word.
 */
#ifndef FFKV_LIMITS_H
#define FFKV_LIMITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    MAX_SENTENCE_TOKENS = 65535,    /* tokens of a sentence */
    MAX_SENTENCE_BYTES = 1 << 26,   /* bytes of a line, or of a sentence of raw text */
    MAX_BATCH_POSITIONS = 1 << 20,  /* positions of a batch */
    MAX_SAMPLE_SENTENCES = 1 << 28, /* sentences of a sample */
    MAX_PROMPT_BYTES = 1 << 20,     /* bytes of a prompt that generate goes on with */
    MAX_SHARDS = 999999999,         /* shards of a division */
    MAX_PROGRESSIONS = 4096,        /* ranges of batches, or of blocks of keys, that merged streams have */

    MAX_LAYERS = 4096,              /* layers of a model */
    MAX_WIDTH = 1 << 20,            /* cells, dimensions, or heads of a layer */
    MAX_EXPERTS = 4096,             /* experts of a layer */
    MAX_VOCABULARY = 1 << 26,       /* tokens of a vocabulary */
    MAX_STREAM_SIZE = 1 << 26,      /* layers, or cells of a layer, of a stream or of annotations */
    MAX_WEIGHT_FILES = 1000,        /* files that a model's weights are in */

    MAX_TOKENIZER_TOKENS = 1 << 22, /* tokens, pieces, or merges of a tokenizer */
    MAX_ADDED_BYTES = 1024,         /* bytes of an added token */
    MAX_ENCODED_BYTES = (1 << 28) - 1, /* bytes of a text that is encoded at once */

    MAX_TRIGGERS = 1 << 24,         /* triggers of a list of a key */
    MAX_FOLLOWING = 1000,           /* tokens behind a trigger's next one */
    MAX_LISTED_TOKENS = 1 << 16,    /* most, or least, probable tokens that are listed of a value */
    MAX_RANKED_VALUES = 1 << 28,    /* values that are listed of a token */
    MAX_READERS = 200,              /* readers whose annotations are compared */
    MAX_THREADS = 64,               /* threads */

    MAX_FILE_BYTES = 1 << 26,       /* bytes of a settings file, a dictionary, or a table */
    MAX_JSON_VALUES = 1 << 22,      /* values of a JSON file */
    MAX_FIELDS = 1000,              /* fields of a row of a table */
    MAX_EDITS = 1 << 16,            /* edits of cells */

    MAX_HEADER_BYTES = 1 << 23,     /* bytes of a stream's header; of a record beside its arrays */
    MAX_STRING_BYTES = 1 << 16,     /* bytes of a string in a stream, such as a name */
    MAX_ARRAY_BYTES = UINT32_MAX / 8, /* bytes of an array in a stream */
    MAX_NESTING = 15,               /* levels of maps and lists in a stream */
    MAX_ITEMS = 1 << 20,            /* items of all maps and lists of a record */
    MAX_MEMBERS = 256,              /* members of a header, record or trailer */
};

#define MAX_OBJECT_BYTES ((size_t)UINT32_MAX) /* bytes of a header, record or trailer */
#define MAX_COUNT ((uint64_t)1 << 48)         /* of each count, of tokens for example */

#endif
