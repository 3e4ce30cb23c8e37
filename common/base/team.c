#include "base/team.h"

#include "base/messages.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* How often a thread looks whether what it waits for has come, before it sleeps: some 30 microseconds. */
enum { LOOKS = 100 };

struct member {
    struct team *team;
    size_t number;
    pthread_t thread;
};

struct team {
    size_t threads;
    struct member *member; /* threads; the first is the caller, who has no thread here */
    void (*work)(void *shared, size_t member);
    void *shared;
    bool ends;
    atomic_size_t pieces;  /* so far, the one that is being done among them */
    atomic_size_t working; /* members that have not done it yet, without the caller */
    pthread_mutex_t mutex; /* of changes of these two that somebody may sleep for */
    pthread_cond_t changed;
};

/* Waits until *number is not this one. */
static void wait_while(struct team *team, atomic_size_t *number, size_t same)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load(number) != same)
            return;
        sched_yield();
    }
    pthread_mutex_lock(&team->mutex);
    while (atomic_load(number) == same)
        pthread_cond_wait(&team->changed, &team->mutex);
    pthread_mutex_unlock(&team->mutex);
}

static void *member_run(void *argument)
{
    const struct member *member = argument;
    struct team *team = member->team;
    for (size_t done = 0;; done++) {
        wait_while(team, &team->pieces, done);
        if (team->ends)
            return NULL;
        team->work(team->shared, member->number);
        pthread_mutex_lock(&team->mutex);
        atomic_fetch_sub(&team->working, 1);
        pthread_cond_broadcast(&team->changed);
        pthread_mutex_unlock(&team->mutex);
    }
}

struct team *team_new(size_t threads)
{
    struct team *team = new_array(1, sizeof *team);
    team->threads = threads;
    team->member = new_array(threads, sizeof *team->member);
    if (pthread_mutex_init(&team->mutex, NULL) != 0 || pthread_cond_init(&team->changed, NULL) != 0)
        die("cannot make a lock");
    for (size_t i = 1; i < threads; i++) {
        struct member *member = &team->member[i];
        *member = (struct member){.team = team, .number = i};
        int error = pthread_create(&member->thread, NULL, member_run, member);
        if (error)
            die("cannot start thread %zu of %zu: %s", i + 1, threads, strerror(error));
    }
    return team;
}

/* The members see the next piece. */
static void begin_piece(struct team *team)
{
    pthread_mutex_lock(&team->mutex);
    atomic_store(&team->working, team->threads - 1);
    atomic_fetch_add(&team->pieces, 1);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
}

void team_free(struct team *team)
{
    team->ends = true;
    begin_piece(team);
    for (size_t i = 1; i < team->threads; i++)
        pthread_join(team->member[i].thread, NULL);
    pthread_mutex_destroy(&team->mutex);
    pthread_cond_destroy(&team->changed);
    free(team->member);
    free(team);
}

size_t team_size(const struct team *team)
{
    return team->threads;
}

void team_run(struct team *team, void (*work)(void *shared, size_t member), void *shared)
{
    team->work = work;
    team->shared = shared;
    if (team->threads > 1)
        begin_piece(team);
    work(shared, 0);
    for (size_t left; (left = atomic_load(&team->working));)
        wait_while(team, &team->working, left);
}
