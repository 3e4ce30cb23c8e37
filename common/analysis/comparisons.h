/*
 * What a model predicts without and with edits at the prefixes of one batch, and their record in a
 * stream of intervention's sums; ffkv-stream(5) defines it.
 */
#ifndef FFKV_COMPARISONS_H
#define FFKV_COMPARISONS_H

#include "stream/fields.h"
#include "stream/merging.h"
#include "stream/records.h"
#include "stream/stream_reader.h"

/* In pairs: of the plain model and of the edited one. */
enum { PLAIN, EDITED, SIDES };

struct comparisons {
    size_t count, capacity;
    size_t tokens;           /* that are compared: the next token, then those that were named */
    uint64_t *sentence;      /* count */
    uint32_t *position;      /* count: tokens of the prefix */
    uint32_t *next;          /* count */
    uint32_t *top[SIDES];    /* count: the most probable candidate */
    float *divergence;       /* count: sum of p log(p / q) over all tokens, of plain p and edited q */
    float *log_p[SIDES];     /* count x tokens */
    uint32_t *rank[SIDES];   /* count x tokens: as projection_rank has it */
};

/* Their record, which has at least one. */
extern const struct field comparisons_fields[];

/* Room for one more, which the caller fills: its index, and count is one more. */
size_t comparisons_add(struct comparisons *comparisons);
void comparisons_free(struct comparisons *comparisons);

/* The member of a header that lists the named tokens: of each the number and the text. */
#define NAMED_TOKENS "named_tokens"

/*
 * That list, of which the text is a string that holds as long as the header; what is no such list
 * ends the program. Returns how many there are; *tokens is the caller's to free.
 */
struct named_token {
    uint32_t token;
    const char *text;
};
size_t named_tokens_read(const struct stream_reader *reader, size_t vocabulary, struct named_token **tokens);

/* Reads and checks such a record, for a merge: a struct comparisons in memory of its own, and its end. */
struct listed comparisons_listed(const struct record *record, const struct model_shape *shape);
void comparisons_listed_free(void *comparisons);

#endif
