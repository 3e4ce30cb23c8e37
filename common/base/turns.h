/*
 * Threads that work in parallel and write in order: each piece of work has a
 * ticket, counted from 0, and its results are written when its turn comes.
 */
#ifndef FFKV_TURNS_H
#define FFKV_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct turns;

struct turns *turns_new(void);
void turns_free(struct turns *turns);

/* Whether it is this ticket's turn; once true it stays so until turns_pass. */
bool turns_is_mine(struct turns *turns, uint64_t ticket);
void turns_wait(struct turns *turns, uint64_t ticket);
void turns_pass(struct turns *turns);

/* Runs work(shared) in count threads, the caller's among them; returns when all have. */
void run_threads(size_t count, void (*work)(void *shared), void *shared);

#endif
