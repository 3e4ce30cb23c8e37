#include "text/subword_steps.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/utf8.h>

enum { MAX_DEPTH = 8 }; /* of sequences within sequences */

/* The members of a Sequence, under their own name in each kind of it. */
static const json_t *sequence_members(struct json_place place, const json_t *sequence, const char *name,
                                      size_t depth)
{
    const json_t *members = json_object_get(sequence, name);
    if (!json_is_array(members) || depth == MAX_DEPTH)
        die("%s: %s: a Sequence without its list '%s', or %d of them within each other", place.path,
            place.part, name, MAX_DEPTH);
    return members;
}

/* The member, which must be text. */
static struct span needed_text(struct json_place place, const json_t *object, const char *name)
{
    const json_t *text = json_object_get(object, name);
    if (!json_is_string(text))
        die("%s: %s: '%s' must be text", place.path, place.part, name);
    return string_span(text);
}

/* {"Regex": text} or {"String": text} */
static struct pattern *read_pattern(struct json_place place, const json_t *object)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *expression = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if (json_object_size(pattern) != 1 || (!expression && !literal))
        die("%s: %s: 'pattern' must have one member, 'Regex' or 'String', with text", place.path, place.part);
    char *where = format_string("%s: %s", place.path, place.part);
    struct pattern *read = expression ? pattern_new(expression, where) : pattern_literal(literal, where);
    free(where);
    return read;
}

/* A kind of step by its "type": reads the object and adds what it says. */
struct step_reader {
    const char *type;
    const char *const *members; /* that the object may have beside "type"; NULL: none */
    void (*add)(void *steps, struct json_place place, const json_t *object);
};

/* The reader of the object's type. A type, or a member of the object, that is not known ends the program. */
static const struct step_reader *find_reader(struct json_place place, json_t *object,
                                             const struct step_reader *readers)
{
    const char *type = is_nothing(object) ? "null" : member_type(place, object), *name;
    json_t *value;
    for (; readers->type && strcmp(readers->type, type); readers++)
        continue;
    if (!readers->type)
        die("%s: the %s '%s' is not known to this program", place.path, place.part, type);
    json_object_foreach(object, name, value)
        if (strcmp(name, "type") && !(readers->members && is_listed(name, readers->members)))
            die("%s: %s: the setting '%s' is not known to this program", place.path, place.part, name);
    return readers;
}

/* Reads an object, or those of a Sequence's list, which is called list. */
static void read_steps(void *steps, struct json_place place, json_t *object, const char *list, size_t depth,
                       const struct step_reader *readers)
{
    if (json_is_object(object) && !strcmp(member_type(place, object), "Sequence")) {
        const json_t *members = sequence_members(place, object, list, depth);
        for (size_t i = 0; i < json_array_size(members); i++)
            read_steps(steps, place, json_array_get(members, i), list, depth + 1, readers);
        return;
    }
    find_reader(place, object, readers)->add(steps, place, object);
}

/* ---- normalizers ---- */

#define FORM_READER(name, form) \
    static void name(void *steps, struct json_place place, const json_t *object) \
    { \
        (void)place; \
        (void)object; \
        normalizer_add_form(steps, form); \
    }
FORM_READER(add_form_c, FORM_C)
FORM_READER(add_form_d, FORM_D)
FORM_READER(add_form_kc, FORM_KC)
FORM_READER(add_form_kd, FORM_KD)

#define EDIT_READER(name, edit) \
    static void name(void *steps, struct json_place place, const json_t *object) \
    { \
        (void)place; \
        (void)object; \
        normalizer_add_edit(steps, edit); \
    }
EDIT_READER(add_lowercase, EDIT_LOWERCASE)
EDIT_READER(add_strip_accents, EDIT_STRIP_ACCENTS)
EDIT_READER(add_nmt, EDIT_NMT)

static void add_prepend(void *steps, struct json_place place, const json_t *object)
{
    normalizer_add_prepend(steps, needed_text(place, object, "prepend"));
}

static void add_replace(void *steps, struct json_place place, const json_t *object)
{
    normalizer_add_replace(steps, read_pattern(place, object), needed_text(place, object, "content"));
}

static void add_strip(void *steps, struct json_place place, const json_t *object)
{
    normalizer_add_strip(steps, member_flag(place, object, "strip_left", true),
                         member_flag(place, object, "strip_right", true));
}

static void add_bert(void *steps, struct json_place place, const json_t *object)
{
    bool lowercase = member_flag(place, object, "lowercase", true);
    if (member_flag(place, object, "clean_text", true))
        normalizer_add_edit(steps, EDIT_BERT_CLEAN);
    if (member_flag(place, object, "handle_chinese_chars", true))
        normalizer_add_edit(steps, EDIT_BERT_CHINESE);
    if (member_flag(place, object, "strip_accents", lowercase)) {
        normalizer_add_form(steps, FORM_D);
        normalizer_add_edit(steps, EDIT_BERT_STRIP_ACCENTS);
    }
    if (lowercase)
        normalizer_add_edit(steps, EDIT_LOWERCASE);
}

