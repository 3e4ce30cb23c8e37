#include "stream/elements.h"

#include <stdint.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} elements[ELEMENTS] = {
    [ELEMENT_UINT16] = {"uint16", sizeof(uint16_t)},
    [ELEMENT_UINT32] = {"uint32", sizeof(uint32_t)},
    [ELEMENT_UINT64] = {"uint64", sizeof(uint64_t)},
    [ELEMENT_FLOAT32] = {"float32", sizeof(float)},
    [ELEMENT_FLOAT64] = {"float64", sizeof(double)},
};

const char *element_name(enum element element)
{
    return elements[element].name;
}

size_t element_size(enum element element)
{
    return elements[element].size;
}

bool element_is_real(enum element element)
{
    return element == ELEMENT_FLOAT32 || element == ELEMENT_FLOAT64;
}

double element_real(enum element element, const char *bytes)
{
    float single;
    double real;
    if (element == ELEMENT_FLOAT64) {
        memcpy(&real, bytes, sizeof real);
    } else {
        memcpy(&single, bytes, sizeof single);
        real = (double)single;
    }
    return real;
}

enum element element_called(const char *name)
{
    enum element element = 0;
    while (element < ELEMENTS && !(name && !strcmp(name, elements[element].name)))
        element++;
    return element;
}
