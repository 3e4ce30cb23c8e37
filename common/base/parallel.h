/*
 * Threads that work in parallel and write in order. Pieces of work are taken one after
 * the other, computed side by side, and their results written in the order in which the
 * pieces were taken, so that the output does not depend on the number of threads.
 */
#ifndef FFKV_PARALLEL_H
#define FFKV_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>

/* The place of a piece of work in the order of writing. */
struct turn;

/* Whether all pieces before this one are written; once true it stays so while the piece is computed. */
bool turn_has_come(struct turn *turn);

/* Waits until it has. */
void turn_wait(struct turn *turn);

/*
 * What a kind of work consists of. A worker is what one thread has, the piece that it
 * works on included; shared is the caller's, for all of them.
 */
struct ordered_work {
    void *(*begin)(void *shared);                     /* a thread's worker */
    bool (*take)(void *worker);                       /* the next piece, one thread at a time; false: none */
    void (*compute)(void *worker, struct turn *turn); /* in parallel; may write early, after turn_wait */
    void (*write)(void *worker);                      /* the piece's results, in order; NULL: no order */
    void (*end)(void *worker);                        /* adds up what it found, frees it; one at a time */
};

/* Runs it in this many threads, the caller's among them; returns when all is written. */
void run_ordered(size_t threads, const struct ordered_work *work, void *shared);

/* Runs work(shared) in count threads, the caller's among them; returns when all have. */
void run_threads(size_t count, void (*work)(void *shared), void *shared);

#endif