static void add_byte_characters(void *steps, struct json_place place, const json_t *object)
{
    (void)place;
    (void)object;
    normalizer_add_byte_characters(steps);
}

static void add_precompiled(void *steps, struct json_place place, const json_t *object)
{
    struct span table = needed_text(place, object, "precompiled_charsmap");
    normalizer_add_charsmap(steps, charsmap_from_base64(table.bytes, place.path));
}

struct normalizer *read_normalizer(const char *path, json_t *object)
{
    static const char *const prepend[] = {"prepend", NULL}, *const replace[] = {"pattern", "content", NULL},
                      *const strip[] = {"strip_left", "strip_right", NULL},
                      *const bert[] = {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase",
                                       NULL},
                      *const precompiled[] = {"precompiled_charsmap", NULL};
    static const struct step_reader readers[] = {
        {"NFC", NULL, add_form_c},
        {"NFD", NULL, add_form_d},
        {"NFKC", NULL, add_form_kc},
        {"NFKD", NULL, add_form_kd},
        {"Lowercase", NULL, add_lowercase},
        {"StripAccents", NULL, add_strip_accents},
        {"Nmt", NULL, add_nmt},
        {"Prepend", prepend, add_prepend},
        {"Replace", replace, add_replace},
        {"Strip", strip, add_strip},
        {"BertNormalizer", bert, add_bert},
        {"ByteLevel", NULL, add_byte_characters},
        {"Precompiled", precompiled, add_precompiled},
        {0},
    };
    struct normalizer *normalizer = normalizer_new();
    if (!is_nothing(object))
        read_steps(normalizer, (struct json_place){path, "normalizer"}, object, "normalizers", 0, readers);
    return normalizer;
}

/* ---- pre-tokenizers ---- */

static enum split_behavior read_behavior(struct json_place place, const json_t *object)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    static const enum split_behavior behaviors[] = {SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_MERGED_WITH_PREVIOUS,
                                                    SPLIT_MERGED_WITH_NEXT, SPLIT_CONTIGUOUS};
    const char *name = member_text(place, object, "behavior");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name && !strcmp(names[i], name))
            return behaviors[i];
    die("%s: %s: the behavior '%s' is not known", place.path, place.part, name ? name : "(none)");
}

static void add_split(void *steps, struct json_place place, const json_t *object)
{
    pretokenizer_add(steps, (struct split_rule){.pattern = read_pattern(place, object),
                                                .behavior = read_behavior(place, object),
                                                .invert = member_flag(place, object, "invert", false)});
}

/* White space goes. */
static void add_spaces(void *steps)
{
    pretokenizer_add(steps, (struct split_rule){.set = SET_SPACES, .behavior = SPLIT_REMOVED});
}

static void add_whitespace_split(void *steps, struct json_place place, const json_t *object)
{
    (void)place;
    (void)object;
    add_spaces(steps);
}

/* \w+|[^\w\s]+ */
static void add_whitespace(void *steps, struct json_place place, const json_t *object)
{
    (void)place;
    (void)object;
    add_spaces(steps);
    pretokenizer_add(steps, (struct split_rule){.set = SET_WORDS, .behavior = SPLIT_CONTIGUOUS});
}

static void add_bert_words(void *steps, struct json_place place, const json_t *object)
{
    (void)place;
    (void)object;
    add_spaces(steps);
    pretokenizer_add(steps, (struct split_rule){.set = SET_PUNCTUATION, .behavior = SPLIT_ISOLATED});
}

static void add_punctuation(void *steps, struct json_place place, const json_t *object)
{
    enum split_behavior behavior =
        json_object_get(object, "behavior") ? read_behavior(place, object) : SPLIT_ISOLATED;
    pretokenizer_add(steps, (struct split_rule){.set = SET_PUNCTUATION, .behavior = behavior});
}

static void add_scripts(void *steps, struct json_place place, const json_t *object)
{
    (void)place;
    (void)object;
    pretokenizer_add(steps,
                     (struct split_rule){.set = SET_SCRIPTS, .behavior = SPLIT_REMOVED, .invert = true});
}

/* Every so many characters are a piece. */
static void add_fixed_length(void *steps, struct json_place place, const json_t *object)
{
    enum { USUAL = 5, MOST = 65535 }; /* where the file says nothing; of a quantifier */
    const json_t *stated = json_object_get(object, "length");
    json_int_t length = is_nothing(stated) ? USUAL : json_integer_value(stated);
    if (length < 1 || length > MOST)
        die("%s: %s: 'length' must be a whole number from 1 to %d", place.path, place.part, MOST);
    char *expression = format_string("(?:.|\\n){1,%d}", (int)length);
    pretokenizer_add(steps, (struct split_rule){.pattern = pattern_new(expression, place.path),
                                                .behavior = SPLIT_ISOLATED});
    free(expression);
}

static void add_digits(void *steps, struct json_place place, const json_t *object)
{
    bool individual = member_flag(place, object, "individual_digits", false);
    pretokenizer_add(steps,
                     (struct split_rule){.pattern = pattern_new(digit_expression, place.path),
                                         .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS});
}

