/*
 * bench-projection: what it saves to leave out clusters of an adaptive softmax that cannot
 * change an answer.
 *
 * Reads activations with resid and ffn, and answers the questions of section 5 in two ways,
 * in turn, on one thread: projection_ask, and projection_run with a look at the whole
 * distribution. The vectors are r^l, of which the final token's rank is wanted, too, y^l of
 * which the most probable token is wanted, and the model's values, as many. Times are the
 * processor's, both ways' those of the same round; a machine's noise hits both.
 */
#include "base/cli.h"
#include "base/messages.h"
#include "model/forward.h"
#include "model/model_header.h"
#include "model/model_norm.h"
#include "model/projection.h"
#include "numeric/matrix.h"
#include "stream/activations.h"
#include "stream/record_members.h"
#include "stream/stream_reader.h"
#include "table/statistics.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *model;
    uint64_t vectors, rounds;
};

/* Vectors of one kind, and what is asked of each. */
struct vectors {
    const char *name;
    bool ranked;
    size_t count, most;
    float *vector;   /* most x d_model, and padding */
    uint32_t *token; /* most */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static struct vectors vectors_new(const char *name, bool ranked, size_t most, size_t d_model)
{
    return (struct vectors){name, ranked, 0, most, new_floats((most + PROJECTION_ROWS) * d_model),
                            new_array(most, sizeof(uint32_t))};
}

static void vectors_free(struct vectors *vectors)
{
    free(vectors->vector);
    free(vectors->token);
}

static void add(struct vectors *vectors, const float *vector, size_t d_model, uint32_t token)
{
    if (vectors->count == vectors->most)
        return;
    memcpy(vectors->vector + vectors->count * d_model, vector, d_model * sizeof *vector);
    vectors->token[vectors->count++] = token;
}

/* The tokens that the model predicts where its last layer has resid and ffn (rows x d_model). */
static void find_final(const struct model *model, const struct candidates *candidates, const float *resid,
                       const float *ffn, size_t rows, uint32_t *final)
{
    size_t d_model = model->config.d_model;
    float *output = new_floats(rows * d_model);
    struct projection *projection = projection_new(model, candidates);
    struct projection_question *question = new_array(rows, sizeof *question);
    for (size_t i = 0; i < rows * d_model; i++)
        output[i] = resid[i] + ffn[i];
    for (size_t r = 0; r < rows; r++)
        question[r].token = NO_TOKEN;
    final_norm(model, output, rows, output);
    projection_ask(projection, output, rows, question);
    for (size_t r = 0; r < rows; r++)
        final[r] = question[r].top;
    free(question);
    free(output);
    projection_free(projection);
}

/* All layers' rows of the stream, batch by batch, until there are enough. */
static void read_rows(const struct model *model, const struct candidates *candidates,
                      struct stream_reader *stream, struct vectors *residuals, struct vectors *outputs)
{
    struct activations_reader activations = activations_open(stream);
    struct activations_batch batch;
    struct record record;
    size_t layer, d_model = model->config.d_model;
    while (activations_next_batch(&activations, &batch)) {
        size_t start = residuals->count;
        float *resid = new_floats(batch.rows * d_model), *ffn = new_floats(batch.rows * d_model);
        float *normed = new_floats(batch.rows * d_model);
        uint32_t *final = new_array(batch.rows, sizeof *final);
        while (activations_next_layer(&activations, &batch, &record, &layer)) {
            record_copy(&record, "resid", resid, batch.rows * d_model, sizeof *resid);
            record_copy(&record, "ffn", ffn, batch.rows * d_model, sizeof *ffn);
            final_norm(model, resid, batch.rows, normed);
            for (size_t r = 0; r < batch.rows; r++) {
                add(residuals, normed + r * d_model, d_model, 0);
                add(outputs, ffn + r * d_model, d_model, NO_TOKEN);
            }
        }
        find_final(model, candidates, resid, ffn, batch.rows, final);
        for (size_t i = start; i < residuals->count; i++)
            residuals->token[i] = final[(i - start) % batch.rows];
        free(resid);
        free(ffn);
        free(normed);
        free(final);
        activations_batch_free(&batch);
    }
    activations_close(&activations);
}

/* As many of the model's values, from all layers and cells evenly. */
static void read_values(const struct model *model, struct vectors *values)
{
    size_t d_model = model->config.d_model, d_ff = model->config.d_ff, all = model->config.layers * d_ff;
    float *value = new_floats(d_model);
    for (size_t i = 0; i < values->most && i < all; i++) {
        size_t number = all > values->most ? (size_t)((double)i * (double)all / (double)values->most) : i;
        matrix_column(&model->layer[number / d_ff].values, number % d_ff, value);
        add(values, value, d_model, NO_TOKEN);
    }
    free(value);
}

/* Seconds. */
static double ask(const struct model *model, const struct candidates *candidates,
                  const struct vectors *vectors, struct projection_question *answers)
{
    struct projection *projection = projection_new(model, candidates);
    double start = now();
    for (size_t i = 0; i < vectors->count; i++)
        answers[i] = (struct projection_question){.token = vectors->token[i], .ranked = vectors->ranked};
    projection_ask(projection, vectors->vector, vectors->count, answers);
    double seconds = now() - start;
    projection_free(projection);
    return seconds;
}

/* Seconds. Counts in different the vectors whose most probable token is another one than ask found. */
static double run(const struct model *model, const struct candidates *candidates,
                  const struct vectors *vectors, const struct projection_question *answers, size_t *different)
{
    size_t vocabulary = model->config.vocabulary, ranks = 0;
    struct projection *projection = projection_new(model, candidates);
    float *rows = new_floats(PROJECTION_ROWS * vocabulary);
    double start = now();
    for (size_t i = 0; i < vectors->count; i++) {
        if (i % PROJECTION_ROWS == 0)
            projection_run(projection, vectors->vector + i * model->config.d_model, rows);
        const float *row = rows + i % PROJECTION_ROWS * vocabulary;
        *different += projection_top(row, candidates) != answers[i].top;
        if (vectors->ranked)
            ranks += projection_rank(row, candidates, vectors->token[i]);
    }
    double seconds = now() - start;
    if (vectors->ranked && ranks < vectors->count)
        die("a rank is 0");
    free(rows);
    projection_free(projection);
    return seconds;
}

static void compare(const struct model *model, const struct candidates *candidates,
                    const struct vectors *vectors, size_t rounds)
{
    struct projection_question *answers = new_array(vectors->count, sizeof *answers);
    double *ratios = new_array(rounds, sizeof *ratios);
    size_t different = 0;
    double count = (double)vectors->count;
    for (size_t i = 0; i < rounds; i++) {
        double pruned = ask(model, candidates, vectors, answers);
        double whole = run(model, candidates, vectors, answers, &different);
        ratios[i] = whole / pruned;
        printf("%s, round %zu: whole distributions %.0f a second, questions %.0f a second: %.2f times\n",
               vectors->name, i + 1, count / whole, count / pruned, ratios[i]);
    }
    sort_numbers(ratios, rounds);
    printf("%s, median of %zu vectors: questions are answered %.2f times as fast; %zu other tokens\n",
           vectors->name, vectors->count, statistics_quantile(ratios, rounds, 0.5), different);
    free(answers);
    free(ratios);
}

int main(int argc, char **argv)
{
    struct options options = {.vectors = 8192, .rounds = 5};
    const struct option_spec specs[] = {
        OPTION_MODEL(&options.model),
        {0, "vectors", "N", "at most that many of each kind (default 8192)", OPTION_NUMBER, &options.vectors,
         1, 1 << 24, NULL},
        {0, "rounds", "N", "rounds of both (default 5)", OPTION_NUMBER, &options.rounds, 1, 1000, NULL},
        OPTION_END,
    };
    const struct tool tool = {"bench-projection",
                              "Compares questions to distributions with whole distributions.", "[FILE]",
                              specs, 1};
    int first = cli_parse(&tool, argc, argv);
    if (!options.model)
        die_usage("--model DIR is needed");
    matrix_start(1, PRODUCTS_FLOAT32);
    struct model *model = model_load(options.model);
    struct candidates candidates = candidates_read(&model->config, false);
    size_t d_model = model->config.d_model, most = (size_t)options.vectors;
    struct vectors residuals = vectors_new("residuals", true, most, d_model),
                   outputs = vectors_new("blocks' outputs", false, most, d_model),
                   values = vectors_new("values", false, most, d_model);
    struct stream_reader *stream = stream_open(cli_input(argc, argv, first), "activations");
    header_check_model(stream, model);
    read_rows(model, &candidates, stream, &residuals, &outputs);
    stream_close(stream);
    read_values(model, &values);
    printf("%s, 1 thread, %zu words in %zu clusters\n", matrix_arithmetic(), model->config.vocabulary,
           model->config.clusters);
    compare(model, &candidates, &residuals, (size_t)options.rounds);
    compare(model, &candidates, &outputs, (size_t)options.rounds);
    compare(model, &candidates, &values, (size_t)options.rounds);
    vectors_free(&residuals);
    vectors_free(&outputs);
    vectors_free(&values);
    candidates_free(&candidates);
    model_free(model);
    return fflush(stdout) == 0 ? STATUS_DONE : STATUS_FAILED;
}
