#include "text/bos.h"

#include "base/messages.h"
#include "text/json_members.h"

#include <string.h>

enum { MAX_SEQUENCES = 8 }; /* within each other */

/* Tokens before the text, the first of which is read. */
struct before {
    struct json_place place;
    size_t count;
    uint32_t token;
};

static void add_token(struct before *before, const json_t *id)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= NO_TOKEN)
        die("%s: %s: a special token's id is missing or out of range", before->place.path,
            before->place.part);
    before->token = (uint32_t)json_integer_value(id);
    if (++before->count > 1)
        die("%s: %s: it puts several tokens before a text; this program reads one, BOS", before->place.path,
            before->place.part);
}

/* {"id": NAME}, and in the template's special_tokens {NAME: {"ids": [5]}}. */
static void add_special(struct before *before, const json_t *template, const json_t *special)
{
    const char *name = member_text(before->place, special, "id");
    const json_t *tokens = json_object_get(template, "special_tokens");
    const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
    if (!json_is_array(ids))
        die("%s: %s: the special token '%s' has no ids", before->place.path, before->place.part,
            name ? name : "(none)");
    for (size_t i = 0; i < json_array_size(ids); i++)
        add_token(before, json_array_get(ids, i));
}

/* What "single" has before the text, which is {"Sequence": ...}. */
static void read_template(struct before *before, const json_t *template)
{
    const json_t *pieces = json_object_get(template, "single");
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i), *special = json_object_get(piece, "SpecialToken");
        if (json_object_get(piece, "Sequence"))
            return;
        if (!special)
            break;
        add_special(before, template, special);
    }
    die("%s: %s: 'single' must be a list of special tokens and a text", before->place.path,
        before->place.part);
}

static void read_processor(struct before *before, const json_t *processor, size_t depth)
{
    const char *type = member_type(before->place, processor);
    const json_t *members = json_object_get(processor, "processors");
    if (!strcmp(type, "TemplateProcessing")) {
        read_template(before, processor);
    } else if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing")) {
        add_token(before, json_array_get(json_object_get(processor, "cls"), 1));
    } else if (!strcmp(type, "Sequence") && json_is_array(members) && depth < MAX_SEQUENCES) {
        for (size_t i = 0; i < json_array_size(members); i++)
            read_processor(before, json_array_get(members, i), depth + 1);
    } else if (strcmp(type, "ByteLevel")) { /* which moves offsets only */
        die("%s: the post_processor '%s' is not known to this program, or not in order; TemplateProcessing, "
            "RobertaProcessing, BertProcessing, ByteLevel and Sequence are known", before->place.path, type);
    }
}

struct stated_bos bos_of_post_processor(const char *path, const json_t *post_processor)
{
    struct before before = {.place = {path, "post_processor"}};
    if (!is_nothing(post_processor))
        read_processor(&before, post_processor, 0);
    return (struct stated_bos){before.count > 0, before.count ? before.token : NO_TOKEN};
}
