/*
 * Below, d and m are halves, q is a row of elements of 4 or 8 bits, and a byte
 * of two 4-bit numbers has elements i (low) and i + half the row (high).
 */
#include "formats/quantized.h"

#include "numeric/floats.h"
#include "numeric/vector.h"

enum {
    BLOCK = 32,    /* elements of a block of the plain formats */
    HALF = BLOCK / 2,
    SUPER = 256,   /* elements of a block of the K formats */
    SCALES = 12,   /* bytes of 8 scales and 8 minima of 6 bits each */
    Q8_0_BYTES = 2 + BLOCK,
    Q4_0_BYTES = 2 + HALF,
    Q4_1_BYTES = 2 + 2 + HALF,
    Q5_0_BYTES = 2 + 4 + HALF,
    Q5_1_BYTES = 2 + 2 + 4 + HALF,
    Q4_K_BYTES = 2 + 2 + SCALES + SUPER / 2,
    Q5_K_BYTES = 2 + 2 + SCALES + SUPER / 8 + SUPER / 2,
    Q6_K_BYTES = SUPER / 2 + SUPER / 4 + SUPER / 16 + 2,
};

/* ---- blocks of 32 ---- */

/* d, 32 signed bytes q: d q */
KERNEL static void from_q8_0(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += Q8_0_BYTES, values += BLOCK) {
        float d = half_at(bytes);
        for (int i = 0; i < BLOCK; i++)
            values[i] = d * (float)(int8_t)bytes[2 + i];
    }
}

/* d, 32 q of 4 bits: d (q - 8) */
KERNEL static void from_q4_0(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += Q4_0_BYTES, values += BLOCK) {
        const unsigned char *q = bytes + 2;
        float d = half_at(bytes);
        for (int i = 0; i < HALF; i++) {
            values[i] = d * (float)((q[i] & 15) - 8);
            values[i + HALF] = d * (float)((q[i] >> 4) - 8);
        }
    }
}

/* d, m, 32 q of 4 bits: d q + m */
KERNEL static void from_q4_1(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += Q4_1_BYTES, values += BLOCK) {
        const unsigned char *q = bytes + 4;
        float d = half_at(bytes), m = half_at(bytes + 2);
        for (int i = 0; i < HALF; i++) {
            values[i] = d * (float)(q[i] & 15) + m;
            values[i + HALF] = d * (float)(q[i] >> 4) + m;
        }
    }
}

/* d, 32 fifth bits (element i's is bit i), 32 q of 4 bits: d (q - 16) */
KERNEL static void from_q5_0(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += Q5_0_BYTES, values += BLOCK) {
        const unsigned char *q = bytes + 6;
        float d = half_at(bytes);
        uint32_t fifth;
        memcpy(&fifth, bytes + 2, sizeof fifth);
        for (int i = 0; i < HALF; i++) {
            int low = (int)(fifth >> i & 1) << 4, high = (int)(fifth >> (i + HALF) & 1) << 4;
            values[i] = d * (float)((q[i] & 15) + low - 16);
            values[i + HALF] = d * (float)((q[i] >> 4) + high - 16);
        }
    }
}

/* d, m, 32 fifth bits, 32 q of 4 bits: d q + m */
KERNEL static void from_q5_1(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += Q5_1_BYTES, values += BLOCK) {
        const unsigned char *q = bytes + 8;
        float d = half_at(bytes), m = half_at(bytes + 2);
        uint32_t fifth;
        memcpy(&fifth, bytes + 4, sizeof fifth);
        for (int i = 0; i < HALF; i++) {
            int low = (int)(fifth >> i & 1) << 4, high = (int)(fifth >> (i + HALF) & 1) << 4;
            values[i] = d * (float)((q[i] & 15) + low) + m;
            values[i + HALF] = d * (float)((q[i] >> 4) + high) + m;
        }
    }
}

/* ---- blocks of 256 ---- */

/*
 * Part 0 .. 7's scale and minimum. Bytes 0 .. 3 have the scales of parts 0 .. 3 in
 * their low 6 bits, bytes 4 .. 7 the minima. Parts 4 .. 7: low 4 bits in bytes
 * 8 .. 11 (scale low, minimum high), high 2 bits in the top of bytes 0 .. 7.
 */
static inline void scale_and_minimum(const unsigned char *scales, int part, int *scale, int *minimum)
{
    if (part < 4) {
        *scale = scales[part] & 63;
        *minimum = scales[part + 4] & 63;
    } else {
        *scale = (scales[part + 4] & 15) | scales[part - 4] >> 6 << 4;
        *minimum = scales[part + 4] >> 4 | scales[part] >> 6 << 4;
    }
}

/*
 * d, m, 8 scales s and minima t of 6 bits, 256 q of 4 bits: with part i / 32's s
 * and t, (d s) q - (m t). Two parts share 32 bytes: low 4 bits, high 4 bits.
 */
