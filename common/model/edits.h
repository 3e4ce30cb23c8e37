/*
 * Interventions: coefficients that are removed, set, scaled or added to, between
 * forward_coefficients and forward_values of forward.h, so that all later layers see the
 * edited memory. An edit knows layers, cells and values only.
 *
 * LAYER:CELLS=VALUE. LAYER counts from 1. CELLS, from 0, are one, N; a range, N-M; or all, *.
 * VALUE is a number, which the coefficient is set to; *N, which it is multiplied by; or +N,
 * which is added to it. What removals.h removes by a rule is chosen behind these.
 */
#ifndef FFKV_EDITS_H
#define FFKV_EDITS_H

#include "base/cli.h"
#include "model/model.h"
#include "model/removals.h"
#include "stream/stream_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At which positions: every one, or each sentence's last. */
enum edit_at { EDIT_ALL, EDIT_LAST };
extern const char *const edit_at_words[]; /* "all", "last", NULL */

struct edit_options {
    struct option_texts edits; /* edits, separated by commas */
    struct option_texts removed; /* the same of removals.h */
    const char *values;        /* a stream of values, for removals that ask for them; or NULL */
    const char *file;          /* of lines of such edits, with comments from # on */
    const char *where;         /* a condition, [|m|] > T, >=, < or <=; NULL: none */
    int at;
};

/* Their rows of the table of options. */
#define OPTIONS_EDITS(options)                                                                          \
    {0, "edit", "LIST",                                                                                 \
     "change coefficients: 3:7=0 (layer:cells=value), 4:10-20=*2, 5:*=+0.5; may be repeated",           \
     OPTION_TEXTS, &(options)->edits, 0, 0, NULL},                                                      \
    {0, "edits", "FILE", "the same from FILE, a line or more of them; # begins a comment", OPTION_IN,   \
     &(options)->file, 0, 0, NULL},                                                                     \
    {0, "remove", "LIST",                                                                               \
     "remove at each position memories that contribute most, of all (3:top=10) or of those that agree " \
     "with the prediction (3:agreeing=10), or random ones (*:random=10)", OPTION_TEXTS,                 \
     &(options)->removed, 0, 0, NULL},                                                                  \
    {0, "values", "FILE", "of agreeing: each value's tokens, from project-values --all", OPTION_IN,     \
     &(options)->values, 0, 0, NULL},                                                                   \
    {0, "edit-at", "WHICH",                                                                             \
     "edit at all positions (default), or the last: of each sentence, or the random one",               \
     OPTION_CHOICE, &(options)->at, 0, 0, edit_at_words},                                               \
    {0, "edit-where", "TEST", "edit only coefficients that pass: '>T', '>=T', '<T', '<=T', '|m|>T'",    \
     OPTION_TEXT, &(options)->where, 0, 0, NULL}

struct edits;

/*
 * NULL: there are none; seed is that of random removals. What is malformed, not finite, or of a layer or
 * cell that the model does not have ends the program with status 2, in a file with status 1; so does a
 * cell that is edited twice, with 2. edits_free frees what the options were parsed to, too.
 */
struct edits *edits_read(const struct edit_options *options, const struct model *model, uint64_t seed);
void edits_free(struct edits *edits, struct edit_options *options);

/* Whether text is what may stand behind an edit's equals sign. */
bool is_edit_value(const char *text);

/* See removals.h; candidates are those of predictions and values. */
bool edits_need_predictions(const struct edits *edits);
void edits_read_values(struct edits *edits, const char *path, const struct model *model,
                       const struct candidates *candidates);

/* At which positions these are made; of the layers that they are in, the last. */
enum edit_at edits_at(const struct edits *edits);
size_t edits_last_layer(const struct edits *edits);

/*
 * Makes a layer's edits in coefficient (positions x d_ff), in these rows. A coefficient that keeps its
 * value keeps its bytes. One that is no longer finite ends the program.
 */
void edits_apply(const struct edits *edits, size_t layer, const struct edited_rows *rows, float *coefficient);

/* The member of a header, and of its stage's options. */
#define EDITS_MEMBER "edits"

/*
 * Says in a header which edits its stream was made with, as ffkv-stream(5) has them, and in the
 * options of its stage a hash of them.
 */
void header_set_edits(json_t *header, json_t *options, const struct edits *edits);

/*
 * Ends the program where the stream was made with edits and not with these, which may be NULL; if
 * needed also where it was made without any.
 */
void header_check_edits(const struct stream_reader *reader, const struct edits *edits, bool needed);

/* A copy of the member that says a stream's edits, which the caller gives up; NULL: it has none. */
json_t *header_edits(const struct stream_reader *reader);

/* Ends the program where the stream was not made with these; whose: "the triggers". */
void header_check_same_edits(const struct stream_reader *reader, const json_t *edits, const char *whose);

#endif
