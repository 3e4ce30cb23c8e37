#include "text/text.h"

#include "base/limits.h"
#include "base/messages.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/uloc.h>
#include <unicode/ures.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

enum {
    READ_BYTES = 1 << 16,
    PARAGRAPH_BYTES = 1 << 20,     /* a longer paragraph is taken in pieces */
};

struct buffer {
    char *bytes;
    size_t length, capacity;
};

struct text_reader {
    struct input *input;
    enum text_mode mode;
    uint64_t line_number;
    struct buffer pending;   /* read, not yet taken as lines */
    size_t taken;            /* of pending */
    bool ended;              /* nothing more to read */
    struct buffer paragraph; /* wikitext: a line; raw: lines joined by spaces */
    size_t used;             /* of paragraph, up to the sentence last given */
    bool paragraph_ended;
    size_t quotes;           /* wikitext: quotation marks of the paragraph, up to there */
    UBreakIterator *sentences, *words;
    struct span *abbreviations; /* of raw text: they end no sentence */
    size_t abbreviation_count;
    UText *text;
    struct span *word;
    size_t word_capacity;
};

static void append(struct buffer *buffer, const char *bytes, size_t length)
{
    buffer->bytes = reserve_array(buffer->bytes, &buffer->capacity, buffer->length + length, 1);
    if (length)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

/* Drops the first count bytes. */
static void drop(struct buffer *buffer, size_t count)
{
    if (count && buffer->length > count)
        memmove(buffer->bytes, buffer->bytes + count, buffer->length - count);
    buffer->length -= count;
}

static void check_icu(UErrorCode code, const char *what)
{
    if (U_FAILURE(code))
        die("ICU cannot %s: %s", what, u_errorName(code));
}

bool text_is_utf8(struct span text)
{
    for (size_t at = 0; at < text.length;) {
        UChar32 character;
        U8_NEXT((const uint8_t *)text.bytes, at, text.length, character);
        if (character < 0)
            return false;
    }
    return true;
}

bool text_is_language(const char *language)
{
    return strspn(language, "abcdefghijklmnopqrstuvwxyz") == strlen(language)
           && *uloc_getISO3Language(language);
}

/*
 * Titles that are before a name and that ICU does not list for English, where it has Mr., Mrs., Ms.,
 * Prof., Capt., Col., Sgt., Rep. and Rev.
 */
static const char *const english_titles[] = {"Dr.",     "Gen.", "Gov.", "Hon.", "Lt.",
                                             "Messrs.", "Mme.", "Sen.", NULL};

static void add_abbreviation(struct text_reader *reader, const char *text)
{
    reader->abbreviations = grow_array(reader->abbreviations, reader->abbreviation_count + 1,
                                       sizeof *reader->abbreviations);
    reader->abbreviations[reader->abbreviation_count++] = (struct span){copy_string(text), strlen(text)};
}

/*
 * The abbreviations that ICU lists for the language, if it does. Its own iterators can use the list
 * (locale en@ss=standard), but take ends of longer words for abbreviations, too: NATO for O.
 */
static void read_abbreviations(struct text_reader *reader, const char *language)
{
    enum { LONGEST = 256 };
    UErrorCode code = U_ZERO_ERROR;
    UResourceBundle *bundle = ures_open(U_ICUDATA_NAME "-brkitr", language, &code);
    UResourceBundle *exceptions = ures_getByKey(bundle, "exceptions", NULL, &code);
    UResourceBundle *list = ures_getByKey(exceptions, "SentenceBreak", NULL, &code);
    for (int32_t i = 0; U_SUCCESS(code) && i < ures_getSize(list); i++) {
        char text[LONGEST];
        int32_t length = LONGEST;
        ures_getUTF8StringByIndex(list, i, text, &length, true, &code);
        check_icu(code, "read its list of abbreviations");
        add_abbreviation(reader, text);
    }
    ures_close(list);
    ures_close(exceptions);
    ures_close(bundle);
    for (const char *const *title = english_titles; *title && !strcmp(language, "en"); title++)
        add_abbreviation(reader, *title);
    if (code != U_MISSING_RESOURCE_ERROR) /* the language has no list */
        check_icu(code, "open its list of abbreviations");
}

static void open_breaks(struct text_reader *reader, const char *language)
{
    UErrorCode code = U_ZERO_ERROR;
    reader->sentences = ubrk_open(UBRK_SENTENCE, language, NULL, 0, &code);
    reader->words = ubrk_open(UBRK_WORD, language, NULL, 0, &code);
    check_icu(code, "open its rules for sentences and words");
    read_abbreviations(reader, language);
}

struct text_reader *text_open(const char *path, enum text_mode mode, const char *language)
{
    struct text_reader *reader = new_array(1, sizeof *reader);
    reader->input = input_open(path);
    input_expect(reader->input, "text");
    reader->mode = mode;
    reader->paragraph_ended = true;
    if (mode == TEXT_RAW)
        open_breaks(reader, language);
    return reader;
}

void text_close(struct text_reader *reader)
{
    input_close(reader->input);
    utext_close(reader->text);
    if (reader->sentences)
        ubrk_close(reader->sentences);
    if (reader->words)
        ubrk_close(reader->words);
    free(reader->pending.bytes);
    free(reader->paragraph.bytes);
    for (size_t i = 0; i < reader->abbreviation_count; i++)
        free((void *)(uintptr_t)reader->abbreviations[i].bytes);
    free(reader->abbreviations);
    free(reader->word);
    free(reader);
}

uint64_t text_line(const struct text_reader *reader)
{
    return reader->line_number;
}

struct input *text_input(const struct text_reader *reader)
{
    return reader->input;
}

static _Noreturn void bad_line(const struct text_reader *reader, const char *problem, size_t byte)
{
    die("%s: line %llu, byte %zu: %s", input_name(reader->input), (unsigned long long)reader->line_number,
        byte + 1, problem);
}

static void check_line(const struct text_reader *reader, struct span line)
{
    const uint8_t *bytes = (const uint8_t *)line.bytes;
    for (size_t at = 0; at < line.length;) {
        size_t start = at;
        UChar32 character;
        U8_NEXT(bytes, at, line.length, character);
        if (character < 0)
            bad_line(reader, "not UTF-8; convert the text, for instance with iconv", start);
        if (character == 0)
            bad_line(reader, "a NUL byte; this is not plain text", start);
    }
}

/* The byte order mark that some editors put before the first word. */
static void skip_mark(struct span *line)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t length = sizeof mark - 1;
    if (line->length >= length && !memcmp(line->bytes, mark, length))
        *line = (struct span){line->bytes + length, line->length - length};
}

