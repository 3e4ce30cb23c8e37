/* What arrays in a stream are made of: the types that a header can declare, and their sizes. */
#ifndef FFKV_ELEMENTS_H
#define FFKV_ELEMENTS_H

#include <stddef.h>

enum element {
    ELEMENT_UINT16,
    ELEMENT_UINT32,
    ELEMENT_UINT64,
    ELEMENT_FLOAT32,
    ELEMENTS, /* how many types there are */
};

/* The name in headers: "uint16" ... */
const char *element_name(enum element element);

/* Bytes of one. */
size_t element_size(enum element element);

/* The type of this name; ELEMENTS: there is none, or name is NULL. */
enum element element_called(const char *name);

#endif
