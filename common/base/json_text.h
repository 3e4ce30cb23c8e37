/* JSON as lines for people: a name and a value. */
#ifndef FFKV_JSON_TEXT_H
#define FFKV_JSON_TEXT_H

#include <jansson.h>
#include <stdio.h>

/*
 * Prints the members of an object of objects and values, each on a line, those of a member that is an object
 * below its name. true is yes, null none; names ending with "_bytes" and "_seconds" have numbers of these;
 * a list's numbers that rise by 1 are a range; an object within an object is a list of names and values;
 * control characters are "?".
 */
void json_print_lines(FILE *out, const json_t *object);

#endif
