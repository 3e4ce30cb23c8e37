#include "base/turns.h"

#include "base/messages.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct turns {
    pthread_mutex_t lock;
    pthread_cond_t passed;
    uint64_t current;
};

struct turns *turns_new(void)
{
    struct turns *turns = new_array(1, sizeof *turns);
    if (pthread_mutex_init(&turns->lock, NULL) != 0 || pthread_cond_init(&turns->passed, NULL) != 0)
        die("cannot make a lock");
    return turns;
}

void turns_free(struct turns *turns)
{
    pthread_mutex_destroy(&turns->lock);
    pthread_cond_destroy(&turns->passed);
    free(turns);
}

bool turns_is_mine(struct turns *turns, uint64_t ticket)
{
    pthread_mutex_lock(&turns->lock);
    bool mine = turns->current == ticket;
    pthread_mutex_unlock(&turns->lock);
    return mine;
}

void turns_wait(struct turns *turns, uint64_t ticket)
{
    pthread_mutex_lock(&turns->lock);
    while (turns->current != ticket)
        pthread_cond_wait(&turns->passed, &turns->lock);
    pthread_mutex_unlock(&turns->lock);
}

void turns_pass(struct turns *turns)
{
    pthread_mutex_lock(&turns->lock);
    turns->current++;
    pthread_cond_broadcast(&turns->passed);
    pthread_mutex_unlock(&turns->lock);
}

struct thread_start {
    void (*work)(void *shared);
    void *shared;
};

static void *start(void *argument)
{
    const struct thread_start *what = argument;
    what->work(what->shared);
    return NULL;
}

void run_threads(size_t count, void (*work)(void *shared), void *shared)
{
    struct thread_start what = {work, shared};
    pthread_t *threads = new_array(count, sizeof *threads);
    for (size_t i = 1; i < count; i++) {
        int error = pthread_create(&threads[i], NULL, start, &what);
        if (error)
            die("cannot start thread %zu of %zu: %s", i + 1, count, strerror(error));
    }
    work(shared);
    for (size_t i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}
