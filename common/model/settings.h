/*
 * The settings of a JSON object, config.json or a part of it, read one by one.
 * It remembers which were asked for: what nobody asked for could change what the
 * model computes, and is refused by name.
 */
#ifndef FFKV_SETTINGS_H
#define FFKV_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct settings {
    const char *name; /* of the file, for messages */
    const char *part; /* in front of a key, for messages: "" or "rope_scaling." */
    json_t *json;     /* borrowed */
    json_t *read;     /* the keys that were asked for */
};

/* A setting's default, or the one value whose arithmetic is known; as JSON text. */
struct known_setting {
    const char *key, *value;
};

/* Free it with settings_close. Where json is no object, nothing is stated. */
struct settings settings_open(const char *name, const char *part, json_t *json);
void settings_close(struct settings *settings);

/* Whether key is there, be it null. */
bool setting_stated(const struct settings *settings, const char *key);

/* The value of key; NULL where it is missing or null. */
json_t *setting(const struct settings *settings, const char *key);

/* Each ends the program, by name, for a value of another kind or out of range; missing and null are so. */
size_t setting_size(const struct settings *settings, const char *key, size_t least, size_t most);
double setting_real(const struct settings *settings, const char *key);  /* above 0, finite */
float setting_float(const struct settings *settings, const char *key);  /* above 0, below 1e9 */
bool setting_flag(const struct settings *settings, const char *key);

/* The same; otherwise where key is missing or null. */
size_t setting_size_or(const struct settings *settings, const char *key, size_t least, size_t most,
                       size_t otherwise);
double setting_real_or(const struct settings *settings, const char *key, double otherwise);

/* Ends the program: the value of key is none of those that are known, a text. */
_Noreturn void setting_refuse(const struct settings *settings, const char *key, const char *known);

/*
 * Writes the defaults of what is missing into the object. What is null stays so. A NULL key ends the list;
 * NULL is an empty one.
 */
void settings_default(const struct settings *settings, const struct known_setting *defaults);

/* Ends the program for a value that is not the known one, or where required for none; known: such a list. */
void settings_must_be(const struct settings *settings, const struct known_setting *known, bool required);

/*
 * Ends the program when a key is there that nobody asked for, whose name is on none of the lists (each
 * ended by NULL, as is the list of lists), and which says something: not null, false, 0 or empty.
 */
void settings_refuse_unread(const struct settings *settings, const char *const *const *ignored);

#endif
