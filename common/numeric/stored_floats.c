#include "numeric/stored_floats.h"

#include "base/messages.h"
#include "numeric/vector.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

void stored_read(struct stored_floats stored, size_t first, size_t count, float *values)
{
    const unsigned char *bytes = stored.bytes + first * stored_width(stored.format);
    if (stored.format == FLOATS_32)
        floats_from_floats(bytes, count, values);
    else if (stored.format == FLOATS_HALF)
        floats_from_halves(bytes, count, values);
    else
        floats_from_bfloats(bytes, count, values);
}

const float *stored_as_floats(struct stored_floats stored)
{
    bool is = stored.format == FLOATS_32 && (uintptr_t)stored.bytes % _Alignof(float) == 0;
    return is ? (const float *)(const void *)stored.bytes : NULL;
}

const uint16_t *stored_as_bfloats(struct stored_floats stored)
{
    bool is = stored.format == FLOATS_BFLOAT && (uintptr_t)stored.bytes % _Alignof(uint16_t) == 0;
    return is ? (const uint16_t *)(const void *)stored.bytes : NULL;
}

/* Whether no number's exponent, the bits of this mask, has all bits set. */
KERNEL static bool all_finite_16(const unsigned char *bytes, size_t count, uint16_t exponent)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * i, sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return !found;
}

KERNEL static bool all_finite_32(const unsigned char *bytes, size_t count, uint32_t exponent)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, bytes + 4 * i, sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return !found;
}

size_t stored_first_not_finite(struct stored_floats stored, size_t count)
{
    size_t i = 0;
    if (stored.format == FLOATS_32 ? all_finite_32(stored.bytes, count, 0x7f800000u)
                                   : all_finite_16(stored.bytes, count,
                                                   stored.format == FLOATS_HALF ? 0x7c00u : 0x7f80u))
        return count;
    while (isfinite(stored_float(stored, i)))
        i++;
    return i;
}

/* ---- each thread's buffer ---- */

struct buffer {
    size_t capacity;
    float *values;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t buffers;

static void free_buffer(void *of_thread)
{
    struct buffer *buffer = of_thread;
    free(buffer->values);
    free(buffer);
}

static void make_key(void)
{
    if (pthread_key_create(&buffers, free_buffer))
        die("unable to make a buffer for each thread");
}

static struct buffer *own_buffer(void)
{
    pthread_once(&once, make_key);
    struct buffer *buffer = pthread_getspecific(buffers);
    if (buffer)
        return buffer;
    buffer = new_array(1, sizeof *buffer);
    if (pthread_setspecific(buffers, buffer))
        die("unable to make a buffer for a thread");
    return buffer;
}

const float *stored_widen(struct stored_floats stored, size_t count)
{
    struct buffer *buffer = own_buffer();
    if (count > buffer->capacity) {
        free(buffer->values);
        buffer->values = new_floats(count);
        buffer->capacity = count;
    }
    stored_read(stored, 0, count, buffer->values);
    return buffer->values;
}
