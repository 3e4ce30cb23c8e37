#include "text/normalizer.h"

#include "base/limits.h"
#include "base/messages.h"
#include "text/byte_characters.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

enum { MAX_STEPS = 32 };

struct step {
    enum kind { FORM, EDIT, PREPEND, REPLACE, STRIP, BYTE_CHARACTERS, CHARSMAP } kind;
    struct form_writer *form;
    enum normal_form form_kind;
    struct character_editor *editor;
    enum character_edit edit;
    struct pattern *pattern;
    struct charsmap *charsmap;
    char *content;           /* of PREPEND and REPLACE */
    size_t content_length;
    bool left, right;        /* of STRIP */
    char *text;              /* what the step has made */
    size_t length, capacity; /* length: while it is made */
};

struct normalizer {
    struct step steps[MAX_STEPS];
    size_t count;
};

/* ---- the list ---- */

struct normalizer *normalizer_new(void)
{
    return new_array(1, sizeof(struct normalizer));
}

void normalizer_free(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        struct step *step = &normalizer->steps[i];
        if (step->form)
            form_writer_free(step->form);
        if (step->editor)
            character_editor_free(step->editor);
        if (step->pattern)
            pattern_free(step->pattern);
        if (step->charsmap)
            charsmap_free(step->charsmap);
        free(step->content);
        free(step->text);
    }
    free(normalizer);
}

static struct step *add_step(struct normalizer *normalizer, enum kind kind)
{
    if (normalizer->count == MAX_STEPS)
        die("a normalizer of more than %d steps; this program has no room for them", MAX_STEPS);
    struct step *step = &normalizer->steps[normalizer->count++];
    *step = (struct step){.kind = kind};
    return step;
}

void normalizer_add_form(struct normalizer *normalizer, enum normal_form form)
{
    struct step *step = add_step(normalizer, FORM);
    step->form = form_writer_new(form);
    step->form_kind = form;
}

void normalizer_add_edit(struct normalizer *normalizer, enum character_edit edit)
{
    struct step *step = add_step(normalizer, EDIT);
    step->editor = character_editor_new(edit);
    step->edit = edit;
}

static void set_content(struct step *step, struct span content)
{
    step->content = new_array(content.length + 1, 1);
    memcpy(step->content, content.bytes, content.length);
    step->content_length = content.length;
}

void normalizer_add_prepend(struct normalizer *normalizer, struct span content)
{
    set_content(add_step(normalizer, PREPEND), content);
}

void normalizer_add_replace(struct normalizer *normalizer, struct pattern *pattern, struct span content)
{
    struct step *step = add_step(normalizer, REPLACE);
    set_content(step, content);
    step->pattern = pattern;
}

void normalizer_add_strip(struct normalizer *normalizer, bool left, bool right)
{
    struct step *step = add_step(normalizer, STRIP);
    step->left = left;
    step->right = right;
}

void normalizer_add_charsmap(struct normalizer *normalizer, struct charsmap *charsmap)
{
    add_step(normalizer, CHARSMAP)->charsmap = charsmap;
}

void normalizer_add_byte_characters(struct normalizer *normalizer)
{
    add_step(normalizer, BYTE_CHARACTERS);
}

/* More than one character. */
static bool is_long(struct span text)
{
    size_t at = 0;
    U8_FWD_1((const uint8_t *)text.bytes, at, text.length);
    return at < text.length;
}

bool normalizer_is_empty(const struct normalizer *normalizer)
{
    return normalizer->count == 0;
}

bool normalizer_is_form_c(const struct normalizer *normalizer)
{
    bool is_form_c = normalizer->count > 0;
    for (size_t i = 0; i < normalizer->count; i++) {
        const struct step *step = &normalizer->steps[i];
        is_form_c = is_form_c && step->kind == FORM && step->form_kind == FORM_C;
    }
    return is_form_c;
}

static bool has_kind(const struct normalizer *normalizer, enum kind kind)
{
    bool has = false;
    for (size_t i = 0; i < normalizer->count; i++)
        has = has || normalizer->steps[i].kind == kind;
    return has;
}

bool normalizer_writes_bytes(const struct normalizer *normalizer)
{
    return has_kind(normalizer, BYTE_CHARACTERS);
}

bool normalizer_prepends(const struct normalizer *normalizer)
{
    return has_kind(normalizer, PREPEND);
}

const char *normalizer_space(const struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        const struct step *step = &normalizer->steps[i];
        struct span content = {step->content, step->content_length};
        if (step->kind == REPLACE && !strcmp(pattern_expression(step->pattern), " ") && content.length
            && !is_long(content))
            return step->content;
    }
    return NULL;
}

