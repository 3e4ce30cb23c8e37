#include "analysis/sentence_keys.h"

#include "base/messages.h"

#include <math.h>
#include <stdlib.h>

void sentence_keys_pack(msgpack_sbuffer *buffer, const struct sentence_keys *keys, size_t sentences)
{
    pack_array(buffer, "key_layer", keys->layer, sentences, sizeof *keys->layer);
    pack_array(buffer, "key_cell", keys->cell, sentences, sizeof *keys->cell);
    pack_array(buffer, "key_coef", keys->coefficient, sentences, sizeof *keys->coefficient);
    pack_array(buffer, "key_change", keys->change, sentences, sizeof *keys->change);
}

/* An array of one element a sentence. */
static void *array_of(const struct record *record, const char *name, size_t sentences, size_t size)
{
    void *elements = new_array(sentences, size);
    record_copy(record, name, elements, sentences, size);
    return elements;
}

struct sentence_keys sentence_keys_read(const struct record *record, size_t sentences, size_t layers,
                                        size_t d_ff, size_t changes)
{
    struct sentence_keys keys = {
        .layer = array_of(record, "key_layer", sentences, sizeof *keys.layer),
        .cell = array_of(record, "key_cell", sentences, sizeof *keys.cell),
        .coefficient = array_of(record, "key_coef", sentences, sizeof *keys.coefficient),
        .change = array_of(record, "key_change", sentences, sizeof *keys.change),
    };
    for (size_t s = 0; s < sentences; s++) {
        if (keys.layer[s] >= layers || keys.cell[s] >= d_ff)
            stream_fail(record->reader, "sentence %zu of the batch has layer %u cell %u; the model has %zu layers of %zu cells",
                        s, keys.layer[s], keys.cell[s], layers, d_ff);
        if (!isfinite(keys.coefficient[s]) || keys.coefficient[s] == 0)
            stream_fail(record->reader, "sentence %zu of the batch has a coefficient that is 0 or not finite", s);
        if (keys.change[s] >= changes)
            stream_fail(record->reader, "sentence %zu of the batch has change %u; the header names %zu", s,
                        keys.change[s], changes);
    }
    return keys;
}

void sentence_keys_free(struct sentence_keys *keys)
{
    free(keys->layer);
    free(keys->cell);
    free(keys->coefficient);
    free(keys->change);
    *keys = (struct sentence_keys){0};
}

void header_set_changes(json_t *header, json_t *names)
{
    json_put(header, "changes", names);
    header_declare(header, "key_layer", "uint32", json_make("[s]", "sentences"));
    header_declare(header, "key_cell", "uint32", json_make("[s]", "sentences"));
    header_declare(header, "key_coef", "float32", json_make("[s]", "sentences"));
    header_declare(header, "key_change", "uint32", json_make("[s]", "sentences"));
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
