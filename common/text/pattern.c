#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include "base/memory_text.h"
#include "base/messages.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STEPS = 10 * 1000 * 1000, /* of one search; the tokenizers that there are need no tenth of it */
    MAX_HEAP_KILOBYTES = 1 << 16,
    LEAST_STACK = 1 << 15, MAX_STACK = 1 << 20, /* of compiled patterns, in bytes */
    MAX_EXPRESSION = 1 << 16,
    MAX_REPETITIONS = 1000,
};

/* In a class: nothing that ASCII has. */
#define NO_ASCII "\\x80-\\x80"

/* White space: Oniguruma's \s. PCRE2's has U+180E as well, which Unicode no longer counts. */
#define ASCII_SPACES "\\t-\\r "
#define SPACES                                                                                               \
    ASCII_SPACES "\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

/*
 * An expression twice: for all of Unicode, and for ASCII alone, where categories
 * are a few letters and PCRE2 is twice as fast.
 */
struct pattern {
    char *expression;
    char *where;
    struct program {
        pcre2_code *code;
        bool is_compiled; /* to the processor's instructions */
    } unicode, ascii;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* ---- categories of characters ---- */

/* A category that expressions may name, and its members below U+0080, as members of a class. */
struct category {
    const char *name;
    const char *ascii;
    bool cased; /* means something else where case is ignored */
};

static const struct category categories[] = {
    {"L", "a-zA-Z", false}, {"Lu", "A-Z", true}, {"Ll", "a-z", true}, {"Lt", "", true},
    {"Lm", "", false}, {"Lo", "", false}, {"M", "", false}, {"N", "0-9", false},
    {"Nd", "0-9", false}, {"Nl", "", false}, {"No", "", false},
    {"P", "!-#%-*,-\\/:;?@_{}\\[-\\]", false}, {"S", "$+\\^`|~<->", false},
};

/*
 * Characters of Unicode 15 and 16, which the tokenizers library knows (0.23,
 * Oniguruma) and an older PCRE2 does not (10.42 has Unicode 14).
 */
static const struct later_characters {
    uint32_t first, last;
    const char *category;
} later_characters[] = {
    {0x897, 0x897, "M"}, {0xcf3, 0xcf3, "M"}, {0xece, 0xece, "M"}, {0x1b4e, 0x1b4f, "P"},
    {0x1b7f, 0x1b7f, "P"}, {0x1c89, 0x1c89, "Lu"}, {0x1c8a, 0x1c8a, "Ll"}, {0x2427, 0x2429, "S"},
    {0x2ffc, 0x2fff, "S"}, {0x31e4, 0x31e5, "S"}, {0x31ef, 0x31ef, "S"}, {0xa7cb, 0xa7cc, "Lu"},
    {0xa7cd, 0xa7cd, "Ll"}, {0xa7da, 0xa7da, "Lu"}, {0xa7db, 0xa7db, "Ll"}, {0xa7dc, 0xa7dc, "Lu"},
    {0x105c0, 0x105f3, "Lo"}, {0x10d40, 0x10d49, "Nd"}, {0x10d4a, 0x10d4d, "Lo"},
    {0x10d4e, 0x10d4e, "Lm"}, {0x10d4f, 0x10d4f, "Lo"}, {0x10d50, 0x10d65, "Lu"},
    {0x10d69, 0x10d6d, "M"}, {0x10d6e, 0x10d6e, "P"}, {0x10d6f, 0x10d6f, "Lm"},
    {0x10d70, 0x10d85, "Ll"}, {0x10d8e, 0x10d8f, "S"}, {0x10ec2, 0x10ec4, "Lo"},
    {0x10efc, 0x10eff, "M"}, {0x1123f, 0x11240, "Lo"}, {0x11241, 0x11241, "M"},
    {0x11380, 0x11389, "Lo"}, {0x1138b, 0x1138b, "Lo"}, {0x1138e, 0x1138e, "Lo"},
    {0x11390, 0x113b5, "Lo"}, {0x113b7, 0x113b7, "Lo"}, {0x113b8, 0x113c0, "M"},
    {0x113c2, 0x113c2, "M"}, {0x113c5, 0x113c5, "M"}, {0x113c7, 0x113ca, "M"}, {0x113cc, 0x113d0, "M"},
    {0x113d1, 0x113d1, "Lo"}, {0x113d2, 0x113d2, "M"}, {0x113d3, 0x113d3, "Lo"},
    {0x113d4, 0x113d5, "P"}, {0x113d7, 0x113d8, "P"}, {0x113e1, 0x113e2, "M"}, {0x116d0, 0x116e3, "Nd"},
    {0x1171e, 0x1171e, "M"}, {0x11b00, 0x11b09, "P"}, {0x11bc0, 0x11be0, "Lo"}, {0x11be1, 0x11be1, "P"},
    {0x11bf0, 0x11bf9, "Nd"}, {0x11f00, 0x11f01, "M"}, {0x11f02, 0x11f02, "Lo"},
    {0x11f03, 0x11f03, "M"}, {0x11f04, 0x11f10, "Lo"}, {0x11f12, 0x11f33, "Lo"},
    {0x11f34, 0x11f3a, "M"}, {0x11f3e, 0x11f42, "M"}, {0x11f43, 0x11f4f, "P"}, {0x11f50, 0x11f59, "Nd"},
    {0x11f5a, 0x11f5a, "M"}, {0x1342f, 0x1342f, "Lo"}, {0x13440, 0x13440, "M"},
    {0x13441, 0x13446, "Lo"}, {0x13447, 0x13455, "M"}, {0x13460, 0x143fa, "Lo"},
    {0x16100, 0x1611d, "Lo"}, {0x1611e, 0x1612f, "M"}, {0x16130, 0x16139, "Nd"},
    {0x16d40, 0x16d42, "Lm"}, {0x16d43, 0x16d6a, "Lo"}, {0x16d6b, 0x16d6c, "Lm"},
    {0x16d6d, 0x16d6f, "P"}, {0x16d70, 0x16d79, "Nd"}, {0x18cff, 0x18cff, "Lo"},
    {0x1b132, 0x1b132, "Lo"}, {0x1b155, 0x1b155, "Lo"}, {0x1cc00, 0x1ccef, "S"},
    {0x1ccf0, 0x1ccf9, "Nd"}, {0x1cd00, 0x1ceb3, "S"}, {0x1d2c0, 0x1d2d3, "No"},
    {0x1df25, 0x1df2a, "Ll"}, {0x1e030, 0x1e06d, "Lm"}, {0x1e08f, 0x1e08f, "M"},
    {0x1e4d0, 0x1e4ea, "Lo"}, {0x1e4eb, 0x1e4eb, "Lm"}, {0x1e4ec, 0x1e4ef, "M"},
    {0x1e4f0, 0x1e4f9, "Nd"}, {0x1e5d0, 0x1e5ed, "Lo"}, {0x1e5ee, 0x1e5ef, "M"},
    {0x1e5f0, 0x1e5f0, "Lo"}, {0x1e5f1, 0x1e5fa, "Nd"}, {0x1e5ff, 0x1e5ff, "P"},
    {0x1f6dc, 0x1f6dc, "S"}, {0x1f774, 0x1f776, "S"}, {0x1f77b, 0x1f77f, "S"}, {0x1f7d9, 0x1f7d9, "S"},
    {0x1f8b2, 0x1f8bb, "S"}, {0x1f8c0, 0x1f8c1, "S"}, {0x1fa75, 0x1fa77, "S"}, {0x1fa87, 0x1fa89, "S"},
    {0x1fa8f, 0x1fa8f, "S"}, {0x1faad, 0x1faaf, "S"}, {0x1fabb, 0x1fabf, "S"}, {0x1fac6, 0x1fac6, "S"},
    {0x1face, 0x1facf, "S"}, {0x1fada, 0x1fadc, "S"}, {0x1fadf, 0x1fadf, "S"}, {0x1fae8, 0x1fae9, "S"},
    {0x1faf7, 0x1faf8, "S"}, {0x1fbcb, 0x1fbef, "S"}, {0x2b739, 0x2b739, "Lo"},
    {0x2ebf0, 0x2ee5d, "Lo"}, {0x31350, 0x323af, "Lo"},
};

static const struct category *find_category(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (strlen(categories[i].name) == length && !memcmp(categories[i].name, name, length))
            return &categories[i];
    return NULL;
}

/*
 * The category as members of a class. A range is the last, so that a - which follows
 * stays a -; the first is none where it can be, so that PCRE2 refuses a - before it.
 */
static void write_category(FILE *out, const struct category *category, bool ascii)
{
    if (ascii) {
        fputs(*category->ascii ? category->ascii : NO_ASCII, out);
        return;
    }
    fprintf(out, "\\p{%s}%s", category->name, category->ascii);
    for (size_t i = 0; i < sizeof later_characters / sizeof *later_characters; i++) {
        const struct later_characters *later = &later_characters[i];
        if (!strncmp(later->category, category->name, strlen(category->name)))
            fprintf(out, "\\x{%X}-\\x{%X}", later->first, later->last);
    }
}

/* ---- from Oniguruma's syntax to PCRE2's ---- */

struct translation {
    const char *expression, *at;
    const char *where;
    bool ascii;            /* for text of ASCII alone */
    FILE *out;
    size_t depth;          /* of groups */
    size_t caseless_depth; /* of the outermost group that ignores case, or 0 */
};

static _Noreturn void refuse(const struct translation *translation, const char *problem)
{
    die("%s: expression '%.500s', byte %zu: %s; this program does not know it", translation->where,
        translation->expression, (size_t)(translation->at - translation->expression) + 1, problem);
}

/* \p{Name}, \P{Name} or \d: at is behind the letter. */
static void translate_category(struct translation *translation, char letter, bool in_class)
{
    const char *name = "Nd", *end = name + 2;
    if (letter != 'd') {
        if (*translation->at != '{' || !(end = strchr(translation->at, '}')))
            refuse(translation, "\\p without a category in braces");
        name = translation->at + 1;
    }
    const struct category *category = find_category(name, (size_t)(end - name));
    if (!category)
        refuse(translation, "a character category other than L, M, N, P, S and the kinds of L and N");
    if (category->cased && translation->caseless_depth)
        refuse(translation, "a category of upper or lower case where case is ignored");
    if (in_class && letter == 'P')
        refuse(translation, "\\P inside of a class");
    if (!in_class)
        fputs(letter == 'P' ? "[^" : "[", translation->out);
    write_category(translation->out, category, translation->ascii);
    if (!in_class)
        fputc(']', translation->out);
    if (letter != 'd')
        translation->at = end + 1;
}

/* at is behind the backslash. */
static void translate_escape(struct translation *translation, bool in_class)
{
    char letter = *translation->at;
    if (letter)
        translation->at++;
    if (letter == 's' || (letter == 'S' && !in_class))
        fprintf(translation->out, in_class ? "%s" : letter == 's' ? "[%s]" : "[^%s]",
                translation->ascii ? ASCII_SPACES : SPACES);
    else if (letter == 'p' || letter == 'P' || letter == 'd')
        translate_category(translation, letter, in_class);
    else if (letter && (strchr("nrtf", letter) || ispunct((unsigned char)letter)))
        fprintf(translation->out, "\\%c", letter);
    else
        refuse(translation, "an escape other than \\s \\S \\d \\p \\P \\n \\r \\t \\f and those of signs");
}

/*
 * The members of a class; at is behind its [. Those of a class inside of it are its own, but not where
 * that is negated, or could be the end of a range.
 */
static void translate_members(struct translation *translation, bool inside)
{
    if (*translation->at == ']')
        refuse(translation, "a class that begins with ]");
    while (*translation->at != ']') {
        char letter = *translation->at;
        bool is_range = letter == '-' || translation->at[-1] == '-';
        if (!letter)
            refuse(translation, "a class that does not end");
        if (!strncmp(translation->at, "&&", 2)
            || (letter == '[' && (inside || is_range || strchr("^:", translation->at[1]))))
            refuse(translation, "a class inside of a class, other than one of members of the outer one");
        translation->at++;
        if (letter == '\\')
            translate_escape(translation, true);
        else if (letter == '[')
            translate_members(translation, true);
        else
            fputc(letter, translation->out);
    }
    if (inside && translation->at[1] == '-')
        refuse(translation, "a range behind a class inside of a class");
    translation->at++;
}

/* at is behind the [. */
static void translate_class(struct translation *translation)
{
    fputc('[', translation->out);
    if (*translation->at == '^')
        fputc(*translation->at++, translation->out);
    translate_members(translation, false);
    fputc(']', translation->out);
}

/* at is behind the (. */
static void translate_group(struct translation *translation)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"};
    translation->depth++;
    fputc('(', translation->out);
    if (*translation->at == '*')
        refuse(translation, "(*");
    if (*translation->at != '?')
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strncmp(translation->at, kinds[i], strlen(kinds[i]))) {
            if (kinds[i][1] == 'i' && !translation->caseless_depth)
                translation->caseless_depth = translation->depth;
            fputs(kinds[i], translation->out);
            translation->at += strlen(kinds[i]);
            return;
        }
    refuse(translation, "a group other than (?: (?= (?! (?<= (?<! (?> (?i:");
}

