#include "model/families.h"

#include "base/messages.h"
#include "model/family_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking them up ---- */

static const char *directory_name(const struct family *family)
{
    return family->model_type;
}

static const char *gguf_name(const struct family *family)
{
    return family->gguf.architecture;
}

static const struct family *const tables[] = {gpt_families, llama_families, gemma_families, expert_families};
enum { TABLES = sizeof tables / sizeof *tables };

/* The family behind this one, or the first of all; NULL: it was the last. */
static const struct family *next(const struct family *family, size_t *table)
{
    if (!family) {
        *table = 0;
        return tables[0];
    }
    family++;
    while (!family->model_type && ++*table < TABLES)
        family = tables[*table];
    return family->model_type ? family : NULL;
}

/* Whether one before this family has the same name. */
static bool is_named_before(const char *(*name_of)(const struct family *), const struct family *family)
{
    size_t table;
    for (const struct family *before = NULL; (before = next(before, &table)) && before != family;)
        if (name_of(before) && !strcmp(name_of(before), name_of(family)))
            return true;
    return false;
}

static char *list(const char *(*name_of)(const struct family *))
{
    char *names = copy_string("");
    size_t table;
    for (const struct family *family = NULL; (family = next(family, &table));) {
        if (!name_of(family) || is_named_before(name_of, family))
            continue;
        char *longer = format_string("%s%s%s", names, *names ? ", " : "", name_of(family));
        free(names);
        names = longer;
    }
    return names;
}

const struct family *family_at(size_t index)
{
    size_t table;
    const struct family *family = NULL;
    while ((family = next(family, &table)) && index)
        index--;
    return family;
}

const struct family *family_find(const char *model_type)
{
    size_t table;
    const struct family *family = NULL;
    while ((family = next(family, &table)) && strcmp(family->model_type, model_type))
        ;
    return family;
}

const struct family *family_find_gguf(const char *architecture, bool experts)
{
    size_t table;
    const struct family *family = NULL, *found = NULL;
    while ((family = next(family, &table)))
        if (gguf_name(family) && !strcmp(gguf_name(family), architecture)
            && (!found || (family->names.experts != NULL) == experts))
            found = family;
    return found;
}

char *family_list(void)
{
    return list(directory_name);
}

char *family_list_gguf(void)
{
    return list(gguf_name);
}

void tensor_name(char to[MAX_TENSOR_NAME], const char *prefix, const char *name, size_t index, size_t expert)
{
    char format[MAX_TENSOR_NAME];
    snprintf(format, sizeof format, "%s%s", prefix, name);
    snprintf(to, MAX_TENSOR_NAME, format, index, expert);
}
