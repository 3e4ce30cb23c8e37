/*
 * Members of the JSON that tokenizers come in. Whatever is not as it should be ends the program,
 * with the file and the part of it.
 */
#ifndef FFKV_JSON_MEMBERS_H
#define FFKV_JSON_MEMBERS_H

#include "text/text.h"

#include <jansson.h>
#include <stdbool.h>

/* What part of which file is being read, for messages. */
struct json_place {
    const char *path, *part;
};

/* No value, or null. */
bool is_nothing(const json_t *value);

struct span string_span(const json_t *string);

/* The member, which must be true or false; otherwise when there is none. */
bool member_flag(struct json_place place, const json_t *object, const char *name, bool otherwise);

/* The member as text; NULL when there is none. */
const char *member_text(struct json_place place, const json_t *object, const char *name);

/* The member "type", which must be there. */
const char *member_type(struct json_place place, const json_t *object);

/* Ends the program when the object has a member that is not in names, which NULL ends. */
void check_members(struct json_place place, json_t *object, const char *const *names);

#endif
