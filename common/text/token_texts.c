#include "text/token_texts.h"

#include "base/messages.h"

#include <stdlib.h>

struct token_texts token_texts_new(const struct tokenizer *tokenizer, size_t vocabulary)
{
    return (struct token_texts){tokenizer, vocabulary, new_array(vocabulary, sizeof(json_t *))};
}

void token_texts_free(struct token_texts *texts)
{
    for (size_t i = 0; i < texts->vocabulary; i++)
        json_decref(texts->text[i]);
    free(texts->text);
    *texts = (struct token_texts){0};
}

json_t *token_texts_json(struct token_texts *texts, uint32_t token)
{
    if (!texts->text[token]) {
        char *text = tokenizer_text(texts->tokenizer, &token, 1);
        texts->text[token] = json_make("s", text);
        free(text);
    }
    return json_incref(texts->text[token]);
}
