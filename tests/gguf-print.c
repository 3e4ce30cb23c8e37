/*
 * What common/formats/gguf.h reads from a file, for tests and for a look:
 *
 *   gguf-print FILE                        keys, then tensors with format and lengths
 *   gguf-print FILE text|word|uint|real|bool KEY
 *   gguf-print FILE texts|ints|floats KEY  an element a line
 *   gguf-print FILE read|map NAME ROWS COLUMNS   32-bit floats, as bytes
 *   gguf-print FILE time                   converts all tensors, says how fast
 *   gguf-print FILE hash                   the model's id
 */
#include "base/messages.h"
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void print_names(const struct gguf *file)
{
    for (size_t i = 0; i < gguf_keys(file); i++)
        printf("%s%s\n", gguf_key(file, i), gguf_is_array(file, gguf_key(file, i)) ? "[]" : "");
    for (size_t i = 0; i < gguf_tensors(file); i++) {
        size_t length[GGUF_DIMENSIONS];
        const char *format = gguf_format(file, gguf_tensor(file, i), length);
        printf("%s %s %zu %zu %zu %zu\n", gguf_tensor(file, i), format, length[0], length[1], length[2],
               length[3]);
    }
}

static void print_text(struct gguf_text text)
{
    fwrite(text.bytes, 1, text.length, stdout);
    putchar('\n');
}

static void print_array(const struct gguf *file, const char *type, const char *key)
{
    size_t count = 0;
    void *array = NULL;
    if (!strcmp(type, "texts")) {
        struct gguf_text *texts = array = gguf_texts(file, key, &count);
        for (size_t i = 0; i < count; i++)
            print_text(texts[i]);
    } else if (!strcmp(type, "ints")) {
        int64_t *numbers = array = gguf_ints(file, key, &count);
        for (size_t i = 0; i < count; i++)
            printf("%" PRId64 "\n", numbers[i]);
    } else if (!strcmp(type, "floats")) {
        float *numbers = array = gguf_floats(file, key, &count);
        for (size_t i = 0; i < count; i++)
            printf("%.9g\n", (double)numbers[i]);
    } else {
        die_usage("there is no '%s'", type);
    }
    free(array);
}

static void print_value(const struct gguf *file, const char *type, const char *key)
{
    if (!strcmp(type, "text")) {
        print_text(gguf_text(file, key));
    } else if (!strcmp(type, "word")) {
        char *word = gguf_word(file, key);
        puts(word);
        free(word);
    } else if (!strcmp(type, "uint")) {
        printf("%" PRIu64 "\n", gguf_uint(file, key, 0, UINT64_MAX));
    } else if (!strcmp(type, "real")) {
        printf("%.17g\n", gguf_real(file, key));
    } else if (!strcmp(type, "bool")) {
        puts(gguf_bool(file, key) ? "true" : "false");
    } else {
        print_array(file, type, key);
    }
}

static void print_tensor(const struct gguf *file, const char *how, const char *name, const char *rows_text,
                         const char *columns_text)
{
    size_t rows = strtoul(rows_text, NULL, 10), columns = strtoul(columns_text, NULL, 10);
    const struct tensor_shape shape = {.rows = rows, .columns = columns};
    size_t count = shape_elements(shape);
    if (!strcmp(how, "map")) {
        const float *mapped = stored_as_floats(gguf_map(file, name, shape));
        if (mapped)
            fwrite(mapped, sizeof *mapped, count, stdout);
        return;
    }
    float *values = new_floats(count);
    gguf_read(file, name, shape, values);
    fwrite(values, sizeof *values, count, stdout);
    free(values);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Converts every tensor, each to memory of its own, as a model has it. */
static void time_tensors(const struct gguf *file)
{
    size_t elements = 0, count = gguf_tensors(file);
    float **values = new_array(count, sizeof *values);
    double begin = seconds();
    for (size_t i = 0; i < count; i++) {
        size_t length[GGUF_DIMENSIONS];
        gguf_format(file, gguf_tensor(file, i), length);
        size_t rows = length[0] * length[1];
        values[i] = aligned_alloc(64, (rows + 16) / 16 * 64);
        if (!values[i])
            die("out of memory");
        const struct tensor_shape shape = {.rows = length[1], .columns = length[0]};
        gguf_read(file, gguf_tensor(file, i), shape, values[i]);
        elements += rows;
    }
    double took = seconds() - begin;
    printf("%zu elements in %.3f s, %.2f GB/s written\n", elements, took, 4e-9 * (double)elements / took);
    for (size_t i = 0; i < count; i++)
        free(values[i]);
    free(values);
}

static void print_hash(const struct gguf *file)
{
    char text[HASH_CHARACTERS + 1];
    struct hash *hash = hash_new();
    gguf_hash(file, hash);
    hash_finish(hash, text);
    puts(text);
}

int main(int arguments, char **argument)
{
    set_program_name("gguf-print");
    if (arguments != 2 && arguments != 3 && arguments != 4 && arguments != 6)
        die_usage("usage: gguf-print FILE [TYPE KEY | read|map NAME ROWS COLUMNS | time | hash]");
    struct gguf *file = gguf_open(argument[1]);
    if (arguments == 2)
        print_names(file);
    else if (arguments == 3 && !strcmp(argument[2], "hash"))
        print_hash(file);
    else if (arguments == 3)
        time_tensors(file);
    else if (arguments == 4)
        print_value(file, argument[2], argument[3]);
    else
        print_tensor(file, argument[2], argument[3], argument[4], argument[5]);
    gguf_close(file);
    if (fflush(stdout) != 0 || ferror(stdout))
        die("cannot write");
    return STATUS_DONE;
}
