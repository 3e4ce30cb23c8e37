#include "analysis/sentence_keys.h"

#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"

#include <math.h>
#include <stdlib.h>

const struct field sentence_keys_fields[] = {
    FIELD_ARRAY(struct sentence_keys, layer, "key_layer", "sentences", sentences, 0),
    FIELD_ARRAY(struct sentence_keys, cell, "key_cell", "sentences", sentences, 0),
    FIELD_ARRAY(struct sentence_keys, coefficient, "key_coef", "sentences", sentences, 0),
    FIELD_ARRAY(struct sentence_keys, change, "key_change", "sentences", sentences, 0),
    FIELD_END,
};

const struct field key_coefficients_fields[] = {
    FIELD_ARRAY(struct key_coefficients, coefficient, "key", "sentences", sentences, 0),
    FIELD_END,
};

struct sentence_keys sentence_keys_read(const struct record *record, size_t sentences, size_t layers,
                                        size_t d_ff, size_t changes)
{
    struct sentence_keys keys = {.sentences = sentences};
    fields_read(record, sentence_keys_fields, 0, &keys);
    for (size_t s = 0; s < sentences; s++) {
        if (keys.layer[s] >= layers || keys.cell[s] >= d_ff)
            stream_fail(
                record->reader,
                "sentence %zu of the batch has layer %zu cell %u; the model has %zu layers of %zu cells", s,
                layer_shown(keys.layer[s]), keys.cell[s], layers, d_ff);
        if (!isfinite(keys.coefficient[s]) || keys.coefficient[s] == 0)
            stream_fail(record->reader, "sentence %zu of the batch has a coefficient that is 0 or not finite",
                        s);
        if (keys.change[s] >= changes)
            stream_fail(record->reader, "sentence %zu of the batch has change %u; the header names %zu", s,
                        keys.change[s], changes);
    }
    return keys;
}

void sentence_keys_hash(const struct sentence_keys *keys, struct hash *hash)
{
    hash_add(hash, keys->layer, keys->sentences * sizeof *keys->layer);
    hash_add(hash, keys->cell, keys->sentences * sizeof *keys->cell);
    hash_add(hash, keys->coefficient, keys->sentences * sizeof *keys->coefficient);
    hash_add(hash, keys->change, keys->sentences * sizeof *keys->change);
}

void sentence_keys_free(struct sentence_keys *keys)
{
    fields_free(sentence_keys_fields, keys);
    *keys = (struct sentence_keys){0};
}

void header_set_changes(json_t *header, json_t *names)
{
    json_put(header, "changes", names);
    fields_declare(header, sentence_keys_fields, 0, NULL);
}

const json_t *header_changes(const struct stream_reader *reader)
{
    const json_t *names = json_object_get(stream_header(reader), "changes"), *name;
    size_t i;
    if (!names)
        stream_fail(reader, "its sentences have no keys: perturb-triggers writes streams whose sentences do");
    bool right = json_array_size(names) > 0; /* 0 also where it is no list */
    json_array_foreach(names, i, name)
        right = right && json_string_length(name) > 0;
    if (!right)
        stream_fail(reader, "the header's changes are not a list of names");
    return names;
}
