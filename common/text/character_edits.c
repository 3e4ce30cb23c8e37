#include "text/character_edits.h"

#include "base/messages.h"
#include "text/character_set.h"

#include <stdlib.h>
#include <unicode/uchar.h>

struct character_editor {
    enum character_edit edit;
    struct character_set *dropped, *spaces, *spaced; /* become nothing, a space, or get spaces around them */
};

/* As patterns of ICU's sets; NULL: none. Some characters are of another category now than they were. */
static const struct {
    const UChar *dropped, *spaces, *spaced;
} sets[] = {
    [EDIT_LOWERCASE] = {NULL, NULL, NULL},
    [EDIT_STRIP_ACCENTS] = {u"[[[:M:]&[:age=9.0:]][\\u1cf2\\u1cf3]-[\\U000111c9]]", NULL, NULL},
    [EDIT_NMT] = {u"[\\u0001-\\u0008\\u000b\\u000e-\\u001f\\u007f\\u008f\\u009f]",
                  u"[\\u0009\\u000a\\u000c\\u000d\\u0020\\u1680\\u200b-\\u200f\\u2028\\u2029"
                  u"\\u2581\\ufeff\\ufffd]",
                  NULL},
    [EDIT_BERT_CLEAN] = {u"[[[:Cc:][:Cf:][:Co:]]&[:age=8.0:]-[\\t\\n\\r]\\ufffd]",
                         u"[\\t\\n\\r[:Zs:][:Zl:][:Zp:]]", NULL},
    [EDIT_BERT_CHINESE] = {NULL, NULL,
                           u"[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\U00020000-\\U0002a6df"
                           u"\\U0002a700-\\U0002b81f\\U0002b920-\\U0002ceaf\\U0002f800-\\U0002fa1f]"},
    [EDIT_BERT_STRIP_ACCENTS] = {u"[[[:Mn:]&[:age=8.0:]][\\u1734]-[\\u1885\\u1886\\ua9bd\\U000111c9]]", NULL,
                                 NULL},
};

/* Small letters of Unicode 16 and 17, which the library knows and an older ICU does not. */
static const struct later_letters {
    int32_t first, last, change;
} later_letters[] = {
    {0x1c89, 0x1c89, 1},  {0xa7cb, 0xa7cb, 0x264 - 0xa7cb}, {0xa7cc, 0xa7cc, 1},
    {0xa7ce, 0xa7ce, 1},  {0xa7d2, 0xa7d2, 1},              {0xa7d4, 0xa7d4, 1},
    {0xa7da, 0xa7da, 1},  {0xa7dc, 0xa7dc, 0x19b - 0xa7dc}, {0x10d50, 0x10d65, 0x20},
    {0x16ea0, 0x16eb8, 0x1b},
};

enum { LATER_LETTERS = sizeof later_letters / sizeof *later_letters };

static struct character_set *set_or_null(const UChar *pattern)
{
    return pattern ? character_set_new(pattern) : NULL;
}

struct character_editor *character_editor_new(enum character_edit edit)
{
    struct character_editor *editor = new_array(1, sizeof *editor);
    editor->edit = edit;
    editor->dropped = set_or_null(sets[edit].dropped);
    editor->spaces = set_or_null(sets[edit].spaces);
    editor->spaced = set_or_null(sets[edit].spaced);
    return editor;
}

void character_editor_free(struct character_editor *editor)
{
    struct character_set *const own[] = {editor->dropped, editor->spaces, editor->spaced};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i])
            character_set_free(own[i]);
    free(editor);
}

/* The only capital that becomes two characters. */
enum { DOTTED_I = 0x130, DOT_ABOVE = 0x307 };

static size_t to_lowercase(int32_t character, int32_t to[MAX_EDITED])
{
    to[0] = u_tolower(character);
    if (character == DOTTED_I) {
        to[0] = 'i';
        to[1] = DOT_ABOVE;
        return 2;
    }
    for (size_t i = 0; i < LATER_LETTERS && character >= later_letters[0].first; i++)
        if (character >= later_letters[i].first && character <= later_letters[i].last)
            to[0] = character + later_letters[i].change;
    return 1;
}

size_t character_edit(const struct character_editor *editor, int32_t character, int32_t to[MAX_EDITED])
{
    if (editor->edit == EDIT_LOWERCASE)
        return to_lowercase(character, to);
    if (editor->dropped && character_set_has(editor->dropped, character))
        return 0;
    if (editor->spaced && character_set_has(editor->spaced, character)) {
        to[0] = to[2] = ' ';
        to[1] = character;
        return MAX_EDITED;
    }
    to[0] = editor->spaces && character_set_has(editor->spaces, character) ? ' ' : character;
    return 1;
}
