/* Arrays of 32-bit floats that tensors were copied to, and that belong to the same owner. */
#ifndef FFKV_TENSORS_H
#define FFKV_TENSORS_H

#include <stddef.h>

struct tensors {
    struct owned_tensor {
        size_t count;
        float *values;
    } *tensor; /* count */
    size_t count, capacity;
};

/*
 * count floats, of any value, that belong to tensors from now on. spare, which may be NULL, has arrays that
 * nobody needs any more, in the order of their first use: the next one is taken where it has this count, so
 * that a layer is read to where one like it was; else all of them are freed.
 */
float *tensors_new(struct tensors *tensors, struct tensors *spare, size_t count);

/* Adds the arrays of from, which has none then. */
void tensors_move(struct tensors *from, struct tensors *to);
void tensors_free(struct tensors *tensors);

#endif
