/*
 * The command line, the same in every tool: a table of options from which
 * both the parser and --help are made, so that the two cannot disagree.
 */
#ifndef FFKV_CLI_H
#define FFKV_CLI_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /* value: bool *                                         */
    OPTION_NUMBER, /* value: uint64_t *, between least and most             */
    OPTION_SIZE,   /* value: uint64_t *, bytes: 600M, 4G; K, M, G, T are powers of 1024 */
    OPTION_REAL,   /* value: double *, 0 or more                            */
    OPTION_TEXT,   /* value: const char **                                  */
    OPTION_TEXTS,  /* value: struct option_texts *, of an option given several times */
    OPTION_IN,     /* the same, a file or a directory that the tool reads   */
    OPTION_OUT,    /* the same, what it writes; standard output without it  */
    OPTION_OUT_TOO, /* the same, what it writes only if it is given         */
    OPTION_CHOICE, /* value: int *, the index of one word of choices        */
    OPTION_CHOICES /* value: unsigned *, a bit for each word of choices;
                      the argument is a comma-separated list of them        */
};

/* Bound of OPTION_NUMBER when the table leaves most at 0. */
#define OPTION_NO_LIMIT UINT64_MAX

/* In the order in which they were given; the array is the caller's to free. */
struct option_texts {
    const char **text;
    size_t count, capacity;
};

struct option_spec {
    char letter;           /* or 0 */
    const char *name;      /* without the dashes; NULL ends the table */
    const char *argument;  /* how --help calls the argument; NULL: none */
    const char *help;
    enum option_kind kind;
    void *value;
    uint64_t least, most;
    const char *const *choices; /* NULL-terminated */
};

struct tool {
    const char *name;
    const char *summary;   /* one line, for --help */
    const char *operands;  /* "[FILE]" */
    const struct option_spec *options;
    size_t most_operands;
};

/* Rows that tools share. */
#define OPTION_OUTPUT(pointer) \
    {'o', "output", "FILE", "write FILE, which appears only when complete, instead of standard output", \
     OPTION_OUT, pointer, 0, 0, NULL}
#define OPTION_GZIP(pointer) \
    {'z', "gzip", NULL, "compress the output", OPTION_FLAG, pointer, 0, 0, NULL}
#define OPTION_MODEL(pointer) \
    {'m', "model", "DIR", "the model: a directory with config.json, or a GGUF file", \
     OPTION_IN, pointer, 0, 0, NULL}
#define OPTION_THREADS(pointer) \
    {0, "threads", "N", "threads (default: the processors there are); results do not depend on it", \
     OPTION_NUMBER, pointer, 1, MAX_THREADS, NULL}
#define OPTION_MEMORY(pointer) \
    {0, "memory", "SIZE", \
     "take no more memory than that, such as 600M or 4G: where not all layers fit, they are read one after " \
     "the other (default: what is available)", OPTION_SIZE, pointer, 0, 0, NULL}
#define OPTION_LAYERS(pointer, verb) \
    {0, "layers", "LIST", verb " only these layers, counted from 1: 1-4,8 (default: all)", \
     OPTION_TEXT, pointer, 0, 0, NULL}
#define OPTION_CELLS(pointer, verb) \
    {0, "cells", "LIST", verb " only these cells of each layer, counted from 0 (default: all)", \
     OPTION_TEXT, pointer, 0, 0, NULL}
#define OPTION_SEED(pointer) \
    {0, "seed", "N", "seed of every random choice (default 1)", OPTION_NUMBER, pointer, 0, INT64_MAX, NULL}
#define OPTION_PARTIAL(pointer) \
    {0, "partial", NULL, "with --merge: also when shards are missing", OPTION_FLAG, pointer, 0, 0, NULL}
/* Of tools that can write what tables are made of, a stream, instead of tables, and merge such streams. */
struct sums_options {
    const char *output;
    bool gzip, sums, merge, partial;
};
#define OPTIONS_SUMS(options) \
    {0, "sums", NULL, "write sums for --merge, a stream, instead of tables", OPTION_FLAG, &(options)->sums, \
     0, 0, NULL}, \
    {0, "merge", NULL, "join the sums of several shards, FILE..., to the tables of one run", OPTION_FLAG, \
     &(options)->merge, 0, 0, NULL}, \
    OPTION_PARTIAL(&(options)->partial)
#define OPTION_ALL_TOKENS(pointer) \
    {0, "all-tokens", NULL, "rank all tokens, also special and filler ones, which no text has", OPTION_FLAG, \
     pointer, 0, 0, NULL}
#define OPTION_LIST(pointer) \
    {0, "list", "NAME", "of keys with several lists of triggers, by topk-keys --rank: take this one", \
     OPTION_TEXT, pointer, 0, 0, NULL}
#define OPTION_END {0, NULL, NULL, NULL, OPTION_FLAG, NULL, 0, 0, NULL}

/*
 * Parses the command line into the options' values. --help and --version are
 * answered here and end the program; wrong usage ends it with status 2. So does
 * a file that is written and read, or written twice; outputs appear together (output.h).
 * Returns the index in argv of the first operand.
 */
int cli_parse(const struct tool *tool, int argc, char **argv);

/* Wrong usage: --partial without --merge. */
void cli_check_partial(bool partial, bool merge);

/* Wrong usage of these, and more operands than one where nothing is merged. */
void cli_check_sums(const struct sums_options *options, size_t operands);

/* The single operand, or NULL for standard input ("-" or nothing). */
const char *cli_input(int argc, char **argv, int first);

/* The default of --threads: the processors that this process may run on. */
uint64_t cli_threads(void);

/*
 * A list such as "0-3,7" as a sorted array of different numbers below bound;
 * what names them in messages. NULL text means all: 0 .. bound-1.
 * The caller frees it.
 */
size_t *cli_list(const char *text, size_t bound, const char *what, size_t *count);

/* The same of --layers, whose list counts from 1: numbers below layers, from 0. */
size_t *cli_layers(const char *text, size_t layers, size_t *count);

#endif
