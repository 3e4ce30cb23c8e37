/* JSON as lines for people: a name and a value. */
#ifndef FFKV_JSON_TEXT_H
#define FFKV_JSON_TEXT_H

#include <jansson.h>
#include <stdio.h>

/*
 * Prints the members of an object of objects and values, each on a line, those of a member that is an object
 * below its name. true is yes, null none; names ending with "_bytes" and "_seconds" have numbers of these; whole
 * numbers in a list that rise are ranges; control characters are "?". Other objects are lists of names and values.
 */
void json_print_lines(FILE *out, const json_t *object);

#endif
