/*
 * What steps of normalization do to characters one by one. Their tables in the tokenizers library are of
 * different versions of Unicode.
 */
#ifndef FFKV_CHARACTER_EDITS_H
#define FFKV_CHARACTER_EDITS_H

#include <stddef.h>
#include <stdint.h>

enum character_edit {
    EDIT_LOWERCASE,         /* Lowercase, and BertNormalizer's lowercase */
    EDIT_STRIP_ACCENTS,     /* StripAccents: drops combining marks */
    EDIT_NMT,               /* Nmt: drops some control characters, makes some others spaces */
    EDIT_BERT_CLEAN,        /* BertNormalizer's clean_text: the same for more of them */
    EDIT_BERT_CHINESE,      /* its handle_chinese_chars: spaces around each */
    EDIT_BERT_STRIP_ACCENTS /* its strip_accents: drops marks that take no room of their own */
};

struct character_editor;

struct character_editor *character_editor_new(enum character_edit edit);
void character_editor_free(struct character_editor *editor);

/* Characters that one becomes, at most. */
enum { MAX_EDITED = 3 };

/* What a character becomes, in `to`; how many. */
size_t character_edit(const struct character_editor *editor, int32_t character, int32_t to[MAX_EDITED]);

#endif
