#include "text/pretokenize.h"

#include "base/messages.h"
#include "text/byte_characters.h"
#include "text/character_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

enum { MAX_RULES = 16, MAX_NAMED_RULES = 5 };

/* A rule, and what it writes a piece and what it was split into to, for the rules behind it. */
struct step {
    struct split_rule rule;
    struct character_set *set; /* NULL: SET_NONE */
    char *marked, *mapped;
    size_t marked_capacity, mapped_capacity;
};

struct pretokenizer {
    struct step steps[MAX_RULES];
    size_t count;
};

/* ---- the rules ---- */

const char gpt2_expression[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const char llama3_expression[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const char qwen2_expression[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* GPT-4o's, with \\p{N}{1,3}, and Mistral's tekken, without contractions. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER_WORD "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+"
#define UPPER_WORD "[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"
#define SIGNS_AND_SPACES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const char tekken_expression[] = LOWER_WORD "|" UPPER_WORD "|\\p{N}" SIGNS_AND_SPACES;
static const char gpt4o_expression[] = LOWER_WORD "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" UPPER_WORD
                                       "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}" SIGNS_AND_SPACES;

/* BLOOM's, whose class within a class has no other members than this one. */
static const char bloom_expression[] = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";

/* Rust's own tables of characters are at Unicode 17 already: two more ranges. */
const char digit_expression[] = "[\\p{N}\U00011DE0-\U00011DE9\U00016FF4-\U00016FF6]";

/* Patterns of ICU's sets. \w and punctuation have had other members in the library's tables and in ICU's. */
static const UChar *const set_patterns[] = {
    [SET_SPACES] = u"[:White_Space:]",
    [SET_WORDS] =
        u"[[[:Alphabetic:][:M:][:Nd:][:Pc:][:Join_Control:]]&[:age=16.0:]"
        u"\\u0897\\u0cf3\\u0ece\\u1c89\\u1c8a\\ua7cb-\\ua7cd\\ua7da-\\ua7dc\\U000105c0-\\U000105f3"
        u"\\U00010d40-\\U00010d65\\U00010d69-\\U00010d6d\\U00010d6f-\\U00010d85\\U00010ec2-\\U00010ec4"
        u"\\U00010efc-\\U00010eff\\U0001123f-\\U00011241\\U00011380-\\U00011389\\U0001138b\\U0001138e"
        u"\\U00011390-\\U000113b5\\U000113b7-\\U000113c0\\U000113c2\\U000113c5\\U000113c7-\\U000113ca"
        u"\\U000113cc-\\U000113d3\\U000113e1\\U000113e2\\U000116d0-\\U000116e3\\U00011bc0-\\U00011be0"
        u"\\U00011bf0-\\U00011bf9\\U00011f00-\\U00011f10\\U00011f12-\\U00011f3a\\U00011f3e-\\U00011f42"
        u"\\U00011f50-\\U00011f5a\\U0001342f\\U00013440-\\U00013455\\U00013460-\\U000143fa"
        u"\\U00016100-\\U00016139\\U00016d40-\\U00016d6c\\U00016d70-\\U00016d79\\U00018cff\\U0001b132"
        u"\\U0001b155\\U0001ccf0-\\U0001ccf9\\U0001df25-\\U0001df2a\\U0001e030-\\U0001e06d\\U0001e08f"
        u"\\U0001e4d0-\\U0001e4f9\\U0001e5d0-\\U0001e5fa\\U0002b739\\U0002ebf0-\\U0002ee5d"
        u"\\U00031350-\\U000323af]",
    [SET_PUNCTUATION] = u"[[[:P:]&[:age=8.0:]]\\u166d\\U000111c9[\\u0021-\\u002f][\\u003a-\\u0040]"
                        u"[\\u005b-\\u0060][\\u007b-\\u007e]]",
    [SET_SCRIPTS] = u"[[:age=9.0:]-[:sc=Zzzz:]-[\\u0020]]",
};

/*
 * Rules by GGUF's names. "default" is what llama.cpp does with files that name
 * none; the others are the model families' own pre-tokenizers.
 */
static const struct {
    const char *name;
    const char *expressions[MAX_NAMED_RULES];
} named_rules[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2_expression, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"bloom", {bloom_expression}},
    {"command-r", {digit_expression, gpt2_expression}},
    {"dbrx", {llama3_expression}},
    {"deepseek-coder",
        {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
         digit_expression}},
    {"gpt-2", {gpt2_expression}},
    {"gpt-4o", {gpt4o_expression}},
    {"gpt3-finnish", {bloom_expression}},
    {"llama-bpe", {llama3_expression}},
    {"llama3", {llama3_expression}},
    {"llama-v3", {llama3_expression}},
    {"olmo", {gpt2_expression}},
    {"phi-2", {gpt2_expression}},
    {"poro-chat", {bloom_expression}},
    {"qwen2", {qwen2_expression}},
    {"refact", {digit_expression, gpt2_expression}},
    {"smaug-bpe", {llama3_expression}},
    {"smollm", {digit_expression, gpt2_expression}},
    {"starcoder", {digit_expression, gpt2_expression}},
    {"tekken", {tekken_expression}},
    {"viking", {bloom_expression, "\\p{N}"}},
};

enum { NAMES = sizeof named_rules / sizeof *named_rules };

struct pretokenizer *pretokenizer_new(void)
{
    return new_array(1, sizeof(struct pretokenizer));
}

void pretokenizer_free(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        if (pretokenizer->steps[i].rule.pattern)
            pattern_free(pretokenizer->steps[i].rule.pattern);
        if (pretokenizer->steps[i].set)
            character_set_free(pretokenizer->steps[i].set);
        free(pretokenizer->steps[i].marked);
        free(pretokenizer->steps[i].mapped);
    }
    free(pretokenizer);
}

void pretokenizer_add(struct pretokenizer *pretokenizer, struct split_rule rule)
{
    if (pretokenizer->count == MAX_RULES)
        die("a pre-tokenizer of more than %d steps; this program has no room for them", MAX_RULES);
    struct step *step = &pretokenizer->steps[pretokenizer->count++];
    step->rule = rule;
    if (rule.set != SET_NONE)
        step->set = character_set_new(set_patterns[rule.set]);
}

bool pretokenizer_take_bytes(struct pretokenizer *pretokenizer)
{
    size_t count = pretokenizer->count;
    bool writes_bytes = count && pretokenizer->steps[count - 1].rule.to_byte_characters;
    pretokenizer->count -= writes_bytes;
    return writes_bytes;
}

bool pretokenizer_writes_bytes(const struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        if (pretokenizer->steps[i].rule.to_byte_characters)
            return true;
    return false;
}

const char *pretokenizer_space(const struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        if (*pretokenizer->steps[i].rule.space)
            return pretokenizer->steps[i].rule.space;
    return NULL;
}

bool pretokenizer_loses_start(const struct pretokenizer *pretokenizer, bool changes_start)
{
    bool has_split = false;
    for (size_t i = 0; i < pretokenizer->count; i++) {
        const struct split_rule *rule = &pretokenizer->steps[i].rule;
        if (rule->prefix == PREFIX_FIRST && has_split && changes_start)
            return true;
        has_split = has_split || rule->pattern || rule->set != SET_NONE;
        changes_start = changes_start || rule->prefix != PREFIX_NEVER || rule->to_byte_characters;
    }
    return false;
}

bool pretokenizer_prefixes(const struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        if (pretokenizer->steps[i].rule.prefix != PREFIX_NEVER)
            return true;
    return false;
}

/* The rule of this index or behind it that does more than to put a mark before a piece, or NULL. */
static const struct split_rule *shaping_rule(const struct pretokenizer *pretokenizer, size_t *index)
{
    for (; *index < pretokenizer->count; ++*index) {
        const struct split_rule *rule = &pretokenizer->steps[*index].rule;
        if (rule->pattern || rule->set != SET_NONE || *rule->space || rule->to_byte_characters)
            return rule;
    }
    return NULL;
}

static bool equal_rules(const struct split_rule *left, const struct split_rule *right)
{
    const char *expressions[] = {left->pattern ? pattern_expression(left->pattern) : "",
                                 right->pattern ? pattern_expression(right->pattern) : ""};
    return left->set == right->set && left->behavior == right->behavior && left->invert == right->invert
           && left->to_byte_characters == right->to_byte_characters && !strcmp(left->space, right->space)
           && !strcmp(expressions[0], expressions[1]);
}

bool pretokenizer_equal(const struct pretokenizer *left, const struct pretokenizer *right)
{
    for (size_t i = 0, j = 0;; i++, j++) {
        const struct split_rule *a = shaping_rule(left, &i), *b = shaping_rule(right, &j);
        if (!a || !b)
            return !a && !b;
        if (!equal_rules(a, b))
            return false;
    }
}

struct pretokenizer *pretokenizer_named(const char *name, const char *where)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (strcmp(named_rules[i].name, name))
            continue;
        struct pretokenizer *pretokenizer = pretokenizer_new();
        for (size_t j = 0; j < MAX_NAMED_RULES && named_rules[i].expressions[j]; j++)
            pretokenizer_add(pretokenizer, (struct split_rule){
                .pattern = pattern_new(named_rules[i].expressions[j], where), .behavior = SPLIT_ISOLATED});
        return pretokenizer;
    }
    return NULL;
}

