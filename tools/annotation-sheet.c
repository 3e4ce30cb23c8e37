/*
 * annotation-sheet: triggers with projected values in, one HTML page out, on which
 * a person notes the patterns of a sample of keys (paper, section 3.2).
 *
 * The page is tools/annotation-sheet.html with the data in the place of {{data}}: JSON,
 * in which no character can end the element that it stands in. It asks the network for
 * nothing, and gives the reader's work as CSV, see common/analysis/annotation.h.
 */
#include "analysis/annotation.h"
#include "analysis/key_sample.h"
#include "base/cli.h"
#include "base/hash.h"
#include "base/input.h"
#include "base/json.h"
#include "base/layer_number.h"
#include "base/messages.h"
#include "model/model_header.h"
#include "report/embedded.h"
#include "report/page.h"
#include "stream/header_members.h"
#include "stream/records.h"
#include "stream/stream_reader.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

EMBEDDED(tools_annotation_sheet_html);

/* Of a prefix at once; what is before them is shown on demand. */
enum { TOKENS_IN_SIGHT = 15 };

struct options {
    const char *model, *list, *layers, *title, *output;
    uint64_t sample, seed, top, tops;
};

struct sheet {
    const struct options *options;
    const struct tokenizer *tokenizer;
    struct hash *hash; /* of what makes a tick on this sheet mean the same on another */
    json_t *keys;
};

static json_t *text_json(const struct sheet *sheet, const uint32_t *tokens, size_t count)
{
    char *text = tokenizer_text(sheet->tokenizer, tokens, count);
    json_t *json = json_make("s", text);
    free(text);
    return json;
}

static void append(json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) != 0)
        die("out of memory");
}

/* The prefix in three parts: tokens out of sight, tokens in sight, the last one (none: it is empty). */
static json_t *trigger_json(const struct sheet *sheet, const struct key_triggers *key,
                            const struct prefix_walk *prefix)
{
    size_t length = prefix->length, before = length ? length - 1 : 0;
    size_t hidden = length > TOKENS_IN_SIGHT ? length - TOKENS_IN_SIGHT : 0;
    return json_make("{s:o, s:o, s:o, s:o, s:f}",
                     "hidden", text_json(sheet, prefix->token, hidden),
                     "shown", text_json(sheet, prefix->token + hidden, before - hidden),
                     "last", length ? text_json(sheet, prefix->token + before, 1) : json_null(),
                     "next", text_json(sheet, key->next + prefix->index, 1),
                     "coefficient", (double)key->coefficient[prefix->index]);
}

static void add_key(struct sheet *sheet, const struct key_triggers *key)
{
    size_t count = key->count < sheet->options->top ? key->count : (size_t)sheet->options->top;
    size_t tops = key->tops < sheet->options->tops ? key->tops : (size_t)sheet->options->tops;
    json_t *triggers = json_make("[]"), *top = json_make("[]");
    for (struct prefix_walk prefix = key_prefixes(key, count); prefix_next(&prefix);)
        append(triggers, trigger_json(sheet, key, &prefix));
    for (size_t i = 0; i < tops; i++)
        append(top, json_make("[o, f]", text_json(sheet, key->top + i, 1), (double)key->top_probability[i]));
    append(sheet->keys, json_make("{s:I, s:I, s:o, s:o}", "layer", (json_int_t)layer_shown(key->layer),
                                  "cell", (json_int_t)key->cell, "top", top, "triggers", triggers));

    uint64_t numbers[] = {key->layer, key->cell, count};
    hash_add(sheet->hash, numbers, sizeof numbers);
    hash_add(sheet->hash, key->sentence, count * sizeof *key->sentence);
    hash_add(sheet->hash, key->position, count * sizeof *key->position);
}

static void add_keys(struct sheet *sheet, struct stream_reader *reader)
{
    struct triggers_reader triggers = triggers_open_list(reader, sheet->options->list);
    size_t layer_count;
    size_t *layers = cli_layers(sheet->options->layers, triggers.shape.layers, &layer_count);
    bool *wanted = new_array(triggers.shape.layers, sizeof *wanted);
    for (size_t i = 0; i < layer_count; i++)
        wanted[layers[i]] = true;
    struct key_sample *sample =
        key_sample_new(&triggers, (size_t)sheet->options->sample, sheet->options->seed);
    struct key_triggers key;
    while (key_sample_next(sample, &key)) {
        if (!key.top)
            stream_fail(reader, "triggers without projected values: run project-values first");
        if (wanted[key.layer])
            add_key(sheet, &key);
        key_triggers_free(&key);
    }
    if (!json_array_size(sheet->keys))
        die("%s: no key of these layers has a trigger", input_name(stream_input(reader)));
    key_sample_free(sample);
    free(wanted);
    free(layers);
    triggers_close(&triggers);
}

int main(int argc, char **argv)
{
    struct options options = {.title = "Annotation sheet", .sample = 10, .seed = 1, .top = 25, .tops = 10};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        OPTION_LIST(&options.list),
        {0, "sample", "N", "show N random keys of each layer, 0 for all (default 10)", OPTION_NUMBER,
         &options.sample, 0, 0, NULL},
        OPTION_SEED(&options.seed),
        OPTION_LAYERS(&options.layers, "show"),
        {'t', "top", "N", "triggers shown of each key (default 25)", OPTION_NUMBER, &options.top, 1,
         MAX_SHOWN_TRIGGERS, NULL},
        {'k', "tops", "N", "most probable tokens shown of each value (default 10)", OPTION_NUMBER,
         &options.tops, 1, MAX_LISTED_TOKENS, NULL},
        {0, "title", "TEXT", "what the page is called", OPTION_TEXT, &options.title, 0, 0, NULL},
        OPTION_OUTPUT(&options.output),
        OPTION_END,
    };
    const struct tool tool = {"annotation-sheet", "Makes a page for noting the patterns that keys detect.",
                              "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (!options.model)
        die_usage("--model DIR is needed for the words");
    json_t *title = json_string(options.title);
    if (!title)
        die_usage("--title takes UTF-8 text, not '%s'", options.title);

    struct stream_reader *reader = stream_open(cli_input(argc, argv, first), "triggers");
    stream_need_sentences(reader);
    struct tokenizer *tokenizer = tokenizer_open(options.model, reader);

    const char *model = header_text(reader, "model", "id");
    struct sheet sheet = {&options, tokenizer, hash_new(), json_make("[]")};
    hash_add(sheet.hash, model, strlen(model));
    add_keys(&sheet, reader);
    char id[HASH_CHARACTERS + 1];
    hash_finish(sheet.hash, id);
    json_t *data = json_make("{s:o, s:s, s:s, s:o, s:s, s:s, s:I, s:o}", "title", title, "sheet", id, "model",
                             model, "name", model_name_json(options.model, model), "corpus",
                             header_text(reader, "corpus", "name"), "joint", tokenizer_joint(tokenizer),
                             "least", (json_int_t)LEAST_PATTERN_TRIGGERS, "keys", sheet.keys);
    page_write(output_open(options.output, OUTPUT_TEXT), EMBEDDED_SPAN(tools_annotation_sheet_html), data, 9);

    json_decref(data);
    tokenizer_free(tokenizer);
    stream_close(reader);
    return STATUS_DONE;
}
