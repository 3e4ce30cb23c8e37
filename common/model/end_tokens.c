#include "model/end_tokens.h"

#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "formats/gguf.h"

#include <stdlib.h>

static void add(struct end_tokens *ends, uint64_t token)
{
    ends->token = grow_array(ends->token, ends->count + 1, sizeof *ends->token);
    ends->token[ends->count++] = (uint32_t)token;
}

/* ---- a directory ---- */

static const char key[] = "eos_token_id";

static void add_number(struct end_tokens *ends, const struct model_config *config, const char *file,
                       const json_t *number)
{
    json_int_t token = json_is_integer(number) ? json_integer_value(number) : -1;
    if (token < 0 || (uint64_t)token >= config->vocabulary)
        die("%s/%s: '%s' must be a token of the model, below %zu, or a list of such tokens", config->path,
            file, key, config->vocabulary);
    add(ends, (uint64_t)token);
}

/* What a file of the directory says, or the settings of the text model in it. */
static void read_file(struct end_tokens *ends, const struct model_config *config, const char *file)
{
    char *path = format_string("%s/%s", config->path, file);
    json_t *json = json_read_object(path, "model's", "a model's settings: {\"eos_token_id\": 2}");
    const json_t *stated = json_object_get(json, key);
    if (!stated)
        stated = json_object_get(json_object_get(json, "text_config"), key);
    if (json_is_array(stated))
        for (size_t i = 0; i < json_array_size(stated); i++)
            add_number(ends, config, file, json_array_get(stated, i));
    else if (stated && !json_is_null(stated))
        add_number(ends, config, file, stated);
    json_decref(json);
    free(path);
}

static void read_directory(struct end_tokens *ends, const struct model_config *config)
{
    if (input_exists_in(config->path, "generation_config.json"))
        read_file(ends, config, "generation_config.json");
    if (!ends->count)
        read_file(ends, config, "config.json");
}

/* ---- a GGUF file ---- */

static void read_gguf(struct end_tokens *ends, const struct model_config *config)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", NULL};
    struct gguf *file = gguf_open(config->path);
    for (size_t i = 0; keys[i]; i++)
        if (gguf_has_key(file, keys[i]))
            add(ends, gguf_uint(file, keys[i], 0, config->vocabulary - 1));
    gguf_close(file);
}

/* ---- both ---- */

struct end_tokens end_tokens_read(const struct model_config *config)
{
    struct end_tokens ends = {0};
    if (is_gguf(config->path))
        read_gguf(&ends, config);
    else
        read_directory(&ends, config);
    return ends;
}

void end_tokens_free(struct end_tokens *ends)
{
    free(ends->token);
}

bool is_end_token(const struct end_tokens *ends, uint32_t token)
{
    for (size_t i = 0; i < ends->count; i++)
        if (ends->token[i] == token)
            return true;
    return false;
}
