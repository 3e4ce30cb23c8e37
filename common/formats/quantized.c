/*
 * Below, d and m are halves, q is a row of elements of 4 or 8 bits, and a byte
 * of two 4-bit numbers has elements i (low) and i + half the row (high).
 */
#include "formats/quantized.h"

#include "base/messages.h"
#include "numeric/floats.h"
#include "numeric/vector.h"

#include <stdlib.h>

enum {
    BLOCK = 32,    /* elements of a block of the plain formats */
    HALF = BLOCK / 2,
    SUPER = 256,   /* elements of a block of the K formats */
    SCALES = 12,   /* bytes of 8 scales and 8 minima, or of 16 scales, of 6 bits each */
    NVFP4_BLOCK = 64,
    Q8_0_BYTES = 2 + BLOCK,
    Q4_0_BYTES = 2 + HALF,
    Q4_1_BYTES = 2 + 2 + HALF,
    Q5_0_BYTES = 2 + 4 + HALF,
    Q5_1_BYTES = 2 + 2 + 4 + HALF,
    Q4_K_BYTES = 2 + 2 + SCALES + SUPER / 2,
    Q5_K_BYTES = 2 + 2 + SCALES + SUPER / 8 + SUPER / 2,
    Q6_K_BYTES = SUPER / 2 + SUPER / 4 + SUPER / 16 + 2,
    Q2_K_BYTES = SUPER / 16 + SUPER / 4 + 2 + 2,
    Q3_K_BYTES = SUPER / 8 + SUPER / 4 + SCALES + 2,
    Q8_K_BYTES = 4 + SUPER + SUPER / 16 * 2,
    IQ4_NL_BYTES = 2 + HALF,
    IQ4_XS_BYTES = 2 + 2 + SUPER / 64 + SUPER / 2,
    MXFP4_BYTES = 1 + HALF,
    NVFP4_BYTES = NVFP4_BLOCK / 16 + NVFP4_BLOCK / 2,
    TQ1_0_BYTES = 32 + 16 + 4 + 2,
    TQ2_0_BYTES = SUPER / 4 + 2,
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

/* ---- blocks of numbers that a table has ---- */

/* What the 16 numbers of 4 bits mean in IQ4_NL and IQ4_XS. */
static const signed char curve[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* The same in MXFP4 and NVFP4: twice a float of 2 bits of exponent and 1 of mantissa. */
static const signed char small_floats[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2 * half elements of one scale, from as many numbers of 4 bits: low ones, then high ones. */
static inline void from_table(const signed char *table, float d, const unsigned char *q, int half,
                              float *values)
{
    for (int i = 0; i < half; i++) {
        values[i] = d * (float)table[q[i] & 15];
        values[i + half] = d * (float)table[q[i] >> 4];
    }
}

/* d, 32 q of 4 bits: d curve(q) */
KERNEL static void from_iq4_nl(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += IQ4_NL_BYTES, values += BLOCK)
        from_table(curve, half_at(bytes), bytes + 2, HALF, values);
}

/* d, upper 2 and lower 4 bits of 8 scales s, 256 q of 4 bits: with part i / 32's s, (d (s - 32)) curve(q) */
KERNEL static void from_iq4_xs(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += IQ4_XS_BYTES) {
        const unsigned char *lower = bytes + 4, *q = lower + SUPER / 64;
        float d = half_at(bytes);
        uint16_t upper;
        memcpy(&upper, bytes + 2, sizeof upper);
        for (int part = 0; part < 8; part++, values += 32) {
            int scale = (lower[part / 2] >> part % 2 * 4 & 15) | (upper >> 2 * part & 3) << 4;
            from_table(curve, d * (float)(scale - 32), q + part * 16, 16, values);
        }
    }
}

/* Half of 2^(exponent - 127), as small_floats has twice of what is meant. */
static inline float half_power(unsigned char exponent)
{
    uint32_t bits = exponent < 2 ? 0x200000u << exponent : (uint32_t)(exponent - 1) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* An exponent, 32 q of 4 bits (the OCP's Microscaling formats) */
KERNEL static void from_mxfp4(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= BLOCK, bytes += MXFP4_BYTES, values += BLOCK)
        from_table(small_floats, half_power(bytes[0]), bytes + 1, HALF, values);
}

void mxfp4_from_pairs(const unsigned char *pairs, const unsigned char *exponents, size_t blocks,
                      float *values)
{
    for (; blocks; blocks--, exponents++)
        for (int i = 0; i < MXFP4_PAIRS; i++, pairs++) {
            *values++ = half_power(*exponents) * (float)small_floats[*pairs & 15];
            *values++ = half_power(*exponents) * (float)small_floats[*pairs >> 4];
        }
}

/* Half of a float without sign, of 4 bits of exponent and 3 of mantissa; what would be NaN is 0. */
static inline float half_small_float(unsigned char bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f)
        return 0;
    return half_power((unsigned char)((exponent ? exponent : 1) + 117))
         * (float)(exponent ? 8 + mantissa : mantissa); /* steps of 2^(exponent - 11) */
}

/* 4 scales, one a part of 16 elements; 64 q of 4 bits */
KERNEL static void from_nvfp4(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= NVFP4_BLOCK, bytes += NVFP4_BYTES)
        for (int part = 0; part < 4; part++, values += 16)
            from_table(small_floats, half_small_float(bytes[part]), bytes + 4 + part * 8, 8, values);
}

