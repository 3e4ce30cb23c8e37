/* What arrays in a stream are made of: the types that a header can declare, and their sizes. */
#ifndef FFKV_ELEMENTS_H
#define FFKV_ELEMENTS_H

#include <stdbool.h>
#include <stddef.h>

enum element {
    ELEMENT_UINT16,
    ELEMENT_UINT32,
    ELEMENT_UINT64,
    ELEMENT_FLOAT32,
    ELEMENT_FLOAT64,
    ELEMENTS, /* how many types there are */
};

/* The name in headers: "uint16" ... */
const char *element_name(enum element element);

/* Bytes of one. */
size_t element_size(enum element element);

/* Whether these are floating-point numbers, and the one at bytes, which may be anywhere. */
bool element_is_real(enum element element);
double element_real(enum element element, const char *bytes);

/* The type of this name; ELEMENTS: there is none, or name is NULL. */
enum element element_called(const char *name);

#endif
