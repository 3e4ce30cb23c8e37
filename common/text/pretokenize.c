#include "text/pretokenize.h"

#include "base/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RULES = 16, MAX_NAMED_RULES = 4 };

struct pretokenizer {
    struct split_rule rules[MAX_RULES];
    size_t count;
    char *prefixed; /* a piece with its space */
    size_t prefixed_capacity;
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

/* Rust's own tables of characters are at Unicode 17 already: two more ranges. */
const char digit_expression[] = "[\\p{N}\U00011DE0-\U00011DE9\U00016FF4-\U00016FF6]";

/*
 * Rules by GGUF's names. "default" is what llama.cpp does with files that name
 * none; the others are the model families' own pre-tokenizers.
 */
static const struct {
    const char *name;
    const char *expressions[MAX_NAMED_RULES];
} named_rules[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2_expression, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", {gpt2_expression}},
    {"llama-bpe", {llama3_expression}},
    {"llama3", {llama3_expression}},
    {"llama-v3", {llama3_expression}},
    {"phi-2", {gpt2_expression}},
    {"qwen2", {qwen2_expression}},
    {"refact", {digit_expression, gpt2_expression}},
    {"smollm", {digit_expression, gpt2_expression}},
    {"starcoder", {digit_expression, gpt2_expression}},
};

enum { NAMES = sizeof named_rules / sizeof *named_rules };

struct pretokenizer *pretokenizer_new(void)
{
    return new_array(1, sizeof(struct pretokenizer));
}

void pretokenizer_free(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        if (pretokenizer->rules[i].pattern)
            pattern_free(pretokenizer->rules[i].pattern);
    free(pretokenizer->prefixed);
    free(pretokenizer);
}

void pretokenizer_add(struct pretokenizer *pretokenizer, struct split_rule rule)
{
    if (pretokenizer->count == MAX_RULES)
        die("a pre-tokenizer of more than %d steps; this program has no room for them", MAX_RULES);
    pretokenizer->rules[pretokenizer->count++] = rule;
}

bool pretokenizer_prefixes(const struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        if (pretokenizer->rules[i].prefix_space)
            return true;
    return false;
}

/* The rule of this index or behind it that has a pattern, or NULL. */
static const struct split_rule *splitting_rule(const struct pretokenizer *pretokenizer, size_t *index)
{
    while (*index < pretokenizer->count && !pretokenizer->rules[*index].pattern)
        ++*index;
    return *index < pretokenizer->count ? &pretokenizer->rules[*index] : NULL;
}

bool pretokenizer_equal(const struct pretokenizer *left, const struct pretokenizer *right)
{
    for (size_t i = 0, j = 0;; i++, j++) {
        const struct split_rule *a = splitting_rule(left, &i), *b = splitting_rule(right, &j);
        if (!a || !b)
            return !a && !b;
        if (a->behavior != b->behavior || a->invert != b->invert
            || strcmp(pattern_expression(a->pattern), pattern_expression(b->pattern)))
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
        const struct split_rule *rule = &pretokenizer->rules[i];
        const char *expression = rule->pattern ? pattern_expression(rule->pattern) : "";
        const unsigned char settings[] = {(unsigned char)rule->behavior, rule->invert, rule->prefix_space};
        hash_add(hash, expression, strlen(expression) + 1);
        hash_add(hash, settings, sizeof settings);
    }
}

/* ---- splitting ---- */

/* One call of pretokenize. */
struct splitting {
    struct pretokenizer *pretokenizer;
    word_function *take;
    void *context;
};

static void split(const struct splitting *splitting, size_t first_rule, struct span piece);

/* A piece on its way to the next rule: held back as long as more may be joined to it. */
struct joint {
    const struct splitting *splitting;
    size_t rule;
    struct span held;
    bool is_match; /* the last run of held */
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
    if (joint->held.length)
        split(joint->splitting, joint->rule + 1, joint->held);
    joint->held.length = 0;
}

/* The next run of the piece: a match, or what is between two. */
static void add_run(struct joint *joint, struct span run, bool found)
{
    const struct split_rule *rule = &joint->splitting->pretokenizer->rules[joint->rule];
    bool is_match = found != rule->invert;
    if (joint->held.length && joins(rule->behavior, joint->is_match, is_match)) {
        joint->held.length += run.length;
    } else {
        pass_on(joint);
        if (!is_match || rule->behavior != SPLIT_REMOVED)
            joint->held = run;
    }
    joint->is_match = is_match;
}

/* The piece with a space before it, in a buffer of the pretokenizer. */
static struct span prefix_space(struct pretokenizer *pretokenizer, struct span piece)
{
    if (piece.bytes[0] == ' ')
        return piece;
    pretokenizer->prefixed = reserve_array(pretokenizer->prefixed, &pretokenizer->prefixed_capacity,
                                           piece.length + 1, 1);
    pretokenizer->prefixed[0] = ' ';
    memcpy(pretokenizer->prefixed + 1, piece.bytes, piece.length);
    return (struct span){pretokenizer->prefixed, piece.length + 1};
}

/* Splits a piece, which is not empty, by the rules from first_rule on. */
static void split(const struct splitting *splitting, size_t first_rule, struct span piece)
{
    struct pretokenizer *pretokenizer = splitting->pretokenizer;
    if (first_rule == pretokenizer->count) {
        splitting->take(splitting->context, piece);
        return;
    }
    const struct split_rule *rule = &pretokenizer->rules[first_rule];
    if (rule->prefix_space)
        piece = prefix_space(pretokenizer, piece);
    struct joint joint = {.splitting = splitting, .rule = first_rule};
    struct span match;
    size_t at = 0;
    const bool ascii = rule->pattern && is_ascii(piece);
    while (rule->pattern && at < piece.length && pattern_find(rule->pattern, piece, ascii, at, &match)) {
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

void pretokenize(struct pretokenizer *pretokenizer, struct span text, word_function *take, void *context)
{
    const struct splitting splitting = {pretokenizer, take, context};
    if (text.length)
        split(&splitting, 0, text);
}
