/*
 * Threads that wait for work between short pieces of it: starting threads for each would take longer than
 * the piece.
 */
#ifndef FFKV_TEAM_H
#define FFKV_TEAM_H

#include <stddef.h>

struct team;

/* So many threads, the caller's among them. Ends the program where they cannot be started. */
struct team *team_new(size_t threads);

/* While the team does no work. */
void team_free(struct team *team);

size_t team_size(const struct team *team);

/* Calls work in each thread, with its number, from 0; returns when all have returned. */
void team_run(struct team *team, void (*work)(void *shared, size_t member), void *shared);

#endif
