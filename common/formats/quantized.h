/*
 * The number formats of GGUF's tensors, as 32-bit floats.
 *
 * A tensor is a row of blocks: so many elements each, stored as small whole
 * numbers q with scales d (and minima m) that the block's elements share, so
 * that an element is d q or d q + m, or what a table has for q, times d. Sums and
 * products are in 32-bit floats, in the order that the definition states (ggml,
 * ggml-quants.c), not contracted: every processor gives the same bits.
 */
#ifndef FFKV_QUANTIZED_H
#define FFKV_QUANTIZED_H

#include <stddef.h>
#include <stdint.h>

struct quantization {
    uint32_t number; /* in the file */
    const char *name;
    size_t elements, bytes; /* of a block */
    /* Converts count elements, whole blocks, from bytes at any address. NULL: not known. */
    void (*convert)(const unsigned char *bytes, size_t count, float *values);
};

/* The format of that number; NULL when no format has it. convert may be NULL. */
const struct quantization *quantization_find(uint32_t number);

/* Elements and bytes of a block of MXFP4 that has its exponent elsewhere. */
enum { MXFP4_ELEMENTS = 32, MXFP4_PAIRS = 16 };

/*
 * Converts blocks of MXFP4 as safetensors files have them: MXFP4_PAIRS bytes each, of which byte i has the
 * elements 2 i (low) and 2 i + 1 (high), at pairs, and a block's exponent in a byte at exponents.
 */
void mxfp4_from_pairs(const unsigned char *pairs, const unsigned char *exponents, size_t blocks,
                      float *values);

/* The names of the formats that can be converted, "F32, F16, ..."; the caller frees it. */
char *quantization_list(void);

#endif