static void end_group(struct translation *translation)
{
    if (translation->depth == 0)
        refuse(translation, ") without (");
    if (translation->caseless_depth == translation->depth)
        translation->caseless_depth = 0;
    translation->depth--;
    fputc(')', translation->out);
}

/* {n}, {n,} or {n,m}: at is behind the {. What Ruby makes of a + or ? behind it is not what PCRE2 does. */
static void translate_repetition(struct translation *translation)
{
    unsigned least = 0, most = 0;
    int used = 0;
    size_t plain = strspn(translation->at, "0123456789,");
    if (isdigit((unsigned char)*translation->at)
        && ((sscanf(translation->at, "%4u}%n", &least, &used) == 1 && used)
            || (sscanf(translation->at, "%4u,}%n", &least, &used) == 1 && used)
            || (sscanf(translation->at, "%4u,%4u}%n", &least, &most, &used) == 2 && used))
        && (size_t)used == plain + 1 && least <= MAX_REPETITIONS && most <= MAX_REPETITIONS
        && !strchr("+?*{", translation->at[used] ? translation->at[used] : ' ')) {
        fprintf(translation->out, "{%.*s", used, translation->at);
        translation->at += used;
        return;
    }
    refuse(translation, "a { that is no simple repetition of up to 1000");
}

