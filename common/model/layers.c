#include "model/layers.h"

#include "base/messages.h"
#include "model/loading.h"
#include "model/loading_experts.h"
#include "model/weights.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct layers {
    struct loading loading;
    struct matrix_bytes all; /* of the layers */
    struct state {
        size_t users;
        size_t released; /* when it was last: the number of the call */
        struct tensors owned;
        struct matrix_bytes whole; /* of all its matrices */
        struct matrix_bytes now;   /* of those that are there */
    } * state;                     /* layers */
    struct tensors vectors;        /* of all */
    struct tensors spare;
    size_t room, there, releases; /* there: bytes of the layers that are */
    pthread_mutex_t lock;         /* of everything here, and of the files' tensors */
};

static size_t layer_count(const struct layers *layers)
{
    return layers->loading.model->config.layers;
}

static void read_layer(struct loading *loading, size_t index, enum layer_part part)
{
    for (const struct tensor_row *row = loading->names->layers; row->name; row++)
        read_layer_tensor(loading, row, index, part);
    read_layer_experts(loading, index, part);
}

struct layers *layers_open(const struct loading *loading)
{
    struct layers *layers = new_array(1, sizeof *layers);
    layers->loading = *loading;
    layers->room = LAYERS_ROOM;
    layers->state = new_array(layer_count(layers), sizeof *layers->state);
    if (pthread_mutex_init(&layers->lock, NULL) != 0)
        die("cannot make a lock");
    for (size_t i = 0; i < layer_count(layers); i++) {
        struct loading describing = *loading;
        describing.described = true;
        describing.bytes = (struct matrix_bytes){0};
        describing.to = &layers->vectors;
        read_layer(&describing, i, LAYER_ALL);
        layers->state[i].whole = describing.bytes;
    }
    return layers;
}

void layers_close(struct layers *layers)
{
    for (size_t i = 0; i < layer_count(layers); i++) {
        tensors_free(&layers->state[i].owned);
        free(layers->loading.model->layer[i].experts);
    }
    tensors_free(&layers->vectors);
    tensors_free(&layers->spare);
    pthread_mutex_destroy(&layers->lock);
    free(layers->state);
    free(layers);
}

static size_t bytes_there(const struct matrix_bytes *bytes)
{
    return bytes->copied + bytes->mapped;
}

/* Its arrays are spare then, for a layer like it. */
static void drop(struct layers *layers, size_t index)
{
    struct model *model = layers->loading.model;
    struct state *state = &layers->state[index];
    for (const struct tensor_row *row = layers->loading.names->layers; row->name; row++)
        if (is_matrix(row))
            *matrix_at(&model->layer[index], row) = (struct matrix){0};
    forget_layer_experts(model, index);
    tensors_free(&layers->spare);
    tensors_move(&state->owned, &layers->spare);
    if (state->now.mapped)
        weights_drop_pages(model->weights);
    layers->there -= bytes_there(&state->now);
    state->now = (struct matrix_bytes){0};
}

/* Drops those that nobody uses, the longest unused first, until there is room for more bytes. */
static void make_room(struct layers *layers, size_t more)
{
    while (layers->there && (more > layers->room || layers->there > layers->room - more)) {
        size_t oldest = SIZE_MAX;
        for (size_t i = 0; i < layer_count(layers); i++) {
            const struct state *state = &layers->state[i];
            if (!state->users && bytes_there(&state->now)
                && (oldest == SIZE_MAX || state->released < layers->state[oldest].released))
                oldest = i;
        }
        if (oldest == SIZE_MAX)
            return;
        drop(layers, oldest);
    }
}

static void make_ready(struct layers *layers, size_t index, enum layer_part part)
{
    struct state *state = &layers->state[index];
    struct loading reading = layers->loading;
    make_room(layers, bytes_there(&state->whole) - bytes_there(&state->now));
    reading.described = false;
    reading.bytes = (struct matrix_bytes){0};
    reading.to = &state->owned;
    reading.spare = &layers->spare;
    read_layer(&reading, index, part);
    tensors_free(&layers->spare);
    state->now.copied += reading.bytes.copied;
    state->now.mapped += reading.bytes.mapped;
    layers->there += bytes_there(&reading.bytes);
}

void model_layer_ready(const struct model *model, size_t index, enum layer_part part)
{
    struct layers *layers = model->layers;
    struct state *state = &layers->state[index];
    const struct model_layer *layer = &model->layer[index];
    pthread_mutex_lock(&layers->lock);
    state->users++; /* before others are dropped */
    bool has_values =
        matrix_exists(&layer->values) || (layer->experts && matrix_exists(&layer->experts->values));
    if (!has_values || (part == LAYER_ALL && !matrix_exists(&layer->query)))
        make_ready(layers, index, part);
    pthread_mutex_unlock(&layers->lock);
}

void model_layer_release(const struct model *model, size_t index)
{
    struct layers *layers = model->layers;
    struct state *state = &layers->state[index];
    pthread_mutex_lock(&layers->lock);
    state->released = ++layers->releases;
    if (!--state->users)
        make_room(layers, 0);
    pthread_mutex_unlock(&layers->lock);
}

void model_all_ready(const struct model *model)
{
    for (size_t i = 0; i < model->config.layers; i++)
        model_layer_ready(model, i, LAYER_ALL);
}

void model_set_room(const struct model *model, size_t bytes)
{
    model->layers->room = bytes;
}

struct matrix_bytes model_layer_bytes(const struct model *model, size_t index)
{
    return model->layers->state[index].whole;
}

struct matrix_bytes model_outer_bytes(const struct model *model)
{
    return model->outer;
}

struct matrix_bytes model_output_bytes(const struct model *model)
{
    return model->output;
}
