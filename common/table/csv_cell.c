#include "table/csv_cell.h"

#include "base/messages.h"

#include <stdbool.h>
#include <string.h>

static bool begins_formula(const char *text)
{
    char first = text[strspn(text, "'")];
    return first && strchr("=+-@\t\r\n", first);
}

char *csv_cell(const char *text)
{
    return format_string("%s%s", begins_formula(text) ? "'" : "", text);
}

const char *csv_cell_text(const char *field)
{
    return *field == '\'' && begins_formula(field) ? field + 1 : field;
}
