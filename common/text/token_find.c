#include "text/token_find.h"

#include "base/messages.h"
#include "model/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* How many tokens have this text, up to 2; *first and *other: the lowest of them. */
static size_t count_tokens(const struct tokenizer *tokenizer, size_t vocabulary, const char *text,
                           uint32_t *first, uint32_t *other)
{
    size_t count = 0;
    for (uint32_t token = 0; token < vocabulary; token++) {
        char *own = tokenizer_text(tokenizer, &token, 1);
        if (!strcmp(own, text) && count < 2)
            *(count++ ? other : first) = token;
        free(own);
    }
    return count;
}

/* "'an' (5), 'other' (17)"; the caller frees it. */
static char *split_text(struct tokenizer *tokenizer, const char *text)
{
    uint32_t *tokens = NULL;
    size_t capacity = 0;
    size_t count = tokenizer_encode_text(tokenizer, (struct span){text, strlen(text)}, &tokens, &capacity);
    char *list = copy_string("");
    for (size_t i = 0; i < count; i++) {
        char *own = tokenizer_text(tokenizer, tokens + i, 1);
        char *longer = format_string("%s%s'%s' (%u)", list, i ? ", " : "", own, tokens[i]);
        free(own);
        free(list);
        list = longer;
    }
    free(tokens);
    return list;
}

/* "; ' with', with a blank before it, is token 351" where there is such a token; the caller frees it. */
static char *neighbour_text(const struct tokenizer *tokenizer, size_t vocabulary, const char *text)
{
    bool has_blank = *text == ' ';
    char *neighbour = has_blank ? copy_string(text + 1) : format_string(" %s", text);
    uint32_t token = NO_TOKEN, other;
    char *says = *text && *neighbour && count_tokens(tokenizer, vocabulary, neighbour, &token, &other)
        ? format_string("; '%s', with%s a blank before it, is token %u", neighbour, has_blank ? "out" : "",
                        token)
        : copy_string("");
    free(neighbour);
    return says;
}

static _Noreturn void not_one_token(struct tokenizer *tokenizer, size_t vocabulary, const char *text,
                                    const char *option)
{
    char *split = split_text(tokenizer, text), *neighbour = neighbour_text(tokenizer, vocabulary, text);
    die_usage("--%s '%s' is not one token of the model%s%s%s", option, text,
              *split ? ": it splits into " : "", split, neighbour);
}

uint32_t token_find(struct tokenizer *tokenizer, size_t vocabulary, const char *text, const char *option)
{
    json_t *valid = json_string(text);
    if (!valid)
        die_usage("--%s takes UTF-8; a byte that is not is written \\xNN, as it is shown", option);
    json_decref(valid);
    uint32_t token = NO_TOKEN, other = NO_TOKEN;
    size_t count = count_tokens(tokenizer, vocabulary, text, &token, &other);
    if (!count)
        not_one_token(tokenizer, vocabulary, text, option);
    if (count > 1)
        die_usage("--%s '%s' is the text of several tokens, %u and %u among them: give the one that is meant "
                  "by its number", option, text, token, other);
    return token;
}

uint32_t bos_find(struct tokenizer *tokenizer, const struct model_config *config, const char *text)
{
    if (!text)
        return tokenizer_bos(tokenizer, config);
    return strcmp(text, "none") ? token_find(tokenizer, config->vocabulary, text, "bos") : NO_TOKEN;
}