static void translate_next(struct translation *translation)
{
    char letter = *translation->at++;
    switch (letter) {
    case '\\':
        translate_escape(translation, false);
        break;
    case '[':
        translate_class(translation);
        break;
    case '(':
        translate_group(translation);
        break;
    case ')':
        end_group(translation);
        break;
    case '{':
        translate_repetition(translation);
        break;
    case '^':
    case '$':
        refuse(translation, "an anchor, ^ or $");
    case ']':
    case '}':
        fprintf(translation->out, "\\%c", letter);
        break;
    default:
        fputc(letter, translation->out);
    }
}

/* The expression in PCRE2's syntax; the caller frees it. */
static char *translate(const char *expression, const char *where, bool ascii)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = memory_text_open(&text, &size);
    struct translation translation = {expression, expression, where, ascii, out, 0, 0};
    if (strlen(expression) > MAX_EXPRESSION)
        die("%s: an expression of %zu bytes; tokenizers have no such ones", where, strlen(expression));
    while (*translation.at)
        translate_next(&translation);
    if (translation.depth)
        refuse(&translation, "( without )");
    memory_text_close(translation.out);
    return text;
}

/* ---- PCRE2 ---- */

static struct program compile(const char *text, uint32_t flags, const struct pattern *pattern)
{
    int error;
    PCRE2_SIZE place;
    uint32_t matches_nothing = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context || pcre2_set_newline(context, PCRE2_NEWLINE_LF) != 0)
        die("out of memory");
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, flags | PCRE2_NEVER_BACKSLASH_C,
                                     &error, &place, context);
    pcre2_compile_context_free(context);
    if (!code) {
        char message[256];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        die("%s: expression '%.500s': %s", pattern->where, pattern->expression, message);
    }
    pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_nothing);
    if (matches_nothing)
        die("%s: expression '%.500s' matches where there is nothing; a tokenizer cannot split text with it",
            pattern->where, pattern->expression);
    /* Without a compiler for this processor PCRE2 interprets: slower, and the same. */
    return (struct program){code, pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0};
}

