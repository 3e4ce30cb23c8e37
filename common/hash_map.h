/* uthash, which without memory ends the program as everything here does: with a message. */
#ifndef FFKV_HASH_MAP_H
#define FFKV_HASH_MAP_H

#include "messages.h"

#define uthash_fatal(reason) die("%s", reason)
#include <uthash.h>

#endif
