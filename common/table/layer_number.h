/*
 * How layers are numbered: from 0 in the program, in streams, in options and in messages about
 * these, from 1 in what people read results from: tables, pages, and messages about these.
 */
#ifndef FFKV_LAYER_NUMBER_H
#define FFKV_LAYER_NUMBER_H

#include <stddef.h>

/* The number of a layer in tables and pages. */
static inline size_t layer_shown(size_t layer)
{
    return layer + 1;
}

/* The layer that has this number, at least 1, there. */
static inline size_t layer_of_shown(size_t shown)
{
    return shown - 1;
}

#endif
