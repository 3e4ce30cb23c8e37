/*
 * How layers are numbered: from 1 in what people type and read, which is options, tables, pages and
 * messages; from 0 in the program and in streams.
 */
#ifndef FFKV_LAYER_NUMBER_H
#define FFKV_LAYER_NUMBER_H

#include <stddef.h>

/* The number of a layer for people. */
static inline size_t layer_shown(size_t layer)
{
    return layer + 1;
}

/* The layer that has this number, at least 1. */
static inline size_t layer_of_shown(size_t shown)
{
    return shown - 1;
}

#endif