char *pretokenizer_names(void)
{
    char *names = copy_string(named_rules[0].name);
    for (size_t i = 1; i < NAMES; i++) {
        char *longer = format_string("%s, %s", names, named_rules[i].name);
        free(names);
        names = longer;
    }
    return names;
}

void pretokenizer_hash(const struct pretokenizer *pretokenizer, struct hash *hash)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        const struct split_rule *rule = &pretokenizer->steps[i].rule;
        const char *expression = rule->pattern ? pattern_expression(rule->pattern) : "";
        const unsigned char settings[] = {(unsigned char)rule->behavior, rule->invert,
                                          (unsigned char)rule->prefix};
        hash_add(hash, expression, strlen(expression) + 1);
        hash_add(hash, settings, sizeof settings);
        if (rule->set != SET_NONE)
            hash_add(hash, &rule->set, sizeof rule->set);
        if (*rule->space)
            hash_add(hash, rule->space, sizeof rule->space);
        if (*rule->mark && strcmp(rule->mark, " "))
            hash_add(hash, rule->mark, sizeof rule->mark);
        if (rule->to_byte_characters)
            hash_add(hash, "bytes", sizeof "bytes");
    }
}

/* ---- splitting ---- */

/* One call of pretokenize. */
struct splitting {
    struct pretokenizer *pretokenizer;
    word_function *take;
    void *context;
};

