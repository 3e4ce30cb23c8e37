#include "analysis/changes.h"

#include "base/messages.h"
#include "numeric/vector.h"

#include <stdlib.h>
#include <string.h>

void changes_add(struct changes *changes, uint64_t sentence, uint32_t position, const uint32_t *prefix,
                 const struct projection_question *residual, const struct projection_question *output)
{
    if (changes->count == changes->capacity) {
        size_t capacity = changes->capacity = 2 * changes->capacity + 64;
        changes->sentence = grow_array(changes->sentence, capacity, sizeof *changes->sentence);
        changes->position = grow_array(changes->position, capacity, sizeof *changes->position);
        changes->old = grow_array(changes->old, capacity, sizeof *changes->old);
        changes->new = grow_array(changes->new, capacity, sizeof *changes->new);
        changes->p_old = grow_array(changes->p_old, capacity, sizeof *changes->p_old);
        changes->p_new = grow_array(changes->p_new, capacity, sizeof *changes->p_new);
    }
    if (changes->prefix_tokens + position > changes->prefix_capacity) {
        changes->prefix_capacity = 2 * (changes->prefix_tokens + position);
        changes->prefix = grow_array(changes->prefix, changes->prefix_capacity, sizeof *changes->prefix);
    }
    size_t i = changes->count++;
    changes->sentence[i] = sentence;
    changes->position[i] = position;
    changes->old[i] = residual->top;
    changes->new[i] = output->top;
    changes->p_old[i] = exponential(residual->top_log_probability);
    changes->p_new[i] = exponential(output->top_log_probability);
    if (position)
        memcpy(changes->prefix + changes->prefix_tokens, prefix, position * sizeof *prefix);
    changes->prefix_tokens += position;
}

void changes_free(struct changes *changes)
{
    free(changes->sentence);
    free(changes->position);
    free(changes->old);
    free(changes->new);
    free(changes->p_old);
    free(changes->p_new);
    free(changes->prefix);
    *changes = (struct changes){0};
}

void changes_pack(msgpack_sbuffer *buffer, const struct changes *changes)
{
    size_t count = changes->count;
    pack_map(buffer, 7);
    pack_array(buffer, "sentence", changes->sentence, count, sizeof *changes->sentence);
    pack_array(buffer, "position", changes->position, count, sizeof *changes->position);
    pack_array(buffer, "old", changes->old, count, sizeof *changes->old);
    pack_array(buffer, "new", changes->new, count, sizeof *changes->new);
    pack_array(buffer, "p_old", changes->p_old, count, sizeof *changes->p_old);
    pack_array(buffer, "p_new", changes->p_new, count, sizeof *changes->p_new);
    pack_array(buffer, "prefix", changes->prefix, changes->prefix_tokens, sizeof *changes->prefix);
}

void header_declare_changes(json_t *header)
{
    header_declare(header, "sentence", "uint64", json_make("[s]", "changes"));
    header_declare(header, "position", "uint32", json_make("[s]", "changes"));
    header_declare(header, "old", "uint32", json_make("[s]", "changes"));
    header_declare(header, "new", "uint32", json_make("[s]", "changes"));
    header_declare(header, "p_old", "float32", json_make("[s]", "changes"));
    header_declare(header, "p_new", "float32", json_make("[s]", "changes"));
    header_declare(header, "prefix", "uint32", json_make("[s]", "prefix tokens"));
}

struct changes changes_read(const struct record *record, const struct model_shape *shape)
{
    struct changes changes = {0};
    changes.sentence = record_array(record, "sentence", sizeof *changes.sentence, &changes.count);
    changes.position = record_array_of(record, "position", changes.count, sizeof *changes.position);
    changes.old = record_array_of(record, "old", changes.count, sizeof *changes.old);
    changes.new = record_array_of(record, "new", changes.count, sizeof *changes.new);
    changes.p_old = record_array_of(record, "p_old", changes.count, sizeof *changes.p_old);
    changes.p_new = record_array_of(record, "p_new", changes.count, sizeof *changes.p_new);
    changes.prefix = record_array(record, "prefix", sizeof *changes.prefix, &changes.prefix_tokens);
    size_t prefix_tokens = 0;
    bool right = changes.count > 0;
    for (size_t i = 0; i < changes.count; i++) {
        right = right && changes.old[i] < shape->vocabulary && changes.new[i] < shape->vocabulary
             && changes.old[i] != changes.new[i] && changes.sentence[i] <= INT64_MAX
             && changes.p_old[i] >= 0 && changes.p_old[i] < 1.001f && changes.p_new[i] >= 0 && changes.p_new[i] < 1.001f
             && (!i || changes.sentence[i] > changes.sentence[i - 1]
                 || (changes.sentence[i] == changes.sentence[i - 1] && changes.position[i] > changes.position[i - 1]));
        prefix_tokens += changes.position[i];
    }
    for (size_t i = 0; i < changes.prefix_tokens; i++)
        right = right && changes.prefix[i] < shape->vocabulary;
    if (!right || prefix_tokens != changes.prefix_tokens)
        stream_fail(record->reader, "changed predictions are out of order, or a number in them is out of range");
    return changes;
}
