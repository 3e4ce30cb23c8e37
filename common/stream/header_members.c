#include "stream/header_members.h"

#include "base/messages.h"
#include "stream/no_token.h"

#include <stdbool.h>
#include <string.h>

static const json_t *header_member(const struct stream_reader *reader, const char *section,
                                   const char *name)
{
    const json_t *from = section ? json_object_get(stream_header(reader), section) : stream_header(reader);
    return json_object_get(from, name);
}

uint64_t header_number(const struct stream_reader *reader, const char *section, const char *name,
                       uint64_t most)
{
    const json_t *number = header_member(reader, section, name);
    if (!json_is_integer(number) || json_integer_value(number) < 0
        || (uint64_t)json_integer_value(number) > most)
        stream_fail(reader, "the header's %s%s%s is not a number from 0 to %llu", section ? section : "",
                    section ? "." : "", name, (unsigned long long)most);
    return (uint64_t)json_integer_value(number);
}

const char *header_text(const struct stream_reader *reader, const char *section, const char *name)
{
    const char *text = json_string_value(header_member(reader, section, name));
    if (!text)
        stream_fail(reader, "the header's %s%s%s is not a text", section ? section : "",
                    section ? "." : "", name);
    return text;
}

uint32_t header_bos(const struct stream_reader *reader, size_t vocabulary)
{
    if (json_is_null(header_member(reader, "tokenizer", "bos")))
        return NO_TOKEN;
    return (uint32_t)header_number(reader, "tokenizer", "bos", vocabulary - 1);
}

int header_choice(const struct stream_reader *reader, const char *name, const char *const *words)
{
    const char *word = header_text(reader, NULL, name);
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], word))
            return i;
    stream_fail(reader, "the header's %s is '%s', which is not known", name, word);
}

size_t *header_list(const struct stream_reader *reader, const char *name, size_t bound, size_t *count)
{
    const json_t *list = json_object_get(stream_header(reader), name);
    bool all = json_is_null(list);
    if (!all && !json_is_array(list))
        stream_fail(reader, "the header's %s is not a list", name);
    *count = all ? bound : json_array_size(list);
    size_t *numbers = new_array(*count, sizeof *numbers);
    for (size_t i = 0; i < *count; i++) {
        const json_t *number = json_array_get(list, i);
        json_int_t value = all ? (json_int_t)i : json_integer_value(number);
        if ((!all && !json_is_integer(number)) || value < 0 || (size_t)value >= bound
            || (i && (size_t)value <= numbers[i - 1]))
            stream_fail(reader, "the header's %s are not rising numbers below %zu", name, bound);
        numbers[i] = (size_t)value;
    }
    return numbers;
}
