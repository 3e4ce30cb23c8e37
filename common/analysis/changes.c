#include "analysis/changes.h"

#include "base/messages.h"
#include "numeric/vector.h"

#include <stdlib.h>
#include <string.h>

const struct field changes_fields[] = {
    FIELD_ARRAY(struct changes, sentence, "sentence", "changes", count, 0),
    FIELD_ARRAY(struct changes, position, "position", "changes", count, 0),
    FIELD_ARRAY(struct changes, old, "old", "changes", count, 0),
    FIELD_ARRAY(struct changes, new, "new", "changes", count, 0),
    FIELD_ARRAY(struct changes, p_old, "p_old", "changes", count, 0),
    FIELD_ARRAY(struct changes, p_new, "p_new", "changes", count, 0),
    FIELD_ARRAY(struct changes, prefix, "prefix", "prefix tokens", prefix_tokens, 0),
    FIELD_END,
};

void changes_add(struct changes *changes, uint64_t sentence, uint32_t position, const uint32_t *prefix,
                 const struct projection_question *residual, const struct projection_question *output)
{
    fields_reserve(changes_fields, 0, "changes", &changes->capacity, changes->count + 1, changes);
    fields_reserve(changes_fields, 0, "prefix tokens", &changes->prefix_capacity,
                   changes->prefix_tokens + position, changes);
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
    fields_free(changes_fields, changes);
    *changes = (struct changes){0};
}

static struct changes read_changes(const struct record *record, const struct model_shape *shape)
{
    struct changes changes = {0};
    fields_read(record, changes_fields, 0, &changes);
    size_t prefix_tokens = 0;
    bool right = changes.count > 0;
    for (size_t i = 0; i < changes.count; i++) {
        right = right && changes.old[i] < shape->vocabulary
                && changes.new[i] < shape->vocabulary && changes.old[i] != changes.new[i]
                && changes.sentence[i] <= INT64_MAX && changes.p_old[i] >= 0 && changes.p_old[i] < 1.001f
                && changes.p_new[i] >= 0 && changes.p_new[i] < 1.001f
                && (!i || changes.sentence[i] > changes.sentence[i - 1]
                    || (changes.sentence[i] == changes.sentence[i - 1]
                        && changes.position[i] > changes.position[i - 1]));
        prefix_tokens += changes.position[i];
    }
    for (size_t i = 0; i < changes.prefix_tokens; i++)
        right = right && changes.prefix[i] < shape->vocabulary;
    if (!right || prefix_tokens != changes.prefix_tokens)
        stream_fail(record->reader,
                    "changed predictions are out of order, or a number in them is out of range");
    return changes;
}

struct listed changes_listed(const struct record *record, const struct model_shape *shape)
{
    struct changes *changes = new_array(1, sizeof *changes);
    *changes = read_changes(record, shape);
    const uint64_t *sentence = changes->sentence;
    return (struct listed){changes, changes->count, sentence[0], sentence[changes->count - 1]};
}

void changes_listed_free(void *changes)
{
    changes_free(changes);
    free(changes);
}
