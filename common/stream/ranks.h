/*
 * What makes one coefficient a better trigger than another. Where the activation is ReLU the first
 * is the paper's; gated and GELU layers have negative ones too. In a gated layer m = f(x.g)(x.u), where
 * gate x.g and input x.u (also called the up projection) are each positive or not: four combinations
 * of signs, each of which has a rank of its own.
 */
#ifndef FFKV_RANKS_H
#define FFKV_RANKS_H

#include "stream/stream_reader.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* gate+input+, gate+input-, gate-input+, gate-input-; what is not above 0 counts as negative. */
enum { SIGNS = 4 };

/* The combination of a gate's and an input's sign, from 0 to SIGNS - 1. */
static inline uint8_t signs_of(float gate, float input)
{
    return (uint8_t)(2 * !(gate > 0) + !(input > 0));
}

/* In place of a combination: the cell is one of an expert that is not chosen, and was not computed. */
enum { NO_SIGNS = SIGNS };

/* Of count gates and inputs. */
void find_signs(const float *gate, const float *input, size_t count, uint8_t *signs);

enum rank {
    RANK_VALUE, RANK_ABS, RANK_MIN,
    RANK_SIGNS, /* the first combination of signs; the others follow */
    RANKS = RANK_SIGNS + SIGNS
};
extern const char *const rank_words[]; /* "value", "abs", "min", NULL: those that take no signs */
extern const char *const list_words[]; /* those of all ranks, as streams call them, NULL */
extern const char *const sign_words[]; /* those of the combinations, NULL */

/* Options of tools that find several lists: rank_words, and "signs" for the four combinations; NULL. */
extern const char *const ranks_option_words[];

/*
 * Whether the best coefficients of a rank are negative. f(x) has the sign of x, or is 0, with each
 * activation there is, so m = f(g)u has that of g u.
 */
static inline bool rank_is_negative(enum rank rank)
{
    return (1u << RANK_MIN | 1u << (RANK_SIGNS + 1) | 1u << (RANK_SIGNS + 2)) >> rank & 1;
}

/*
 * The larger the better: the coefficient, its absolute value, or its negative. Of a combination of signs:
 * that of a coefficient which has these signs.
 */
static inline float rank_score(enum rank rank, float coefficient)
{
    return rank == RANK_ABS ? fabsf(coefficient) : rank_is_negative(rank) ? -coefficient : coefficient;
}

/* The lists of triggers that each key has: a rank each, rising, one at least. */
struct ranks {
    size_t count;
    enum rank rank[RANKS];
};

/* From the bits of an option with ranks_option_words; none: value. */
struct ranks ranks_chosen(unsigned bits);

/* Whether one of them is of a combination of signs. */
bool ranks_have_signs(const struct ranks *ranks);

/* The index of a rank; ranks->count: it is not there. */
size_t ranks_find(const struct ranks *ranks, enum rank rank);

/* As headers have them: the word of one, a list of the words of several. */
json_t *ranks_json(const struct ranks *ranks);

/* The words of all, with commas, for messages and options; the caller frees them. */
char *ranks_text(const struct ranks *ranks);

/* The header's rank; RANK_VALUE where it names none. */
struct ranks header_ranks(const struct stream_reader *reader);

#endif
