/* The texts of single tokens as JSON, each made once, when it is first needed. */
#ifndef FFKV_TOKEN_TEXTS_H
#define FFKV_TOKEN_TEXTS_H

#include "base/json.h"
#include "text/tokenizer.h"

struct token_texts {
    const struct tokenizer *tokenizer;
    size_t vocabulary;
    json_t **text; /* vocabulary; NULL until needed */
};

struct token_texts token_texts_new(const struct tokenizer *tokenizer, size_t vocabulary);
void token_texts_free(struct token_texts *texts);

/* A reference of the caller's own. */
json_t *token_texts_json(struct token_texts *texts, uint32_t token);

#endif
