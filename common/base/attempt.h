/*
 * Work whose failure the program survives. All code may end the program with a message, so what is only tried
 * is done in a process of its own, which ends in its place.
 */
#ifndef FFKV_ATTEMPT_H
#define FFKV_ATTEMPT_H

#include <jansson.h>

/*
 * What work(context) returns, a JSON object, or NULL where it ended the process: then *message is what it
 * said, without the program's name; the caller frees it. What it says otherwise, such as warnings, goes
 * to standard error. From the main thread, before others start and before an output is opened.
 */
json_t *attempt(json_t *(*work)(const void *context), const void *context, char **message);

#endif
