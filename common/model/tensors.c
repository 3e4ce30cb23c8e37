#include "model/tensors.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

static void add(struct tensors *tensors, struct owned_tensor tensor)
{
    tensors->tensor =
        reserve_array(tensors->tensor, &tensors->capacity, tensors->count + 1, sizeof *tensors->tensor);
    tensors->tensor[tensors->count++] = tensor;
}

float *tensors_new(struct tensors *tensors, struct tensors *spare, size_t count)
{
    struct owned_tensor tensor = {.count = count};
    if (spare && spare->count && spare->tensor[0].count == count) {
        tensor = spare->tensor[0];
        memmove(spare->tensor, spare->tensor + 1, --spare->count * sizeof *spare->tensor);
    } else {
        if (spare)
            tensors_free(spare);
        tensor.values = new_floats(count);
    }
    add(tensors, tensor);
    return tensor.values;
}

void tensors_move(struct tensors *from, struct tensors *to)
{
    for (size_t i = 0; i < from->count; i++)
        add(to, from->tensor[i]);
    from->count = 0;
    tensors_free(from);
}

void tensors_free(struct tensors *tensors)
{
    for (size_t i = 0; i < tensors->count; i++)
        free(tensors->tensor[i].values);
    free(tensors->tensor);
    *tensors = (struct tensors){0};
}
