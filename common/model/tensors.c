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

struct matrix tensors_keep(struct tensors *tensors, struct matrix matrix)
{
    if (matrix_owns(&matrix)) {
        tensors->matrix = reserve_array(tensors->matrix, &tensors->matrix_capacity, tensors->matrix_count + 1,
                                        sizeof *tensors->matrix);
        tensors->matrix[tensors->matrix_count++] = matrix;
    }
    return matrix;
}

void tensors_drop(struct tensors *tensors, size_t count)
{
    while (tensors->count > count)
        free(tensors->tensor[--tensors->count].values);
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
    tensors_drop(tensors, 0);
    for (size_t i = 0; i < tensors->matrix_count; i++)
        matrix_free(&tensors->matrix[i]);
    free(tensors->tensor);
    free(tensors->matrix);
    *tensors = (struct tensors){0};
}
