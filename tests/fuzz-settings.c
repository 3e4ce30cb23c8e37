/*
 * A fuzzer of what reads a model's settings, and lists that users write: config.json of a directory,
 * XXH128SUMS, edits.
 */
#include "base/json.h"
#include "fuzz.h"
#include "model/checksums.h"
#include "model/config.h"
#include "model/edits.h"

#include <stdio.h>
#include <unistd.h>

static void read_config(void *path)
{
    struct model_config config =
        config_parse(fuzz_folder(), json_read_object(path, "model's", "a config.json"), "config.json");
    config_free(&config);
}

static void read_checksums(void *path)
{
    (void)path;
    struct checksums *checksums = checksums_open(fuzz_folder());
    checksums_check(checksums, "config.json", "0123456789abcdef0123456789abcdef");
    checksums_close(checksums);
}

static void read_edits(void *path)
{
    const struct model model = {.config = {.layers = 3, .d_ff = 40}};
    struct edit_options options = {.file = path};
    struct edits *edits = edits_read(&options, &model, 1);
    edits_free(edits, &options);
}

static void read_folder(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"config.json", "XXH128SUMS", "edits", NULL};
    static void (*const readers[])(void *path) = {read_config, read_checksums, read_edits};
    fuzz_files(bytes, size, names);
    for (size_t i = 0; names[i]; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", fuzz_folder(), names[i]);
        if (access(path, F_OK) == 0)
            fuzz_try(readers[i], path);
    }
}

/* As many layers as a config says have a struct each. */
const struct fuzzer fuzzer = {read_folder, NULL, 1 << 24, 64};