void normalizer_hash(const struct normalizer *normalizer, struct hash *hash)
{
    if (normalizer_is_form_c(normalizer))
        return;
    for (size_t i = 0; i < normalizer->count; i++) {
        const struct step *step = &normalizer->steps[i];
        const char *expression = step->pattern ? pattern_expression(step->pattern) : "";
        const unsigned char settings[] = {(unsigned char)step->kind, (unsigned char)step->form_kind,
                                          (unsigned char)step->edit, step->left, step->right};
        const uint64_t lengths[] = {strlen(expression), step->content_length};
        hash_add(hash, settings, sizeof settings);
        hash_add(hash, lengths, sizeof lengths);
        hash_add(hash, expression, strlen(expression));
        hash_add(hash, step->content ? step->content : "", step->content_length);
        if (step->charsmap)
            hash_add(hash, charsmap_table(step->charsmap).bytes, charsmap_table(step->charsmap).length);
    }
}

/* ---- the steps ---- */

/* Appends to what the step has made. */
static void append(struct step *step, const char *bytes, size_t count)
{
    step->text = reserve_array(step->text, &step->capacity, step->length + count + 1, 1);
    memcpy(step->text + step->length, bytes, count);
    step->length += count;
}

static struct span edit_text(struct step *step, struct span text, bool *at_start)
{
    for (size_t at = 0, start = 0; at < text.length; start = at) {
        UChar32 character, edited[MAX_EDITED];
        U8_NEXT_UNSAFE((const uint8_t *)text.bytes, at, character);
        size_t count = character_edit(step->editor, character, edited);
        if (count == 0 && start == 0)
            *at_start = false;
        step->text = reserve_array(step->text, &step->capacity,
                                   step->length + MAX_EDITED * U8_MAX_LENGTH, 1);
        for (size_t i = 0; i < count; i++)
            U8_APPEND_UNSAFE((uint8_t *)step->text, step->length, (uint32_t)edited[i]);
    }
    return (struct span){step->text, step->length};
}

static struct span replace_matches(struct step *step, struct span text, bool *at_start)
{
    struct span match;
    size_t at = 0;
    const bool ascii = is_ascii(text);
    while (at < text.length && pattern_find(step->pattern, text, ascii, at, &match)) {
        size_t start = (size_t)(match.bytes - text.bytes);
        /* What is put in stands where the last character was that it replaces. */
        if (start == 0 && (is_long(match) || step->content_length == 0))
            *at_start = false;
        append(step, text.bytes + at, start - at);
        append(step, step->content, step->content_length);
        at = start + match.length;
    }
    if (at == 0)
        return text;
    append(step, text.bytes + at, text.length - at);
    return (struct span){step->text, step->length};
}

static struct span strip_text(const struct step *step, struct span text, bool *at_start)
{
    const uint8_t *bytes = (const uint8_t *)text.bytes;
    size_t start = 0;
    int32_t end = (int32_t)text.length;
    for (size_t next = 0; step->left && start < text.length; start = next) {
        UChar32 character;
        U8_NEXT_UNSAFE(bytes, next, character);
        if (!u_isUWhiteSpace(character))
            break;
        *at_start = false;
    }
    for (int32_t next = end; step->right && end > (int32_t)start; end = next) {
        UChar32 character;
        U8_PREV(bytes, 0, next, character);
        if (!u_isUWhiteSpace(character))
            break;
    }
    return (struct span){text.bytes + start, (size_t)end - start};
}

static struct span prepend(struct step *step, struct span text)
{
    append(step, step->content, step->content_length);
    append(step, text.bytes, text.length);
    return (struct span){step->text, step->length};
}

static struct span to_byte_characters(struct step *step, struct span text)
{
    step->text = reserve_array(step->text, &step->capacity, text.length * BYTE_CHARACTER_BYTES, 1);
    return byte_characters_write(step->text, text);
}

static struct span apply_step(struct step *step, struct span text, bool *at_start)
{
    step->length = 0;
    switch (step->kind) {
    case FORM:
        return form_write(step->form, text);
    case EDIT:
        return edit_text(step, text, at_start);
    case PREPEND:
        return prepend(step, text);
    case REPLACE:
        return replace_matches(step, text, at_start);
    case STRIP:
        return strip_text(step, text, at_start);
    case BYTE_CHARACTERS:
        return to_byte_characters(step, text);
    case CHARSMAP:
        return charsmap_normalize(step->charsmap, text);
    }
    return text;
}

struct span normalizer_apply(struct normalizer *normalizer, struct span text, bool *at_start)
{
    bool ignored;
    for (size_t i = 0; i < normalizer->count && text.length; i++) {
        text = apply_step(&normalizer->steps[i], text, at_start ? at_start : &ignored);
        if (text.length > MAX_ENCODED_BYTES)
            die("a text of %zu bytes when normalized; at most %d can be encoded at once", text.length,
                MAX_ENCODED_BYTES);
    }
    return text;
}
