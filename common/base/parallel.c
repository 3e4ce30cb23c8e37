#include "base/parallel.h"

#include "base/messages.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What the threads of one run share. */
struct frame {
    const struct ordered_work *work;
    void *shared;
    pthread_mutex_t taking;  /* also of the ends */
    uint64_t taken;          /* pieces so far: the next one's number */
    pthread_mutex_t writing;
    pthread_cond_t written;
    uint64_t current;        /* the piece that may be written */
};

struct turn {
    struct frame *frame;
    uint64_t number; /* of the piece, from 0 */
};

bool turn_has_come(struct turn *turn)
{
    struct frame *frame = turn->frame;
    pthread_mutex_lock(&frame->writing);
    bool come = frame->current == turn->number;
    pthread_mutex_unlock(&frame->writing);
    return come;
}

void turn_wait(struct turn *turn)
{
    struct frame *frame = turn->frame;
    pthread_mutex_lock(&frame->writing);
    while (frame->current != turn->number)
        pthread_cond_wait(&frame->written, &frame->writing);
    pthread_mutex_unlock(&frame->writing);
}

static void turn_pass(struct turn *turn)
{
    struct frame *frame = turn->frame;
    pthread_mutex_lock(&frame->writing);
    frame->current++;
    pthread_cond_broadcast(&frame->written);
    pthread_mutex_unlock(&frame->writing);
}

static bool take(struct frame *frame, void *worker, struct turn *turn)
{
    pthread_mutex_lock(&frame->taking);
    bool taken = frame->work->take(worker);
    if (taken)
        *turn = (struct turn){frame, frame->taken++};
    pthread_mutex_unlock(&frame->taking);
    return taken;
}

static void work_in_order(void *shared)
{
    struct frame *frame = shared;
    const struct ordered_work *work = frame->work;
    void *worker = work->begin(frame->shared);
    struct turn turn;
    while (take(frame, worker, &turn)) {
        work->compute(worker, &turn);
        if (!work->write)
            continue;
        turn_wait(&turn);
        work->write(worker);
        turn_pass(&turn);
    }
    pthread_mutex_lock(&frame->taking);
    work->end(worker);
    pthread_mutex_unlock(&frame->taking);
}

void run_ordered(size_t threads, const struct ordered_work *work, void *shared)
{
    struct frame frame = {.work = work, .shared = shared};
    if (pthread_mutex_init(&frame.taking, NULL) != 0 || pthread_mutex_init(&frame.writing, NULL) != 0
        || pthread_cond_init(&frame.written, NULL) != 0)
        die("cannot make a lock");
    run_threads(threads, work_in_order, &frame);
    pthread_mutex_destroy(&frame.taking);
    pthread_mutex_destroy(&frame.writing);
    pthread_cond_destroy(&frame.written);
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
