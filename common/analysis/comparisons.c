#include "analysis/comparisons.h"

#include "base/messages.h"

#include <math.h>
#include <stdlib.h>

const struct field comparisons_fields[] = {
    FIELD_ARRAY(struct comparisons, sentence, "sentence", "rows", count, 0),
    FIELD_ARRAY(struct comparisons, position, "position", "rows", count, 0),
    FIELD_ARRAY(struct comparisons, next, "next", "rows", count, 0),
    FIELD_ARRAY(struct comparisons, top[PLAIN], "top", "rows", count, 0),
    FIELD_ARRAY(struct comparisons, top[EDITED], "edited_top", "rows", count, 0),
    FIELD_ARRAY(struct comparisons, divergence, "kl", "rows", count, 0),
    FIELD_MATRIX(struct comparisons, log_p[PLAIN], "logp", "rows", count, tokens, 0),
    FIELD_MATRIX(struct comparisons, log_p[EDITED], "edited_logp", "rows", count, tokens, 0),
    FIELD_MATRIX(struct comparisons, rank[PLAIN], "rank", "rows", count, tokens, 0),
    FIELD_MATRIX(struct comparisons, rank[EDITED], "edited_rank", "rows", count, tokens, 0),
    FIELD_END,
};

size_t comparisons_add(struct comparisons *comparisons)
{
    fields_reserve(comparisons_fields, 0, "rows", &comparisons->capacity, comparisons->count + 1,
                   comparisons);
    return comparisons->count++;
}

void comparisons_free(struct comparisons *comparisons)
{
    fields_free(comparisons_fields, comparisons);
    *comparisons = (struct comparisons){0};
}

size_t named_tokens_read(const struct stream_reader *reader, size_t vocabulary, struct named_token **tokens)
{
    const json_t *list = json_object_get(stream_header(reader), NAMED_TOKENS);
    size_t count = json_array_size(list);
    if (!json_is_array(list))
        stream_fail(reader, "the header has no list of %s", NAMED_TOKENS);
    *tokens = new_array(count, sizeof **tokens);
    for (size_t i = 0; i < count; i++) {
        const json_t *token = json_array_get(list, i), *number = json_array_get(token, 0);
        const char *text = json_string_value(json_array_get(token, 1));
        if (json_array_size(token) != 2 || !json_is_integer(number) || json_integer_value(number) < 0
            || (uint64_t)json_integer_value(number) >= vocabulary || !text)
            stream_fail(reader, "the header's %s are not each a token of the model and its text",
                        NAMED_TOKENS);
        (*tokens)[i] = (struct named_token){(uint32_t)json_integer_value(number), text};
    }
    return count;
}

/* Of one prefix: its numbers are such as there can be. */
static bool is_right(const struct comparisons *comparisons, size_t i, size_t vocabulary)
{
    bool right = comparisons->sentence[i] <= INT64_MAX && comparisons->next[i] < vocabulary
                 && comparisons->position[i] < MAX_SENTENCE_TOKENS
                 && comparisons->divergence[i] >= 0 && isfinite(comparisons->divergence[i]);
    for (int side = PLAIN; side < SIDES; side++) {
        right = right && comparisons->top[side][i] < vocabulary;
        for (size_t at = i * comparisons->tokens; at < (i + 1) * comparisons->tokens; at++) {
            float log_p = comparisons->log_p[side][at];
            uint32_t rank = comparisons->rank[side][at];
            right = right && log_p < 0.001f && isfinite(log_p) && rank && rank <= vocabulary;
        }
    }
    return right;
}

struct listed comparisons_listed(const struct record *record, const struct model_shape *shape)
{
    struct comparisons *comparisons = new_array(1, sizeof *comparisons);
    struct named_token *named;
    comparisons->tokens = 1 + named_tokens_read(record->reader, shape->vocabulary, &named);
    free(named);
    fields_read(record, comparisons_fields, 0, comparisons);
    const uint64_t *sentence = comparisons->sentence;
    const uint32_t *position = comparisons->position;
    bool right = comparisons->count > 0;
    for (size_t i = 0; i < comparisons->count; i++)
        right = right && is_right(comparisons, i, shape->vocabulary)
                && (!i || sentence[i] > sentence[i - 1]
                    || (sentence[i] == sentence[i - 1] && position[i] > position[i - 1]));
    if (!right)
        stream_fail(record->reader,
                    "compared prefixes are out of order, or a number in them is out of range");
    return (struct listed){comparisons, comparisons->count, sentence[0], sentence[comparisons->count - 1]};
}

void comparisons_listed_free(void *comparisons)
{
    comparisons_free(comparisons);
    free(comparisons);
}
