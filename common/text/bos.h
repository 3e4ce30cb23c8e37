/* The token that is read before a text, as far as a tokenizer's own files name it. */
#ifndef FFKV_BOS_H
#define FFKV_BOS_H

#include "stream/no_token.h"

#include <jansson.h>
#include <stdbool.h>

struct stated_bos {
    bool stated;    /* false: the tokenizer's files do not say, the model's configuration does */
    uint32_t token; /* NO_TOKEN: none is read */
};

/*
 * What the post-processor in the tokenizer.json at path puts before a single text; not stated where it puts
 * nothing there. What it puts behind does not matter: nothing is read behind a sentence. Several tokens
 * before a text, and a post-processor that is not known, end the program.
 */
struct stated_bos bos_of_post_processor(const char *path, const json_t *post_processor);

#endif
