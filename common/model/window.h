/*
 * A model larger than memory: batches that pass through its layers together. The batches of a window are
 * taken, then each layer is made ready once, applied to all of them by all threads, and let go; what the
 * batches carry from layer to layer stays. Then their results are written, in order, and the next are taken.
 */
#ifndef FFKV_WINDOW_H
#define FFKV_WINDOW_H

#include "model/model.h"

struct window {
    const struct model *model;
    size_t slots;   /* batches at once, at most */
    size_t passes;  /* through all layers, one after the other */
    size_t threads;
    bool ahead;     /* the next layer is made ready while one is applied: there are two of them then */
};

/* A worker is what one thread has; a batch is known by its slot, from 0. */
struct window_work {
    void *(*begin)(void *shared);               /* a thread's worker */
    bool (*take)(void *worker, size_t slot);    /* the next batch; false: the window has no more of them */
    size_t (*layers)(void *worker, size_t slot, size_t pass); /* how many of the first ones it passes */
    /* One of them, in parallel with other batches. */
    void (*compute)(void *worker, size_t slot, size_t pass, size_t layer);
    void (*write)(void *worker, size_t slot);   /* its results, in order */
    void (*end)(void *worker);
};

/* Until a window has no batch. Nobody else uses the model's layers. */
void run_window(const struct window *window, const struct window_work *work, void *shared);

#endif