/* ascii_text: NULL where the same program has to do for ASCII. */
static struct pattern *new_pattern(const char *expression, const char *text, const char *ascii_text,
                                   const char *where)
{
    struct pattern *pattern = new_array(1, sizeof *pattern);
    pattern->expression = copy_string(expression);
    pattern->where = copy_string(where);
    pattern->unicode = compile(text, PCRE2_UTF | PCRE2_UCP, pattern);
    pattern->ascii = ascii_text ? compile(ascii_text, 0, pattern) : (struct program){NULL, false};
    pattern->match = pcre2_match_data_create(1, NULL);
    pattern->context = pcre2_match_context_create(NULL);
    pattern->stack = pcre2_jit_stack_create(LEAST_STACK, MAX_STACK, NULL);
    if (!pattern->match || !pattern->context)
        die("out of memory");
    pcre2_set_match_limit(pattern->context, MAX_STEPS);
    pcre2_set_heap_limit(pattern->context, MAX_HEAP_KILOBYTES);
    if (pattern->stack)
        pcre2_jit_stack_assign(pattern->context, NULL, pattern->stack);
    return pattern;
}

bool is_ascii(struct span text)
{
    unsigned char all = 0;
    for (size_t i = 0; i < text.length; i++)
        all |= (unsigned char)text.bytes[i];
    return all < 0x80;
}

