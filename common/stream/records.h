/* The records of each kind of stream; ffkv-stream(5) defines them. */
#ifndef FFKV_RECORDS_H
#define FFKV_RECORDS_H

#include "base/hash.h"
#include "base/limits.h"
#include "stream/coefficient_bins.h"
#include "stream/fields.h"
#include "stream/no_token.h"
#include "stream/ranks.h"
#include "stream/stream_reader.h"
#include "stream/sums.h"

/* Sentences in the order of the corpus: the unit of work. */
struct batch {
    uint64_t id;        /* the number of the first sentence in the corpus, from 0 */
    size_t sentences, tokens;
    uint64_t *sentence; /* sentences: each one's number; NULL: they follow each other from id on */
    uint32_t *length;   /* sentences: tokens of each, at least 1 */
    uint32_t *token;    /* tokens: w_1 .. w_n of all sentences in a row, without BOS */
    uint32_t bos;       /* the header's: read before each sentence; NO_TOKEN: nothing is */
};

/* A tokens record. BATCH_NUMBERED: the sentences' numbers, which batches of a sample have. */
enum { BATCH_NUMBERED = 1 };
extern const struct field batch_fields[];

/* Adds all of it to what names a text: batches of the same sentences have the same hash. */
void batch_hash(const struct batch *batch, struct hash *hash);

/* Which groups a batch has. */
unsigned batch_groups(const struct batch *batch);

/* Unpacks and checks a tokens record; token ids, the header's BOS too, must be below vocabulary. */
struct batch batch_read(const struct record *record, size_t vocabulary);
void batch_free(struct batch *batch);

/*
 * The lowest position of the batch's sentences: 0, where BOS alone has been read, or, in a model without BOS,
 * 1: the prefix there is the sentence's first token, and there is none before it.
 */
static inline uint32_t batch_lowest(const struct batch *batch)
{
    return batch->bos == NO_TOKEN;
}

/* How many positions sentence s has, from the lowest to its length - 1, and all sentences have. */
static inline size_t sentence_positions(const struct batch *batch, size_t s)
{
    return batch->length[s] - batch_lowest(batch);
}

static inline size_t batch_positions(const struct batch *batch)
{
    return batch->tokens - batch_lowest(batch) * batch->sentences; /* a sentence has a token at least */
}

/* The token that is read at a position of the sentence whose tokens these are: the prefix's last, or BOS. */
static inline uint32_t read_token(const struct batch *batch, const uint32_t *tokens, size_t position)
{
    return position ? tokens[position - 1] : batch->bos;
}

/* The number in the corpus of the batch's sentence s. */
uint64_t batch_sentence(const struct batch *batch, size_t s);

/* Room for so many sentences and tokens, in a batch that is being filled. */
struct batch_capacity {
    size_t sentences, tokens;
};
void batch_reserve(struct batch *batch, unsigned groups, struct batch_capacity *capacity, size_t sentences,
                   size_t tokens);

/* What a header says of the model, for readers that are not given the model. */
struct model_shape {
    size_t layers, d_model, d_ff, vocabulary;
    size_t experts; /* of a layer that has some; 0: none has */
};

struct model_shape shape_read(const struct stream_reader *reader);

/* Whether not all positions are counted for each cell: signs are not, where a cell's expert is not chosen. */
bool counted_in_part(const struct model_shape *shape, enum counted kind);

/* Where the sentence has ended before so many tokens. */
#define NO_FOLLOWING UINT32_MAX

/* A key with its triggers: prefixes, best first. */
struct key_triggers {
    size_t layer, cell;
    size_t lists, list; /* of each key of the stream, and which one this is, from 0 */
    size_t count;
    float *coefficient; /* count */
    uint64_t *sentence; /* count */
    uint32_t *position; /* count: tokens of the prefix */
    uint32_t *next;     /* count: the token behind the prefix */
    uint32_t *prefix;   /* sum of position: the prefixes' tokens in a row */
    size_t prefix_tokens;
    size_t following_tokens; /* 0, and the next NULL, unless they were asked for */
    uint32_t *following;     /* count x following_tokens: those behind the next token, then NO_FOLLOWING */
    float *prefix_coefficient; /* prefix_tokens: the key's at each token; NULL unless they were asked for */
    struct histogram counted[COUNTED_KINDS]; /* over the corpus: coefficient_bins.h; no bins: not asked for */

    /* What project-values adds; top NULL before that. */
    size_t tops;
    uint32_t *top;           /* tops: the value's most probable tokens, best first */
    float *top_probability;  /* tops */
    size_t bottoms;          /* 0, and the two NULL, unless they were asked for */
    uint32_t *bottom;        /* bottoms: its least probable tokens, the last one of all first */
    float *bottom_probability; /* bottoms */
    uint32_t *next_rank;     /* count: of the next token in the value's distribution, from 1 */
    float *next_probability; /* count */
    uint32_t *last_rank;     /* count: of the prefix's last token (BOS for an empty prefix) */
    float *last_probability; /* count */
};

/*
 * A key's record: its triggers, what follows them, the coefficients along their prefixes, and how often its
 * coefficients occur in the corpus, by each kind of bins; the tokens that its value promotes, with
 * the least probable ones; and the triggers' tokens among those. A value's record has the same
 * without triggers. Where a key has several lists of triggers, each has a record, with its number, and
 * the first one of a key has the counts.
 */