/* The next line without its end. It holds until the next call. */
static bool next_line(struct text_reader *reader, struct span *line)
{
    size_t searched = 0;
    for (;;) {
        const char *start = reader->pending.bytes ? reader->pending.bytes + reader->taken : "";
        size_t left = reader->pending.length - reader->taken;
        const char *end = memchr(start + searched, '\n', left - searched);
        if (end || (reader->ended && left)) {
            *line = (struct span){start, end ? (size_t)(end - start) : left};
            reader->taken += line->length + (end != NULL);
            reader->line_number++;
            if (reader->line_number == 1)
                skip_mark(line);
            check_line(reader, *line);
            return true;
        }
        if (reader->ended)
            return false;
        searched = left;
        if (left > MAX_SENTENCE_BYTES) {
            reader->line_number++;
            bad_line(reader, "the line goes on for more than 64 MiB; break it, for instance with fold -s",
                     left);
        }
        char bytes[READ_BYTES];
        size_t got = input_read(reader->input, bytes, sizeof bytes);
        drop(&reader->pending, reader->taken);
        reader->taken = 0;
        append(&reader->pending, bytes, got);
        reader->ended = got == 0;
    }
}

/* White space as Python's str.split has it, which fairseq's tokenization uses. */
static bool is_space(UChar32 character)
{
    return u_isUWhiteSpace(character) || (character >= 0x1c && character <= 0x1f);
}

/* The next run of what is not white space, from *at on; false: none. */
static bool next_token(struct span text, size_t *at, struct span *token)
{
    const uint8_t *bytes = (const uint8_t *)text.bytes;
    size_t start = text.length;
    bool inside = false;
    while (*at < text.length) {
        size_t before = *at;
        UChar32 character;
        U8_NEXT(bytes, *at, text.length, character);
        if (is_space(character)) {
            if (inside) {
                *token = (struct span){text.bytes + start, before - start};
                return true;
            }
        } else if (!inside) {
            inside = true;
            start = before;
        }
    }
    *token = (struct span){text.bytes + start, text.length - start};
    return inside;
}