struct pattern *pattern_new(const char *expression, const char *where)
{
    /* Where case is ignored, a letter beyond ASCII can be one of ASCII: the long s, the sign for kelvin. */
    bool has_ascii = is_ascii((struct span){expression, strlen(expression)}) || !strstr(expression, "(?i");
    char *text = translate(expression, where, false),
         *ascii_text = has_ascii ? translate(expression, where, true) : NULL;
    struct pattern *pattern = new_pattern(expression, text, ascii_text, where);
    free(text);
    free(ascii_text);
    return pattern;
}

struct pattern *pattern_literal(const char *characters, const char *where)
{
    char *text = new_array(2 * strlen(characters) + 1, 1), *end = text;
    for (const char *at = characters; *at; at++) {
        if (ispunct((unsigned char)*at))
            *end++ = '\\';
        *end++ = *at;
    }
    struct pattern *pattern = new_pattern(characters, text, text, where);
    free(text);
    return pattern;
}

void pattern_free(struct pattern *pattern)
{
    pcre2_jit_stack_free(pattern->stack);
    pcre2_match_context_free(pattern->context);
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->unicode.code);
    pcre2_code_free(pattern->ascii.code);
    free(pattern->expression);
    free(pattern->where);
    free(pattern);
}

const char *pattern_expression(const struct pattern *pattern)
{
    return pattern->expression;
}

bool pattern_find(struct pattern *pattern, struct span text, bool ascii, size_t at, struct span *match)
{
    const struct program *program = ascii && pattern->ascii.code ? &pattern->ascii : &pattern->unicode;
    /* pcre2_jit_match leaves out what pcre2_match does first: checks, of what holds here. */
    int result = (program->is_compiled ? pcre2_jit_match : pcre2_match)(program->code, (PCRE2_SPTR)text.bytes,
                                                                        text.length, at, PCRE2_NO_UTF_CHECK,
                                                                        pattern->match, pattern->context);
    if (result == PCRE2_ERROR_NOMATCH)
        return false;
    if (result < 0) {
        char message[256];
        pcre2_get_error_message(result, (PCRE2_UCHAR *)message, sizeof message);
        die("%s: expression '%.500s' takes too long for a text of %zu bytes: %s; simplify it", pattern->where,
            pattern->expression, text.length, message);
    }
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(pattern->match);
    *match = (struct span){text.bytes + bounds[0], bounds[1] - bounds[0]};
    return true;
}