enum {
    KEY_TRIGGERS = 1, KEY_TOPS = 2, KEY_BOTTOMS = 4, KEY_RANKS = 8, KEY_FOLLOWING = 16,
    KEY_PREFIX_COEFFICIENTS = 32, KEY_LIST = 64,
    KEY_COUNTED = 128 /* and, of further kinds, the next bits */
};
extern const struct field key_fields[];

/* The arrays of bins of its counts, by kind. */
extern const char *const counted_bin_arrays[];

/* Which groups a key has. */
unsigned key_triggers_groups(const struct key_triggers *key);
void key_triggers_free(struct key_triggers *key);

/* Whether it may be one in a stream: exp of a rounded logarithm may lie above 1 by a little. */
bool is_probability(float p);

/* How often each token occurs: the record behind the last key. */
struct token_counts {
    size_t vocabulary;
    uint64_t *count; /* vocabulary */
};
extern const struct field token_counts_fields[];

/* Ends the program unless each is at most MAX_COUNT. */
void token_counts_check(const struct record *record, const struct token_counts *counts);

/* Whether they are equal, or neither has any. */
bool token_counts_equal(const struct token_counts *a, const struct token_counts *b);

/* Ends the program: a shard of keys has other counts than the first, though all are of one text. */
_Noreturn void token_counts_fail(const struct stream_reader *reader);

/* ---- prefixes ---- */

/* A walk over prefixes whose tokens lie in a row, as those of a key's triggers do. */
struct prefix_walk {
    size_t index;          /* of the prefix */
    const uint32_t *token; /* its tokens */
    size_t length;         /* how many these are */
    const uint32_t *lengths; /* count */
    size_t count;
};

/* Before the first of count prefixes of these lengths. */
struct prefix_walk prefixes_walk(const uint32_t *lengths, const uint32_t *tokens, size_t count);

/* Before the first of a key's count best triggers. */
struct prefix_walk key_prefixes(const struct key_triggers *key, size_t count);

/* How many tokens there are behind the next one of a trigger. */
size_t following_length(const struct key_triggers *key, size_t trigger);

/* The key's coefficients along the prefix of a walk over its triggers; NULL: it has none. */
const float *prefix_coefficients(const struct key_triggers *key, const struct prefix_walk *walk);

/* True: the walk is at the next one. False: the end. */
bool prefix_next(struct prefix_walk *walk);

/* The last token of the prefix; where it is empty the stream's BOS, which there is then. */
uint32_t prefix_last(const struct prefix_walk *walk, uint32_t bos);

/* The kinds of counts that a stream's keys have, a bit a kind: by the header's arrays. */
unsigned header_counted(const struct stream_reader *reader);

/* Gives a key histograms for these kinds. */
void key_counted_new(struct key_triggers *key, unsigned counted);

/* In the corpus, by the counts of the first key, once they are known. */
struct key_positions {
    uint64_t count;
    bool known;
};

/* All keys have coefficients at the same positions, of which a kind of counts has all, or a part. */
void key_positions_check(const struct stream_reader *reader, const struct model_shape *shape,
                         struct key_positions *positions, const struct key_triggers *key);

/* Reads the records of a triggers stream: keys by layer, then cell, then list, then perhaps the counts. */
struct triggers_reader {
    struct stream_reader *stream;
    struct model_shape shape;
    size_t keys, top;         /* in the stream, and triggers that a list may have: the header's words */
    size_t following;         /* likewise: tokens behind each trigger's next one; 0: none */
    bool prefix_coefficients; /* keys have the coefficients along their triggers' prefixes, */
    unsigned counted;         /* and how often their coefficients occur: a bit a kind; the header's arrays */
    struct key_positions positions;
    struct ranks ranks;       /* of each key's lists */
    size_t chosen;            /* the one of them that is given; ranks.count: all */
    uint32_t bos;             /* the header's; NO_TOKEN: none, and then no prefix is empty */
    size_t seen;              /* keys read so far */
    size_t next_list;         /* of the key that was begun: the list that must come next; 0: a new key */
    uint64_t next_record;     /* lowest number, as key_record has it, that may come next */
    bool is_part;             /* a shard of the header's keys and lists is enough */
    struct token_counts token_counts; /* count NULL until, or unless, they were read */
};

/* The stream, of kind triggers, stays the caller's. All lists of the keys are given. */
struct triggers_reader triggers_open(struct stream_reader *stream);

/*
 * The same for what takes one list of each key: that of this name, or, with NULL, the only one. A stream that
 * does not have it, or has several of which none is named, ends the program.
 */
struct triggers_reader triggers_open_list(struct stream_reader *stream, const char *list);

/* The same for what only asks how often coefficients occur: of each key the list that has the counts. */
struct triggers_reader triggers_open_first(struct stream_reader *stream);

/* The same of a shard of the keys, which may have some of a key's lists only. All that it has are given. */
struct triggers_reader triggers_open_part(struct stream_reader *stream);

/* The place of a key's list among those of all keys that a model of this d_ff may have. */
uint64_t key_record(const struct key_triggers *key, size_t d_ff);

/* "layer 3 cell 17", for messages, of the key whose number is layer * d_ff + cell; the caller frees it. */
char *key_name(uint64_t number, size_t d_ff);

/* Adds to a stage's options the list that was taken, where there are several. */
void options_set_list(json_t *options, const struct triggers_reader *reader);

/* The rank of a key's list. */
enum rank triggers_rank(const struct triggers_reader *reader, const struct key_triggers *key);

/* True: key holds the next one; free with key_triggers_free. False: the end. */
bool triggers_next(struct triggers_reader *reader, struct key_triggers *key);
void triggers_close(struct triggers_reader *reader);

#endif
