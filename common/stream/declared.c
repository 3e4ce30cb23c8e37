#include "stream/declared.h"

#include <string.h>

/* Of [rows, columns]: columns, which must be a number there; of [rows]: 1. */
static size_t columns_of(const json_t *shape)
{
    const json_t *columns = json_array_get(shape, 1);
    if (!columns)
        return 1;
    json_int_t count = json_integer_value(columns); /* 0 also where it is no number */
    return count > 0 ? (size_t)count : 0;
}

struct declared_array declared_array(const struct stream_reader *reader, const json_t *header,
                                     const char *name, const msgpack_object_bin *bin)
{
    const json_t *declared = json_object_get(json_object_get(header, "arrays"), name);
    const json_t *shape = json_object_get(declared, "shape");
    enum element type = element_called(json_string_value(json_object_get(declared, "type")));
    const char *dimension = json_string_value(json_array_get(shape, 0));
    struct declared_array array = {.type = type, .dimension = dimension ? dimension : "", .bytes = bin->ptr,
                                   .has_columns = json_array_size(shape) > 1, .columns = columns_of(shape)};
    if (type == ELEMENTS || !json_array_size(shape) || !array.columns)
        stream_fail(reader, "array '%s' has no declared type and shape", name);
    array.size = element_size(type);
    size_t elements = bin->size / array.size;
    array.rows = elements / array.columns;
    if (bin->size % array.size || elements % array.columns)
        stream_fail(reader, "array '%s' has no whole number of elements or rows", name);
    return array;
}

uint64_t declared_number(const struct declared_array *array, size_t index)
{
    uint64_t number = 0; /* the stream is little endian, and so is the machine */
    memcpy(&number, array->bytes + index * array->size, array->size);
    return number;
}

double declared_real(const struct declared_array *array, size_t index)
{
    return element_real(array->type, array->bytes + index * array->size);
}
