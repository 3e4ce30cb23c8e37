#include "model/key_values.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

struct key_values {
    size_t heads, width;
    size_t room;   /* positions */
    size_t step;   /* the same, as attention_padded has it */
    float *keys;   /* layers x heads x width x step */
    float *values; /* layers x room x heads x width */
};

struct key_values *key_values_new(const struct model_config *config, size_t positions)
{
    struct key_values *kept = new_array(1, sizeof *kept);
    size_t columns = matrix_count(config->layers, matrix_count(config->key_value_heads, config->head_width));
    *kept = (struct key_values){.heads = config->key_value_heads, .width = config->head_width,
                                .room = positions, .step = attention_padded(positions)};
    kept->keys = new_floats(matrix_count(columns, kept->step));
    kept->values = new_floats(matrix_count(columns, kept->room));
    return kept;
}

void key_values_free(struct key_values *kept)
{
    if (!kept)
        return;
    free(kept->keys);
    free(kept->values);
    free(kept);
}

size_t key_values_room(const struct key_values *kept)
{
    return kept->room;
}

/* The keys of a layer's head. */
static float *keys_of(const struct key_values *kept, size_t layer, size_t head)
{
    return kept->keys + (layer * kept->heads + head) * kept->width * kept->step;
}

/* The values of a layer's position. */
static float *values_of(const struct key_values *kept, size_t layer, size_t position)
{
    return kept->values + (layer * kept->room + position) * kept->heads * kept->width;
}

void key_values_add(struct key_values *kept, size_t layer, size_t from, size_t count, const float *key,
                    const float *value)
{
    size_t columns = kept->heads * kept->width;
    for (size_t head = 0; head < kept->heads; head++)
        keep_keys(key + head * kept->width, columns, kept->width, count, keys_of(kept, layer, head) + from,
                  kept->step);
    memcpy(values_of(kept, layer, from), value, count * columns * sizeof *value);
}

struct kept key_values_of(const struct key_values *kept, size_t layer, size_t head)
{
    return (struct kept){.keys = keys_of(kept, layer, head), .keys_step = kept->step,
                         .values = values_of(kept, layer, 0) + head * kept->width,
                         .values_step = kept->heads * kept->width};
}
