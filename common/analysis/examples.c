#include "analysis/examples.h"

#include "base/input.h"
#include "base/messages.h"
#include "model/edits.h"
#include "model/model_header.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* What was read so far, and room for it. */
struct filling {
    struct examples *examples;
    size_t count, capacity, tokens, token_capacity;
};

static void add_example(struct filling *filling, const struct prefix_walk *prefix)
{
    struct examples *examples = filling->examples;
    bool cut = prefix->length > EXAMPLE_TOKENS;
    size_t length = cut ? EXAMPLE_TOKENS : prefix->length;
    examples->example = reserve_array(examples->example, &filling->capacity, filling->count + 1,
                                      sizeof *examples->example);
    examples->token = reserve_array(examples->token, &filling->token_capacity, filling->tokens + length,
                                    sizeof *examples->token);
    examples->example[filling->count++] = (struct example){filling->tokens, (uint32_t)length, cut};
    if (length)
        memcpy(examples->token + filling->tokens, prefix->token + prefix->length - length,
               length * sizeof *examples->token);
    filling->tokens += length;
}

struct examples examples_read(const char *path, const struct model *model, const char *list)
{
    size_t keys = matrix_count(model->config.layers, model->config.d_ff), number = 0;
    struct examples examples = {.d_ff = model->config.d_ff, .first = new_array(keys + 1, sizeof(size_t))};
    struct filling filling = {.examples = &examples};
    struct stream_reader *stream = stream_open(path, "triggers");
    struct key_triggers key;
    header_check_model(stream, model);
    examples.edits = header_edits(stream);
    tokenizer_free(tokenizer_open(model->config.path, stream));
    struct triggers_reader triggers = triggers_open_list(stream, list);
    while (triggers_next(&triggers, &key)) {
        for (; number <= key.layer * examples.d_ff + key.cell; number++)
            examples.first[number] = filling.count;
        for (struct prefix_walk prefix = key_prefixes(&key, EXAMPLES); prefix_next(&prefix);)
            add_example(&filling, &prefix);
        key_triggers_free(&key);
        input_count(stream_input(stream), 1, "keys");
    }
    for (; number <= keys; number++)
        examples.first[number] = filling.count;
    triggers_close(&triggers);
    stream_close(stream);
    return examples;
}

void examples_free(struct examples *examples)
{
    free(examples->first);
    free(examples->example);
    free(examples->token);
    json_decref(examples->edits);
    *examples = (struct examples){0};
}

const struct example *examples_of(const struct examples *examples, size_t layer, size_t cell, size_t *count)
{
    size_t key = layer * examples->d_ff + cell;
    *count = examples->first ? examples->first[key + 1] - examples->first[key] : 0;
    return *count ? examples->example + examples->first[key] : NULL;
}
