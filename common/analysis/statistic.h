/*
 * The frame of a statistic of a corpus: it adds up activations in threads, writes tables or a
 * stream of its sums, and merges such streams. A statistic is a description of its parts:
 * its sums (layer_sums.h), the work of a thread (parallel.h), perhaps a list, and its tables.
 */
#ifndef FFKV_STATISTIC_H
#define FFKV_STATISTIC_H

#include "base/cli.h"
#include "base/parallel.h"
#include "model/candidates.h"
#include "model/model.h"
#include "stream/activations.h"
#include "stream/layer_sums.h"
#include "stream/merging.h"

/* What every statistic's command line has. */
struct statistic_options {
    const char *model;
    struct sums_options out;
    bool all_tokens;
    uint64_t threads;
    int products; /* of enum product_kind */
};

/* Its rows of the table of options, behind OPTION_MODEL and the statistic's own. */
#define OPTIONS_STATISTIC(options)                                                                     \
    OPTION_ALL_TOKENS(&(options)->all_tokens), OPTIONS_SUMS(&(options)->out),                          \
    OPTION_PRODUCTS(&(options)->products), OPTION_THREADS(&(options)->threads),                        \
    OPTION_OUTPUT(&(options)->out.output), OPTION_GZIP(&(options)->out.gzip), OPTION_END

/*
 * What a statistic lists of single prefixes, in the order of the corpus: its records, which
 * come before the sums in the stream, are a struct with a table of fields.
 */
struct statistic_list {
    const char *what;           /* is listed, for messages */
    const struct field *fields; /* the first is a member that no record of sums has */

    /* Records with the numbers of columns that the fields have; or NULL: they have none. */
    const void *(*columns)(const void *statistic);

    /* Reads and checks a record, which has at least one. */
    struct listed (*read)(const struct record *record, const struct model_shape *shape);
    void (*free)(void *records);

    /* How much these sums say that was listed. */
    uint64_t (*total)(const void *sums);

    /* Adds records to the statistic's tables. */
    void (*tell)(void *statistic, const void *records);
};

/* The functions are given the statistic: a struct that begins with a struct statistic. */
struct statistic_kind {
    const char *tool;   /* in the history of headers */
    const char *stream; /* the kind of the stream of its sums */
    const struct sums_kind *sums;

    /* A struct of all sums, 0, in memory of its own: for a thread, or of an input. */
    void *(*sums_new)(const struct activations_reader *activations);
    const struct ordered_work *work;   /* what is shared is the statistic */
    const struct statistic_list *list; /* or NULL */

    /* Checks what was asked for, before activations are read: the model is there. */
    void (*prepare)(void *statistic);

    /* Options that shape the sums, for the history. */
    json_t *(*shaping)(const void *statistic);

    /* Adds to the header of the sums what their tables need to know; or NULL. */
    void (*declare)(const void *statistic, json_t *header);

    /* Checks the header of what is read, activations or sums, and opens what tell writes to; or NULL. */
    void (*begin)(void *statistic, struct stream_reader *input);

    /* Writes and completes the tables. */
    void (*tables)(void *statistic, const struct stream_reader *input);
};

struct statistic {
    const struct statistic_kind *kind;
    struct statistic_options options;
    struct model *model; /* NULL: nothing of a merge asked for it */
    struct candidates candidates; /* none in a merge */
    struct activations_reader activations; /* of a merge only what the header says */
    struct stream_writer *writer; /* of the sums; NULL: tables are written */
    void *sums; /* of all threads or inputs */
};

/* cli_parse, and what must hold of these options; the statistic's own are its to check. */
int statistic_parse(const struct tool *tool, int argc, char **argv, const struct statistic_options *options);

/* Runs or merges: the rest of a tool's main. operands: the count ones behind the options. */
void statistic_main(struct statistic *statistic, char **operands, size_t count);

/* The model, which a merge loads when it is asked for; it must be that of input. */
const struct model *statistic_model(struct statistic *statistic, const struct stream_reader *input);

/* For a thread's end: adds its sums to those of all, and frees them. */
void statistic_add(struct statistic *statistic, void *sums);

/* Puts count listed predictions to where they belong, stream or tables; in the order of the corpus. */
void statistic_put(struct statistic *statistic, const void *records, size_t count);

#endif