/* ---- blocks of 256 ---- */

/*
 * 16 bytes of a scale s and a minimum t of 4 bits each, 256 q of 2 bits, d, m: with s and t of element
 * i / 16, (d s) q - (m t). Each half of the block has 32 bytes and 4 parts of 32: bits 2p and 2p + 1 are
 * part p's.
 */
KERNEL static void from_q2_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q2_K_BYTES) {
        const unsigned char *halves = bytes + SUPER / 16 + SUPER / 4;
        float d = half_at(halves), m = half_at(halves + 2);
        for (int run = 0; run < 16; run++, values += 16) { /* 16 elements with one scale */
            const unsigned char *q = bytes + SUPER / 16 + run / 8 * 32 + run % 2 * 16;
            int shift = run / 2 % 4 * 2;
            float step = d * (float)(bytes[run] & 15), low = m * (float)(bytes[run] >> 4);
            for (int i = 0; i < 16; i++)
                values[i] = step * (float)(q[i] >> shift & 3) - low;
        }
    }
}

/* Of 16 scales of 6 bits: low 4 bits in bytes 0 .. 7 (low halves, then high), high 2 in bytes 8 .. 11. */
static inline int scale_of_16(const unsigned char *scales, int run)
{
    return (scales[run % 8] >> run / 8 * 4 & 15) | (scales[8 + run % 4] >> run / 4 * 2 & 3) << 4;
}

/*
 * 256 third bits, 256 q of 2 bits as in Q2_K, 16 scales s, d: with s of element i / 16, (d (s - 32)) q, q
 * being 4 less where the third bit is 0. Bit 4h + p of 32 bytes is that of part p of half h.
 */
KERNEL static void from_q3_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q3_K_BYTES) {
        const unsigned char *scales = bytes + SUPER / 8 + SUPER / 4;
        float d = half_at(scales + SCALES);
        for (int run = 0; run < 16; run++, values += 16) {
            const unsigned char *third = bytes + run % 2 * 16;
            const unsigned char *q = third + SUPER / 8 + run / 8 * 32;
            int shift = run / 2 % 4 * 2, third_shift = run / 2;
            float step = d * (float)(scale_of_16(scales, run) - 32);
            for (int i = 0; i < 16; i++)
                values[i] = step * (float)((q[i] >> shift & 3) - 4 + (third[i] >> third_shift & 1) * 4);
        }
    }
}

/* d of 32 bits, 256 signed bytes q, sums that are not needed: d q */
KERNEL static void from_q8_k(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += Q8_K_BYTES, values += SUPER) {
        float d;
        memcpy(&d, bytes, sizeof d);
        for (int i = 0; i < SUPER; i++)
            values[i] = d * (float)(int8_t)bytes[4 + i];
    }
}

/* 256 q of 2 bits as in Q2_K, d: d (q - 1) */
KERNEL static void from_tq2_0(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += TQ2_0_BYTES) {
        float d = half_at(bytes + SUPER / 4);
        for (int part = 0; part < 8; part++, values += 32)
            for (int i = 0; i < 32; i++)
                values[i] = d * (float)((bytes[part / 4 * 32 + i] >> part % 4 * 2 & 3) - 1);
    }
}