static void split(const struct splitting *splitting, size_t first_rule, struct span piece, bool at_start);

/* A piece on its way to the next rule: held back as long as more may be joined to it. */
struct joint {
    const struct splitting *splitting;
    size_t rule;
    struct span held;
    bool is_match; /* the last run of held */
    bool at_start; /* nothing has been passed on of a piece at the text's start */
};

static bool joins(enum split_behavior behavior, bool previous, bool next)
{
    switch (behavior) {
    case SPLIT_MERGED_WITH_PREVIOUS:
        return next && !previous;
    case SPLIT_MERGED_WITH_NEXT:
        return previous && !next;
    case SPLIT_CONTIGUOUS:
        return previous == next;
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    }
    return false;
}

static void pass_on(struct joint *joint)
{
    struct step *step = &joint->splitting->pretokenizer->steps[joint->rule];
    struct span piece = joint->held;
    if (!piece.length)
        return;
    if (step->rule.to_byte_characters) {
        step->mapped = reserve_array(step->mapped, &step->mapped_capacity, piece.length,
                                     BYTE_CHARACTER_BYTES);
        piece = byte_characters_write(step->mapped, piece);
    }
    split(joint->splitting, joint->rule + 1, piece, joint->at_start);
    joint->held.length = 0;
    joint->at_start = false;
}

/* The next run of the piece: a match, or what is between two. */
static void add_run(struct joint *joint, struct span run, bool found)
{
    const struct split_rule *rule = &joint->splitting->pretokenizer->steps[joint->rule].rule;
    bool is_match = found != rule->invert;
    if (joint->held.length && joins(rule->behavior, joint->is_match, is_match)) {
        joint->held.length += run.length;
    } else {
        pass_on(joint);
        if (!is_match || rule->behavior != SPLIT_REMOVED)
            joint->held = run;
        else
            joint->at_start = false;
    }
    joint->is_match = is_match;
}

/* Appends count bytes at *length of the step's buffer. */
static void append(struct step *step, size_t *length, const char *bytes, size_t count)
{
    step->marked = reserve_array(step->marked, &step->marked_capacity, *length + count + 1, 1);
    memcpy(step->marked + *length, bytes, count);
    *length += count;
}

static bool starts_with(struct span text, const char *start)
{
    return text.length >= strlen(start) && !memcmp(text.bytes, start, strlen(start));
}

/* Whether the piece gets the mark before it; its spaces count as what they become. */
static bool wants_mark(const struct split_rule *rule, struct span piece, bool at_start)
{
    if (rule->prefix == PREFIX_NEVER || (rule->prefix == PREFIX_FIRST && !at_start))
        return false;
    return !starts_with(piece, rule->mark)
        && !(*rule->space && !strcmp(rule->space, rule->mark) && starts_with(piece, " "));
}

