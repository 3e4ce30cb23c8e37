/* XXH3: names for data (128 bits), and random numbers that are functions of their arguments. */
#ifndef FFKV_HASH_H
#define FFKV_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_CHARACTERS = 32 };

struct hash;

struct hash *hash_new(void);
void hash_add(struct hash *hash, const void *bytes, size_t size);

/* Writes the 128 bits as hexadecimal digits. Frees hash. */
void hash_finish(struct hash *hash, char text[HASH_CHARACTERS + 1]);

/* 64 bits of some bytes, for tables in memory. */
uint64_t hash_bytes(const void *bytes, size_t size);

/* A number that looks random, a function of seed, a and b only. */
uint64_t hash_random(uint64_t seed, uint64_t a, uint64_t b);

#endif
