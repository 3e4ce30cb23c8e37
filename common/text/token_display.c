#include "text/token_display.h"

#include "base/memory_text.h"
#include "base/messages.h"
#include "text/byte_characters.h"
#include "text/byte_tokens.h"

#include <stdio.h>
#include <string.h>
#include <unicode/utf8.h>

/* To a stream in memory, which does not set its error indicator where it cannot grow. */
static void put(FILE *out, const char *bytes, size_t length)
{
    if (fwrite(bytes, 1, length, out) != length)
        die("out of memory");
}

/* The bytes that a text's characters stand for, or the text itself when one of them stands for none. */
static void write_bytes(FILE *out, struct span text)
{
    for (int write = 0; write < 2; write++)
        for (size_t at = 0; at < text.length;) {
            UChar32 character;
            U8_NEXT((const uint8_t *)text.bytes, at, text.length, character);
            int byte = byte_of_character((uint32_t)character);
            if (byte < 0) {
                put(out, text.bytes, text.length);
                return;
            }
            if (write)
                put(out, &(char){(char)byte}, 1);
        }
}

/* The text with a space for each mark. */
static void write_marked(FILE *out, struct span text, const char *mark)
{
    size_t length = strlen(mark), start = 0;
    for (size_t at = 0; length && at + length <= text.length;) {
        if (memcmp(text.bytes + at, mark, length)) {
            at++;
            continue;
        }
        put(out, text.bytes + start, at - start);
        put(out, " ", 1);
        start = at += length;
    }
    put(out, text.bytes + start, text.length - start);
}

static bool takes(struct span *text, const char *affix, bool at_end)
{
    size_t length = affix ? strlen(affix) : 0;
    if (!length || text->length < length
        || memcmp(at_end ? text->bytes + text->length - length : text->bytes, affix, length))
        return false;
    *text = (struct span){at_end ? text->bytes : text->bytes + length, text->length - length};
    return true;
}

/* Writes the bytes that a token's text stands for. special: it stands for none, and is shown as it is. */
static void write_token(FILE *out, const struct token_display *display, struct span text, bool special)
{
    int byte = display->byte_tokens ? byte_token_value(text) : -1;
    if (display->byte_characters) {
        write_bytes(out, text);
    } else if (byte >= 0) {
        put(out, &(char){(char)byte}, 1);
    } else if (special) {
        put(out, text.bytes, text.length);
    } else {
        if (display->prefix && !takes(&text, display->prefix, false))
            put(out, " ", 1);
        bool ends_word = takes(&text, display->suffix, true);
        write_marked(out, text, display->mark);
        put(out, " ", ends_word);
    }
}

char *token_display_row(const struct token_display *display, const struct vocabulary *vocabulary,
                        const uint32_t *tokens, size_t count, size_t *length)
{
    char *bytes = NULL;
    FILE *out = memory_text_open(&bytes, length);
    for (size_t i = 0; i < count; i++) {
        uint32_t id = tokens[i];
        if (id < vocabulary->size && vocabulary->tokens[id].bytes)
            write_token(out, display, vocabulary->tokens[id], vocabulary->special[id]);
        else
            fprintf(out, "<token %u>", id);
    }
    memory_text_close(out);
    return bytes;
}

char *token_display_escape(struct span bytes)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = memory_text_open(&text, &length);
    for (size_t at = 0; at < bytes.length;) {
        size_t start = at;
        UChar32 character;
        U8_NEXT((const uint8_t *)bytes.bytes, at, bytes.length, character);
        if (character > 0)
            put(out, bytes.bytes + start, at - start);
        for (; character <= 0 && start < at; start++)
            fprintf(out, "\\x%02X", (unsigned char)bytes.bytes[start]);
    }
    memory_text_close(out);
    return text;
}