/* The piece with its spaces replaced and the mark before it, in a buffer of the step where it changes. */
static struct span mark_piece(struct step *step, struct span piece, bool at_start)
{
    const struct split_rule *rule = &step->rule;
    const bool wanted = wants_mark(rule, piece, at_start), replaces = *rule->space;
    const char *space = replaces ? memchr(piece.bytes, ' ', piece.length) : NULL;
    size_t length = 0, space_bytes = strlen(rule->space);
    if (!wanted && !space)
        return piece;
    if (wanted)
        append(step, &length, rule->mark, strlen(rule->mark));
    for (; space; space = memchr(piece.bytes, ' ', piece.length)) {
        size_t before = (size_t)(space - piece.bytes);
        append(step, &length, piece.bytes, before);
        append(step, &length, rule->space, space_bytes);
        piece = (struct span){space + 1, piece.length - before - 1};
    }
    append(step, &length, piece.bytes, piece.length);
    return (struct span){step->marked, length};
}

/* The first character of a text that is not empty. */
static UChar32 character_at(struct span text)
{
    UChar32 character;
    U8_GET_UNSAFE((const uint8_t *)text.bytes, 0, character);
    return character;
}

/* The next character of the set, from byte `at` of the piece on. */
static bool find_member(const struct character_set *set, struct span piece, size_t at, struct span *match)
{
    for (size_t start = at; at < piece.length; start = at) {
        UChar32 character;
        U8_NEXT_UNSAFE((const uint8_t *)piece.bytes, at, character);
        if (character_set_has(set, character)) {
            *match = (struct span){piece.bytes + start, at - start};
            return true;
        }
    }
    return false;
}

/* A character's script in the library's table, which is of Unicode 9, and in which all of Japanese is one. */
static UScriptCode script_of(UChar32 character)
{
    UErrorCode code = U_ZERO_ERROR;
    switch (character) {
    case 0x0589:
    case 0x061c:
        return USCRIPT_COMMON;
    case 0x0953:
    case 0x0954:
        return USCRIPT_DEVANAGARI;
    case 0x30fc:
        return USCRIPT_HAN;
    }
    UScriptCode script = uscript_getScript(character, &code);
    return script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA ? USCRIPT_HAN : script;
}

/* The next run of one script, with characters that are not of the set in it or behind it. */
static bool find_script(const struct character_set *set, struct span piece, size_t at, struct span *match)
{
    struct span first, next;
    if (!find_member(set, piece, at, &first))
        return false;
    const UScriptCode script = script_of(character_at(first));
    const char *end = piece.bytes + piece.length;
    at = (size_t)(first.bytes - piece.bytes) + first.length;
    while (find_member(set, piece, at, &next)) {
        if (script_of(character_at(next)) != script) {
            end = next.bytes;
            break;
        }
        at = (size_t)(next.bytes - piece.bytes) + next.length;
    }
    *match = (struct span){first.bytes, (size_t)(end - first.bytes)};
    return true;
}

static bool find_match(const struct step *step, struct span piece, bool ascii, size_t at, struct span *match)
{
    if (at == piece.length)
        return false;
    if (step->rule.set == SET_SCRIPTS)
        return find_script(step->set, piece, at, match);
    if (step->set)
        return find_member(step->set, piece, at, match);
    return step->rule.pattern && pattern_find(step->rule.pattern, piece, ascii, at, match);
}

/* Splits a piece, which is not empty, by the rules from first_rule on. */
static void split(const struct splitting *splitting, size_t first_rule, struct span piece, bool at_start)
{
    struct pretokenizer *pretokenizer = splitting->pretokenizer;
    if (first_rule == pretokenizer->count) {
        splitting->take(splitting->context, piece);
        return;
    }
    struct step *step = &pretokenizer->steps[first_rule];
    if (step->rule.prefix != PREFIX_NEVER || *step->rule.space)
        piece = mark_piece(step, piece, at_start);
    struct joint joint = {.splitting = splitting, .rule = first_rule, .at_start = at_start};
    struct span match;
    size_t at = 0;
    const bool ascii = step->rule.pattern && is_ascii(piece);
    while (find_match(step, piece, ascii, at, &match)) {
        size_t start = (size_t)(match.bytes - piece.bytes);
        if (start > at)
            add_run(&joint, (struct span){piece.bytes + at, start - at}, false);
        add_run(&joint, match, true);
        at = start + match.length;
    }
    if (at < piece.length)
        add_run(&joint, (struct span){piece.bytes + at, piece.length - at}, false);
    pass_on(&joint);
}

void pretokenize(struct pretokenizer *pretokenizer, struct span text, bool at_start, word_function *take,
                 void *context)
{
    const struct splitting splitting = {pretokenizer, take, context};
    if (text.length)
        split(&splitting, 0, text, at_start);
}
