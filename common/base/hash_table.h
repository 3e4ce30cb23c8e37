/*
 * Hash tables: uthash, which where memory runs out ends programs without a word of its own,
 * made to say so. To be included in its place.
 */
#ifndef FFKV_HASH_TABLE_H
#define FFKV_HASH_TABLE_H

#include "base/messages.h"

#define uthash_fatal(message) die(message)
#include <uthash.h>

#endif
