#include "base/hash.h"

#include "base/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

struct hash {
    XXH3_state_t *state;
};

struct hash *hash_new(void)
{
    struct hash *hash = new_array(1, sizeof *hash);
    hash->state = XXH3_createState();
    if (!hash->state || XXH3_128bits_reset(hash->state) != XXH_OK)
        die("out of memory");
    return hash;
}

void hash_add(struct hash *hash, const void *bytes, size_t size)
{
    if (size && XXH3_128bits_update(hash->state, bytes, size) != XXH_OK)
        die("cannot hash %zu bytes", size);
}

void hash_finish(struct hash *hash, char text[HASH_CHARACTERS + 1])
{
    XXH128_hash_t bits = XXH3_128bits_digest(hash->state);
    snprintf(text, HASH_CHARACTERS + 1, "%016llx%016llx", (unsigned long long)bits.high64,
             (unsigned long long)bits.low64);
    XXH3_freeState(hash->state);
    free(hash);
}

uint64_t hash_bytes(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

uint64_t hash_random(uint64_t seed, uint64_t a, uint64_t b)
{
    const uint64_t arguments[2] = {a, b}; /* little endian, as the stream is */
    return XXH3_64bits_withSeed(arguments, sizeof arguments, seed);
}
