#include "analysis/window_memory.h"

#include "base/available_memory.h"
#include "base/messages.h"
#include "model/forward.h"
#include "model/projection.h"

#include <math.h>
#include <stdlib.h>

/* Measured: products of matrices; a tokenizer while it is read, for each token. */
static const double PRODUCT_BYTES = 3e6, TOKEN_BYTES = 300;

enum { SENTENCE = 20 }; /* a usual length */

/*
 * More batches of each thread than that are not faster: to read a layer is some per cent of applying it to
 * them then. And of what the machine has, some is left to others.
 */
enum { MAX_SLOTS = 16 };
static const double SHARE = 0.9;

double memory_of_program(const struct model_config *config)
{
    return PROGRAM_BYTES + PRODUCT_BYTES + TOKEN_BYTES * (double)config->vocabulary;
}

double memory_of_maxima(size_t positions, double columns)
{
    return 2 * ceil((double)positions / SENTENCE) * columns * (sizeof(float) + sizeof(uint16_t));
}

static void add_bytes(struct matrix_bytes *sum, const struct matrix_bytes *more)
{
    sum->copied += more->copied;
    sum->mapped += more->mapped;
    sum->values += more->values;
    sum->widened = more->widened > sum->widened ? more->widened : sum->widened;
}

static double all_bytes(const struct matrix_bytes *bytes)
{
    return (double)bytes->copied + (double)bytes->mapped + (double)bytes->scratch;
}

struct memory_case memory_of_model(const struct model *model)
{
    struct memory_case memory = {.config = &model->config, .outer = model_outer_bytes(model),
                                 .output = model_output_bytes(model)};
    for (size_t i = 0; i < model->config.layers; i++) {
        struct matrix_bytes layer = model_layer_bytes(model, i);
        add_bytes(&memory.layers, &layer);
        if (all_bytes(&layer) > all_bytes(&memory.layer))
            memory.layer = layer;
    }
    return memory;
}

/* All but layers and the batches of a window. */
static double fixed_bytes(const struct memory_case *memory)
{
    double widened = fmax((double)memory->outer.widened, (double)memory->layers.widened);
    double thread = forward_bytes(memory->config, memory->positions) + memory->thread + widened
                    + (memory->predicts ? projection_bytes(memory->config) : 0);
    return memory_of_program(memory->config) + all_bytes(&memory->outer) + memory->whole
           + (memory->predicts ? all_bytes(&memory->output) : 0) + (double)memory->threads * thread;
}

/* Its residual, tokens, rows, and their like. */
static double batch_bytes(const struct memory_case *memory)
{
    enum { A_POSITION = 64 };
    return memory->batch
           + (double)memory->positions * ((double)memory->config->d_model * sizeof(float) + A_POSITION);
}

double memory_with_all(const struct memory_case *memory)
{
    return fixed_bytes(memory) + all_bytes(&memory->layers);
}

double memory_with_one(const struct memory_case *memory)
{
    return fixed_bytes(memory) + all_bytes(&memory->layer) + batch_bytes(memory);
}

/* Batches for which there is room, at most as many as are of use; of full rounds of all threads. */
static size_t slots_in(const struct memory_case *memory, double room)
{
    double most = (double)(MAX_SLOTS * memory->threads), fit = floor(room / batch_bytes(memory));
    size_t slots = fit < 1 ? 0 : (size_t)fmin(fit, most);
    return slots < memory->threads ? slots : slots / memory->threads * memory->threads;
}

static unsigned long long megabytes(double bytes)
{
    return (unsigned long long)ceil(bytes / (1 << 20));
}

/* A window in so many bytes, in which there is room for one layer and a batch. */
static struct window_size window_in(const struct memory_case *memory, double bytes)
{
    enum { ENOUGH = 4 }; /* batches of each thread, beside which the next layer may have its room */
    double layer = all_bytes(&memory->layer), room = bytes - fixed_bytes(memory) - layer;
    size_t beside = memory->threads > 1 ? slots_in(memory, room - layer) : 0;
    if (beside >= ENOUGH * memory->threads)
        return (struct window_size){beside, true};
    return (struct window_size){slots_in(memory, room), false};
}

struct window_size window_choose(const struct memory_case *memory, uint64_t limit)
{
    double all = memory_with_all(memory), one = memory_with_one(memory);
    double available = limit ? (double)limit : SHARE * (double)available_memory();
    if (all <= available)
        return (struct window_size){0};
    if (one > available && limit)
        die_usage(
            "--memory %lluM is too little: at least %lluM are needed, for one layer of %s and one batch",
            megabytes(available), megabytes(one), memory->config->path);
    if (one > available)
        die("%s: one layer and one batch take %lluM of memory, %lluM are available; fewer --threads take "
            "less,"
            " and --memory %lluM tries it all the same",
            memory->config->path, megabytes(one), megabytes(available), megabytes(one));
    struct window_size window = window_in(memory, available);
    if (!limit)
        message_warn("%s: all layers take %lluM of memory, %lluM are available: they are read one after the"
                     " other, for %zu batches at a time (--memory)",
                     memory->config->path, megabytes(all), megabytes(available), window.slots);
    return window;
}
