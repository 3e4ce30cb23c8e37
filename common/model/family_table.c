#include "model/family_table.h"

#include "model/families.h"
#include "table/table.h"

void family_table_write(const char *path)
{
    static const char *const columns[] = {"family", "directory", "gguf", "compared_with", NULL};
    struct table *table = table_open(path, columns);
    const struct family *family;
    for (size_t i = 0; (family = family_at(i)); i++) {
        table_text(table, family->model_type);
        table_text(table, family->reference ? "import-model" : "Hugging Face");
        table_text(table, family->gguf.architecture ? family->gguf.architecture : "");
        table_text(table, family->reference ? family->reference : "transformers");
    }
    table_finish(table);
}
