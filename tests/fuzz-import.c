/*
 * A fuzzer of what reads checkpoints: pickles, torch's two forms, fairseq's settings
 * and tensors.
 */
#include "fuzz.h"
#include "model/fairseq.h"

#include <stdlib.h>

static void import(const uint8_t *bytes, size_t size)
{
    const char *path = fuzz_file("model.pt", bytes, size);
    struct torch_file *file = torch_open(path);
    struct fairseq_model *model = fairseq_read(path, file);
    for (size_t i = 0; i < model->count; i++)
        free(torch_tensor_read(file, &model->tensors[i].tensor));
    fairseq_free(model);
    torch_close(file);
}

const struct fuzzer fuzzer = {import, NULL, 1 << 20, 1100}; /* deflate's most is 1:1032 */
