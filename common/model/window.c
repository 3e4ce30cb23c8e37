#include "model/window.h"

#include "base/messages.h"
#include "base/team.h"

#include <stdatomic.h>
#include <stdlib.h>

struct frame {
    const struct window *window;
    const struct window_work *work;
    void **worker;      /* threads */
    size_t taken;       /* slots */
    size_t *layers;     /* slots: that the batch passes */
    size_t pass, layer; /* that is applied */
    bool ahead;         /* whether the next layer is made ready at the same time */
    atomic_size_t next; /* slot that nobody computes yet, after, where ahead, making the layer ready */
};

/* What one thread does of a layer. */
static void apply_layer(void *shared, size_t member)
{
    struct frame *frame = shared;
    for (size_t task; (task = atomic_fetch_add(&frame->next, 1)) < frame->taken + frame->ahead;) {
        if (frame->ahead && task == 0) {
            model_layer_ready(frame->window->model, frame->layer + 1, LAYER_ALL);
            continue;
        }
        size_t slot = task - frame->ahead;
        if (frame->layer < frame->layers[slot])
            frame->work->compute(frame->worker[member], slot, frame->pass, frame->layer);
    }
}

static void pass_layers(struct frame *frame, struct team *team)
{
    const struct window *window = frame->window;
    size_t last = 0;
    for (size_t slot = 0; slot < frame->taken; slot++) {
        frame->layers[slot] = frame->work->layers(frame->worker[0], slot, frame->pass);
        last = frame->layers[slot] > last ? frame->layers[slot] : last;
    }
    if (last)
        model_layer_ready(window->model, 0, LAYER_ALL);
    for (frame->layer = 0; frame->layer < last; frame->layer++) {
        bool more = frame->layer + 1 < last;
        frame->ahead = more && window->ahead;
        atomic_store(&frame->next, 0);
        team_run(team, apply_layer, frame);
        model_layer_release(window->model, frame->layer);
        if (more && !frame->ahead)
            model_layer_ready(window->model, frame->layer + 1, LAYER_ALL);
    }
}

static size_t take_batches(const struct frame *frame)
{
    size_t taken = 0;
    while (taken < frame->window->slots && frame->work->take(frame->worker[0], taken))
        taken++;
    return taken;
}

void run_window(const struct window *window, const struct window_work *work, void *shared)
{
    struct frame frame = {.window = window, .work = work};
    struct team *team = team_new(window->threads);
    frame.worker = new_array(window->threads, sizeof *frame.worker);
    frame.layers = new_array(window->slots, sizeof *frame.layers);
    for (size_t i = 0; i < window->threads; i++)
        frame.worker[i] = work->begin(shared);
    while ((frame.taken = take_batches(&frame))) {
        for (frame.pass = 0; frame.pass < window->passes; frame.pass++)
            pass_layers(&frame, team);
        for (size_t slot = 0; slot < frame.taken; slot++)
            work->write(frame.worker[0], slot);
    }
    for (size_t i = 0; i < window->threads; i++)
        work->end(frame.worker[i]);
    free(frame.worker);
    free(frame.layers);
    team_free(team);
}