/* width bytes of which each has digits q of 3 values, first ones first, width elements apart: d (q - 1) */
static inline void from_digits(float d, const unsigned char *q, int width, int digits, float *values)
{
    unsigned char power = 1; /* brings the digit to the top */
    for (int digit = 0; digit < digits; digit++, power = (unsigned char)(power * 3), values += width)
        for (int i = 0; i < width; i++)
            values[i] = d * (float)(((unsigned char)(q[i] * power) * 3 >> 8) - 1);
}

/* 32 and 16 bytes of 5 digits each, 4 bytes of 4, d */
KERNEL static void from_tq1_0(const unsigned char *restrict bytes, size_t count, float *restrict values)
{
    for (; count; count -= SUPER, bytes += TQ1_0_BYTES, values += SUPER) {
        float d = half_at(bytes + 32 + 16 + 4);
        from_digits(d, bytes, 32, 5, values);
        from_digits(d, bytes + 32, 16, 5, values + 32 * 5);
        from_digits(d, bytes + 32 + 16, 4, 4, values + 48 * 5);
    }
}

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

/* In the order of their numbers; of those without a function, only the name is known. */

static const struct quantization quantizations[] = {
    {0, "F32", 1, 4, floats_from_floats},
    {1, "F16", 1, 2, floats_from_halves},
    {2, "Q4_0", BLOCK, Q4_0_BYTES, from_q4_0},
    {3, "Q4_1", BLOCK, Q4_1_BYTES, from_q4_1},
    {6, "Q5_0", BLOCK, Q5_0_BYTES, from_q5_0},
    {7, "Q5_1", BLOCK, Q5_1_BYTES, from_q5_1},
    {8, "Q8_0", BLOCK, Q8_0_BYTES, from_q8_0},
    {9, "Q8_1", 0, 0, NULL},
    {10, "Q2_K", SUPER, Q2_K_BYTES, from_q2_k},
    {11, "Q3_K", SUPER, Q3_K_BYTES, from_q3_k},
    {12, "Q4_K", SUPER, Q4_K_BYTES, from_q4_k},
    {13, "Q5_K", SUPER, Q5_K_BYTES, from_q5_k},
    {14, "Q6_K", SUPER, Q6_K_BYTES, from_q6_k},
    {15, "Q8_K", SUPER, Q8_K_BYTES, from_q8_k},
    {16, "IQ2_XXS", 0, 0, NULL},
    {17, "IQ2_XS", 0, 0, NULL},
    {18, "IQ3_XXS", 0, 0, NULL},
    {19, "IQ1_S", 0, 0, NULL},
    {20, "IQ4_NL", BLOCK, IQ4_NL_BYTES, from_iq4_nl},
    {21, "IQ3_S", 0, 0, NULL},
    {22, "IQ2_S", 0, 0, NULL},
    {23, "IQ4_XS", SUPER, IQ4_XS_BYTES, from_iq4_xs},
    {24, "I8", 0, 0, NULL},
    {25, "I16", 0, 0, NULL},
    {26, "I32", 0, 0, NULL},
    {27, "I64", 0, 0, NULL},
    {28, "F64", 0, 0, NULL},
    {29, "IQ1_M", 0, 0, NULL},
    {30, "BF16", 1, 2, floats_from_bfloats},
    {34, "TQ1_0", SUPER, TQ1_0_BYTES, from_tq1_0},
    {35, "TQ2_0", SUPER, TQ2_0_BYTES, from_tq2_0},
    {39, "MXFP4", BLOCK, MXFP4_BYTES, from_mxfp4},
    {40, "NVFP4", NVFP4_BLOCK, NVFP4_BYTES, from_nvfp4},
    {41, "Q1_0", 0, 0, NULL},
};

const struct quantization *quantization_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof quantizations / sizeof *quantizations; i++)
        if (quantizations[i].number == number)
            return &quantizations[i];
    return NULL;
}

char *quantization_list(void)
{
    char *names = copy_string("");
    for (size_t i = 0; i < sizeof quantizations / sizeof *quantizations; i++) {
        if (!quantizations[i].convert)
            continue;
        char *longer = format_string("%s%s%s", names, *names ? ", " : "", quantizations[i].name);
        free(names);
        names = longer;
    }
    return names;
}
