/* Pages that are one file: a template, and the data that its scripts show. */
#ifndef FFKV_PAGE_H
#define FFKV_PAGE_H

#include "base/json.h"
#include "base/output.h"
#include "text/text.h"

/*
 * Writes the template to output, which it completes, with data in the place of {{data}}, within a script
 * element of type application/json: no byte of it can be taken for anything but JSON. digits: of numbers.
 */
void page_write(struct output *output, struct span template, const json_t *data, unsigned digits);

#endif