KERNEL static void from_q4_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q4_K_BYTES) {
        float d = half_at(bytes), m = half_at(bytes + 2);
        for (int part = 0; part < 8; part++, values += 32) {
            const unsigned char *q = bytes + 4 + SCALES + part / 2 * 32;
            int scale, minimum, shift = part % 2 * 4;
            scale_and_minimum(bytes + 4, part, &scale, &minimum);
            float step = d * (float)scale, low = m * (float)minimum;
            for (int i = 0; i < 32; i++)
                values[i] = step * (float)(q[i] >> shift & 15) - low;
        }
    }
}

/* The same with fifth bits: bit p of byte i is that of element i of part p. */
KERNEL static void from_q5_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q5_K_BYTES) {
        const unsigned char *fifth = bytes + 4 + SCALES;
        float d = half_at(bytes), m = half_at(bytes + 2);
        for (int part = 0; part < 8; part++, values += 32) {
            const unsigned char *q = fifth + SUPER / 8 + part / 2 * 32;
            int scale, minimum, shift = part % 2 * 4;
            scale_and_minimum(bytes + 4, part, &scale, &minimum);
            float step = d * (float)scale, low = m * (float)minimum;
            for (int i = 0; i < 32; i++)
                values[i] = step * (float)((q[i] >> shift & 15) | (fifth[i] >> part & 1) << 4) - low;
        }
    }
}

/*
 * 256 q of 4 bits, their two upper bits, 16 signed bytes s, d: with s of element
 * i / 16, (d s) (q - 32). Each half of the block has 4 parts of 32: parts 0 and 1
 * in the low 4 bits of 64 bytes, 2 and 3 in the high ones; bits 2p and 2p + 1 of
 * 32 more bytes are part p's upper ones.
 */
KERNEL static void from_q6_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q6_K_BYTES) {
        const unsigned char *scales = bytes + SUPER / 2 + SUPER / 4;
        float d = half_at(scales + SUPER / 16);
        for (int run = 0; run < 16; run++, values += 16) { /* 16 elements with one scale */
            int half = run / 8, part = run / 2 % 4, place = run % 2 * 16;
            const unsigned char *q = bytes + half * 64 + part % 2 * 32 + place;
            const unsigned char *upper = bytes + SUPER / 2 + half * 32 + place;
            int shift = part / 2 * 4, upper_shift = 2 * part;
            float step = d * (float)(int8_t)scales[run];
            for (int i = 0; i < 16; i++)
                values[i] = step * (float)(((q[i] >> shift & 15) | (upper[i] >> upper_shift & 3) << 4) - 32);
        }
    }
}

/* ---- the table ---- */

static const struct quantization quantizations[] = {
    {0, "F32", 1, 4, floats_from_floats},
    {1, "F16", 1, 2, floats_from_halves},
    {2, "Q4_0", BLOCK, Q4_0_BYTES, from_q4_0},
    {3, "Q4_1", BLOCK, Q4_1_BYTES, from_q4_1},
    {6, "Q5_0", BLOCK, Q5_0_BYTES, from_q5_0},
    {7, "Q5_1", BLOCK, Q5_1_BYTES, from_q5_1},
    {8, "Q8_0", BLOCK, Q8_0_BYTES, from_q8_0},
    {9, "Q8_1", 0, 0, NULL},
    {10, "Q2_K", 0, 0, NULL},
    {11, "Q3_K", 0, 0, NULL},
    {12, "Q4_K", SUPER, Q4_K_BYTES, from_q4_k},
    {13, "Q5_K", SUPER, Q5_K_BYTES, from_q5_k},
    {14, "Q6_K", SUPER, Q6_K_BYTES, from_q6_k},
    {15, "Q8_K", 0, 0, NULL},
    {16, "IQ2_XXS", 0, 0, NULL},
    {17, "IQ2_XS", 0, 0, NULL},
    {18, "IQ3_XXS", 0, 0, NULL},
    {19, "IQ1_S", 0, 0, NULL},
    {20, "IQ4_NL", 0, 0, NULL},
    {21, "IQ3_S", 0, 0, NULL},
    {22, "IQ2_S", 0, 0, NULL},
    {23, "IQ4_XS", 0, 0, NULL},
    {24, "I8", 0, 0, NULL},
    {25, "I16", 0, 0, NULL},
    {26, "I32", 0, 0, NULL},
    {27, "I64", 0, 0, NULL},
    {28, "F64", 0, 0, NULL},
    {29, "IQ1_M", 0, 0, NULL},
    {30, "BF16", 1, 2, floats_from_bfloats},
    {34, "TQ1_0", 0, 0, NULL},
    {35, "TQ2_0", 0, 0, NULL},
    {39, "MXFP4", 0, 0, NULL},
    {40, "NVFP4", 0, 0, NULL},
    {41, "Q1_0", 0, 0, NULL},
};

const struct quantization *quantization_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof quantizations / sizeof *quantizations; i++)
        if (quantizations[i].number == number)
            return &quantizations[i];
    return NULL;
}