static void add_byte_level(void *steps, struct json_place place, const json_t *object)
{
    bool has_expression = member_flag(place, object, "use_regex", true);
    bool prefix = member_flag(place, object, "add_prefix_space", true);
    if (has_expression || prefix)
        pretokenizer_add(steps, (struct split_rule){
            .pattern = has_expression ? pattern_new(gpt2_expression, place.path) : NULL,
            .behavior = SPLIT_ISOLATED, .mark = " ", .prefix = prefix ? PREFIX_ALWAYS : PREFIX_NEVER});
    pretokenizer_add(steps, (struct split_rule){.to_byte_characters = true});
}

/* A member that is one character. */
static void read_character(struct json_place place, const json_t *object, const char *name,
                           char character[MARK_BYTES])
{
    struct span text = needed_text(place, object, name);
    if (text.length == 0 || text.length != (size_t)U8_COUNT_TRAIL_BYTES(text.bytes[0]) + 1)
        die("%s: %s: '%s' must be one character", place.path, place.part, name);
    memcpy(character, text.bytes, text.length + 1);
}

static void add_delimiter(void *steps, struct json_place place, const json_t *object)
{
    char delimiter[MARK_BYTES];
    read_character(place, object, "delimiter", delimiter);
    pretokenizer_add(steps, (struct split_rule){.pattern = pattern_literal(delimiter, place.path),
                                                .behavior = SPLIT_REMOVED});
}

/* prepend_scheme, which came after add_prefix_space and may stand beside it. */
static enum prefix_scheme read_scheme(struct json_place place, const json_t *object)
{
    static const char *const names[] = {[PREFIX_NEVER] = "never", [PREFIX_ALWAYS] = "always",
                                        [PREFIX_FIRST] = "first"};
    const char *name = member_text(place, object, "prepend_scheme");
    bool prefix = member_flag(place, object, "add_prefix_space", true);
    if (!name)
        name = names[PREFIX_ALWAYS];
    if (!prefix && strcmp(name, names[PREFIX_NEVER]))
        die("%s: %s: add_prefix_space is false, but prepend_scheme not never; the tokenizers library refuses "
            "it, too",
            place.path, place.part);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name))
            return (enum prefix_scheme)i;
    die("%s: %s: the prepend_scheme '%s' is not known; always, first and never are", place.path, place.part,
        name);
}

static void add_metaspace(void *steps, struct json_place place, const json_t *object)
{
    struct split_rule rule = {.behavior = SPLIT_MERGED_WITH_NEXT, .prefix = read_scheme(place, object)};
    read_character(place, object, "replacement", rule.space);
    memcpy(rule.mark, rule.space, sizeof rule.mark);
    if (member_flag(place, object, "split", true))
        rule.pattern = pattern_literal(rule.mark, place.path);
    pretokenizer_add(steps, rule);
}

struct pretokenizer *read_pretokenizer(const char *path, json_t *object)
{
    static const char *const split[] = {"pattern", "behavior", "invert", NULL},
                      *const digits[] = {"individual_digits", NULL},
                      *const byte_level[] = {"add_prefix_space", "trim_offsets", "use_regex", NULL},
                      *const metaspace[] = {"replacement", "str_rep", "prepend_scheme", "add_prefix_space",
                                            "split", NULL},
                      *const length[] = {"length", NULL},
                      *const punctuation[] = {"behavior", NULL}, *const delimiter[] = {"delimiter", NULL};
    static const struct step_reader readers[] = {
        {"Split", split, add_split},
        {"Digits", digits, add_digits},
        {"ByteLevel", byte_level, add_byte_level},
        {"Metaspace", metaspace, add_metaspace},
        {"Punctuation", punctuation, add_punctuation},
        {"Whitespace", NULL, add_whitespace},
        {"WhitespaceSplit", NULL, add_whitespace_split},
        {"BertPreTokenizer", NULL, add_bert_words},
        {"UnicodeScripts", NULL, add_scripts},
        {"FixedLength", length, add_fixed_length},
        {"CharDelimiterSplit", delimiter, add_delimiter},
        {0},
    };
    struct pretokenizer *pretokenizer = pretokenizer_new();
    if (!is_nothing(object))
        read_steps(pretokenizer, (struct json_place){path, "pre_tokenizer"}, object, "pretokenizers", 0,
                   readers);
    return pretokenizer;
}

/* ---- what does not shape the tokens ---- */

static void check_decoders(struct json_place place, const json_t *object, size_t depth)
{
    static const char *const known[] = {"ByteLevel", "ByteFallback", "Fuse", "Strip", "Replace", "Metaspace",
                                        "WordPiece", "BPEDecoder", NULL};
    if (is_nothing(object))
        return;
    const char *type = member_type(place, object);
    if (!strcmp(type, "Sequence")) {
        const json_t *members = sequence_members(place, object, "decoders", depth);
        for (size_t i = 0; i < json_array_size(members); i++)
            check_decoders(place, json_array_get(members, i), depth + 1);
    } else if (!is_listed(type, known)) {
        die("%s: the decoder '%s' is not known to this program", place.path, type);
    }
}

void check_decoder(const char *path, const json_t *object)
{
    check_decoders((struct json_place){path, "decoder"}, object, 0);
}