struct span text_strip(struct span text)
{
    struct span token, first = {text.bytes, 0}, last = first;
    size_t count = 0;
    for (size_t at = 0; next_token(text, &at, &token); count++) {
        if (!count)
            first = token;
        last = token;
    }
    return (struct span){first.bytes, (size_t)(last.bytes - first.bytes) + last.length};
}

static bool is_one_of(struct span token, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == token.length && !memcmp(*words, token.bytes, token.length))
            return true;
    return false;
}

/* WikiText marks headings with = at both ends. */
static bool is_heading(struct span line)
{
    static const char *const mark[] = {"=", NULL};
    struct span token, first = {0}, last = {0};
    size_t count = 0;
    for (size_t at = 0; next_token(line, &at, &token); count++) {
        if (!count)
            first = token;
        last = token;
    }
    return count >= 2 && is_one_of(first, mark) && is_one_of(last, mark);
}

/*
 * Length of the first sentence of what is left of a WikiText paragraph, before
 * which *quotes quotation marks were counted. Its text is tokenized:
 * abbreviations keep their full stop, so that a stop that is alone ends a
 * sentence, together with a bracket or quotation mark that it closes.
 */
static size_t wikitext_sentence(struct span text, size_t *quotes)
{
    static const char *const stops[] = {".", "!", "?", NULL};
    static const char *const closing[] = {")", "]", "''", "\u201d", NULL};
    static const char *const quote[] = {"\"", NULL};
    struct span token;
    size_t at = 0, end = 0;
    bool stopped = false;
    while (next_token(text, &at, &token)) {
        bool is_quote = is_one_of(token, quote);
        if (stopped && !is_one_of(token, stops) && !is_one_of(token, closing) && !(is_quote && *quotes % 2))
            return end;
        stopped = stopped || is_one_of(token, stops);
        *quotes += is_quote;
        end = at;
    }
    return text.length;
}

/* Reads a raw paragraph's next lines until it ends or enough is there. */
static void fill_paragraph(struct text_reader *reader)
{
    /* A sentence that is not complete is searched again: twice of it is read, so that it is not often. */
    size_t length = reader->paragraph.length;
    size_t enough = length + (length > PARAGRAPH_BYTES ? length : PARAGRAPH_BYTES);
    struct span line, token;
    reader->paragraph_ended = false;
    while (reader->paragraph.length < enough) {
        if (!next_line(reader, &line)) {
            reader->paragraph_ended = true;
            return;
        }
        if (!next_token(line, &(size_t){0}, &token)) {
            reader->paragraph_ended = reader->paragraph.length > 0;
            if (reader->paragraph_ended)
                return;
            continue;
        }
        if (line.bytes[line.length - 1] == '\r') /* which would end a sentence */
            line.length--;
        append(&reader->paragraph, line.bytes, line.length);
        append(&reader->paragraph, " ", 1);
    }
}

static void set_text(struct text_reader *reader, UBreakIterator *breaks, struct span text)
{
    UErrorCode code = U_ZERO_ERROR;
    reader->text = utext_openUTF8(reader->text, text.bytes, (int64_t)text.length, &code);
    ubrk_setUText(breaks, reader->text, &code);
    check_icu(code, "read the text");
}

/* The character before byte `at` of text; a space at its beginning. */
static UChar32 character_before(struct span text, size_t at)
{
    int32_t i = (int32_t)at;
    UChar32 character = ' ';
    if (at)
        U8_PREV((const uint8_t *)text.bytes, 0, i, character);
    return character;
}

/* Whether text ends in an abbreviation, and not just in a word that ends as one does. */
static bool ends_in_abbreviation(const struct text_reader *reader, struct span text)
{
    for (UChar32 last; text.length && is_space(last = character_before(text, text.length));)
        text.length -= (size_t)U8_LENGTH(last);
    for (size_t i = 0; i < reader->abbreviation_count; i++) {
        const struct span *end = &reader->abbreviations[i];
        if (text.length < end->length
            || memcmp(text.bytes + text.length - end->length, end->bytes, end->length))
            continue;
        UChar32 before = character_before(text, text.length - end->length);
        if (!u_isalnum(before) && before != '.' && before != '-')
            return true;
    }
    return false;
}

/* What of the paragraph no sentence has been given of. */
static struct span rest_of(const struct text_reader *reader)
{
    size_t length = reader->paragraph.length - reader->used;
    return (struct span){length ? reader->paragraph.bytes + reader->used : "", length};
}

