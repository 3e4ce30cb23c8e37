/*
 * A fuzzer of SentencePiece's table of replacements: a file "table", by which a file "text" is normalized in
 * both ways.
 */
#include "base/input.h"
#include "fuzz.h"
#include "text/charsmap.h"

#include <stdio.h>
#include <stdlib.h>

static struct span read_file(const char *name)
{
    char path[5000];
    struct span text = {0};
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    text.bytes = input_read_all(path, "fuzzer's", &text.length);
    return text;
}

static void replace(struct charsmap *charsmap, struct span text)
{
    struct span replacement;
    if (!text_is_utf8(charsmap_normalize(charsmap, text)))
        abort();
    for (size_t at = 0; at < text.length; at++) {
        struct span rest = {text.bytes + at, text.length - at};
        size_t length = charsmap_longest(charsmap, rest, &replacement);
        if (length > rest.length || (length && !text_is_utf8(replacement)))
            abort();
    }
}

static void read_table(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"table", "text", NULL};
    fuzz_files(bytes, size, names);
    struct span table = read_file("table"), text = read_file("text");
    struct charsmap *charsmap = charsmap_new(table, "table");
    if (text_is_utf8(text))
        replace(charsmap, text);
    charsmap_free(charsmap);
    free((void *)(uintptr_t)table.bytes);
    free((void *)(uintptr_t)text.bytes);
}

/* ICU keeps what it has read of its rules. */
static void prepare(void)
{
    static const char table[1032] = {0, 4, 0, 0}, accented[] = "e\xcc\x81";
    struct charsmap *charsmap = charsmap_new((struct span){table, sizeof table}, "table");
    charsmap_normalize(charsmap, (struct span){accented, sizeof accented - 1});
    charsmap_free(charsmap);
}

const struct fuzzer fuzzer = {read_table, prepare, 1 << 23, 64};
