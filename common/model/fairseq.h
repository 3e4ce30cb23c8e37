/*
 * A fairseq language model's checkpoint as what a model directory has of it: the
 * settings as config.json, and the tensors by the names that fairseq gives them
 * now, each once. The loader of model.h decides which settings it can compute.
 */
#ifndef FFKV_FAIRSEQ_H
#define FFKV_FAIRSEQ_H

#include "formats/torchfile.h"

#include <jansson.h>

struct fairseq_tensor {
    const char *name;
    struct torch_tensor tensor; /* F32, F16 or BF16 */
};

struct fairseq_model {
    json_t *config;
    size_t vocabulary;
    size_t count;
    struct fairseq_tensor *tensors;
    struct fairseq_entry *entries; /* all of the checkpoint's, by name */
};

/*
 * Reads the settings and finds the tensors. Settings that are missing, not known
 * or contradict each other, tensors that the settings do not have, and tied
 * tensors that differ end the program, by name; path is for messages.
 */
struct fairseq_model *fairseq_read(const char *path, struct torch_file *file);
void fairseq_free(struct fairseq_model *model);

#endif