/* A sentence of the current paragraph. False: another paragraph, or more of this one, is needed. */
static bool raw_sentence(struct text_reader *reader, struct span *sentence)
{
    struct span rest = rest_of(reader);
    if (rest.length == 0)
        return false;
    set_text(reader, reader->sentences, rest);
    int32_t end = ubrk_next(reader->sentences);
    while (end != UBRK_DONE && (size_t)end < rest.length
           && ends_in_abbreviation(reader, (struct span){rest.bytes, (size_t)end}))
        end = ubrk_next(reader->sentences);
    if (end == UBRK_DONE || ((size_t)end == rest.length && !reader->paragraph_ended))
        return false;
    *sentence = (struct span){rest.bytes, (size_t)end};
    reader->used += (size_t)end;
    return true;
}

static bool next_raw(struct text_reader *reader, struct span *sentence)
{
    while (!raw_sentence(reader, sentence)) {
        if (reader->paragraph_ended) {
            reader->used = reader->paragraph.length;
            if (reader->ended && reader->taken == reader->pending.length)
                return false;
        }
        drop(&reader->paragraph, reader->used);
        reader->used = 0;
        if (reader->paragraph.length > MAX_SENTENCE_BYTES)
            bad_line(reader, "a sentence goes on for more than 64 MiB", 0);
        fill_paragraph(reader);
    }
    return true;
}

static bool next_wikitext(struct text_reader *reader, struct span *sentence)
{
    struct span line, token;
    for (;;) {
        struct span rest = rest_of(reader);
        if (next_token(rest, &(size_t){0}, &token)) {
            *sentence = (struct span){rest.bytes, wikitext_sentence(rest, &reader->quotes)};
            reader->used += sentence->length;
            return true;
        }
        if (!next_line(reader, &line))
            return false;
        reader->used = reader->paragraph.length = reader->quotes = 0;
        if (!is_heading(line))
            append(&reader->paragraph, line.bytes, line.length);
    }
}

static bool next_nonblank_line(struct text_reader *reader, struct span *sentence)
{
    struct span token;
    while (next_line(reader, sentence))
        if (next_token(*sentence, &(size_t){0}, &token))
            return true;
    return false;
}

static bool next_prompt(struct text_reader *reader, struct span *prompt)
{
    if (!next_line(reader, prompt))
        return false;
    if (prompt->length && prompt->bytes[prompt->length - 1] == '\r')
        prompt->length--;
    return true;
}

/* All lines with what is between them. */
static bool next_whole(struct text_reader *reader, struct span *prompt)
{
    struct span line;
    bool found = false;
    for (; next_line(reader, &line); found = true) {
        if (found)
            append(&reader->paragraph, "\n", 1);
        append(&reader->paragraph, line.bytes, line.length);
        if (reader->paragraph.length > MAX_SENTENCE_BYTES)
            bad_line(reader, "the prompt goes on for more than 64 MiB", line.length);
    }
    *prompt = (struct span){reader->paragraph.bytes, reader->paragraph.length};
    if (prompt->length && prompt->bytes[prompt->length - 1] == '\r')
        prompt->length--;
    return found;
}

bool text_next(struct text_reader *reader, struct span *sentence)
{
    switch (reader->mode) {
    case TEXT_LINES:
        return next_nonblank_line(reader, sentence);
    case TEXT_WIKITEXT:
        return next_wikitext(reader, sentence);
    case TEXT_RAW:
        return next_raw(reader, sentence);
    case TEXT_PROMPTS:
        return next_prompt(reader, sentence);
    case TEXT_PROMPT:
        return next_whole(reader, sentence);
    }
    return false;
}

static void add_word(struct text_reader *reader, size_t *count, struct span word)
{
    reader->word = reserve_array(reader->word, &reader->word_capacity, *count + 1, sizeof *reader->word);
    reader->word[(*count)++] = word;
}

const struct span *text_words(struct text_reader *reader, struct span sentence, size_t *count)
{
    struct span word;
    *count = 0;
    if (reader->mode != TEXT_RAW) {
        for (size_t at = 0; next_token(sentence, &at, &word);)
            add_word(reader, count, word);
        return reader->word;
    }
    set_text(reader, reader->words, sentence);
    int32_t start = 0;
    for (int32_t end; (end = ubrk_next(reader->words)) != UBRK_DONE; start = end) {
        word = (struct span){sentence.bytes + start, (size_t)(end - start)};
        if (next_token(word, &(size_t){0}, &word)) /* not white space */
            add_word(reader, count, word);
    }
    return reader->word;
}
