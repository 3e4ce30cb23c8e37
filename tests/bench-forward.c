/*
 * bench-forward: how near the forward pass comes to the plain matrix products.
 *
 * Builds a random model of any shape in memory, of the paper's kind or of Llama's
 * (--gated), perhaps with experts (--experts, --chosen), and runs two things in turn,
 * each in all threads: the forward pass over full batches of random tokens, and
 * cblas_sgemm alone, on matrices of the shapes that the pass multiplies. Counted are
 * the products' operations only, so that all else that the pass does (attention,
 * norms, activation) shows as loss. The rates are those of the same run, round by
 * round; a machine's noise hits both.
 */
#include "base/cli.h"
#include "base/hash.h"
#include "base/messages.h"
#include "base/parallel.h"
#include "model/forward.h"
#include "numeric/bfloats.h"
#include "numeric/matrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct options {
    uint64_t layers, d_model, d_ff, heads, key_value_heads, vocabulary, batch, sentence, rounds, threads;
    uint64_t experts, chosen;
    int products; /* of enum product_kind */
    bool gated;
};

struct bench {
    const struct options *options;
    struct model model;
    struct batch batch;
    bool products_only;
    size_t repetitions;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/*
 * Uniform, with the variance 1 / inner that keeps activations near 1. They are bfloats, whose products all
 * kinds have.
 */
static struct matrix random_matrix(size_t rows, size_t inner, uint64_t seed)
{
    float *values = new_floats(rows * inner);
    double width = sqrt(12.0 / (double)inner);
    for (size_t i = 0; i < rows * inner; i++)
        values[i] = from_bfloat(
            to_bfloat((float)(width * ((double)(hash_random(seed, i, 0) >> 11) * 0x1p-53 - 0.5))));
    struct matrix matrix = matrix_of(values, rows, inner);
    if (!matrix.values)
        free(values);
    return matrix;
}

static float *constant(size_t count, float value)
{
    float *values = new_floats(count);
    for (size_t i = 0; i < count; i++)
        values[i] = value;
    return values;
}

/* Gated models have none. */
static const float *bias(const struct model_config *config, size_t count)
{
    return config->gated ? NULL : constant(count, 0);
}

/* A router, and the experts that have the layer's cells. */
static void add_experts(const struct model_config *config, uint64_t seed, struct model_layer *layer)
{
    size_t d_model = config->d_model, width = config->expert_width;
    layer->router = random_matrix(config->experts, d_model, seed);
    layer->experts = new_array(config->experts, sizeof *layer->experts);
    for (size_t e = 0; e < config->experts; e++)
        layer->experts[e] = (struct model_expert){
            .keys = random_matrix(width, d_model, seed + 3 * e + 1),
            .gates = random_matrix(width, d_model, seed + 3 * e + 2),
            .values = random_matrix(d_model, width, seed + 3 * e + 3),
        };
}

static struct model_layer random_layer(const struct model_config *config, uint64_t seed)
{
    size_t d_model = config->d_model, d_ff = config->d_ff,
           keys = config->key_value_heads * config->head_width;
    struct model_layer layer = {
        .attention_norm_gain = constant(d_model, 1), .attention_norm_bias = bias(config, d_model),
        .query = random_matrix(d_model, d_model, seed), .query_bias = bias(config, d_model),
        .key = random_matrix(keys, d_model, seed + 4), .key_bias = bias(config, keys),
        .value = random_matrix(keys, d_model, seed + 5), .value_bias = bias(config, keys),
        .attention_output = random_matrix(d_model, d_model, seed + 1),
        .attention_output_bias = bias(config, d_model),
        .ffn_norm_gain = constant(d_model, 1), .ffn_norm_bias = bias(config, d_model),
    };
    if (config->experts) {
        add_experts(config, seed + 7, &layer);
        return layer;
    }
    layer.keys = random_matrix(d_ff, d_model, seed + 2);
    layer.keys_bias = bias(config, d_ff);
    layer.gates = config->gated ? random_matrix(d_ff, d_model, seed + 6) : (struct matrix){0};
    layer.values = random_matrix(d_model, d_ff, seed + 3);
    layer.values_bias = bias(config, d_model);
    return layer;
}

static void set_rotary(struct model_config *config)
{
    struct rotary *rotary = config->rotary = new_array(MAX_ROTARIES, sizeof *config->rotary);
    rotary->width = config->head_width / 2 * 2;
    rotary->scale = 1;
    rotary->frequency = new_array(rotary->width / 2, sizeof *rotary->frequency);
    for (size_t k = 0; k < rotary->width / 2; k++)
        rotary->frequency[k] = pow(10000, -2.0 * (double)k / (double)rotary->width);
}

static void set_attention(struct model_config *config)
{
    config->attention_scale = 1.0f / sqrtf((float)config->head_width);
    config->attention = new_array(config->layers, sizeof *config->attention);
    for (size_t i = 0; i < config->layers; i++)
        config->attention[i].rotary = config->rotary;
}

/* One cluster that has all words, d_model wide: no projection to the vocabulary is measured. */
static void make_model(struct bench *bench)
{
    const struct options *options = bench->options;
    struct model_config *config = &bench->model.config;
    *config = (struct model_config){
        .layers = (size_t)options->layers, .d_model = (size_t)options->d_model, .d_ff = (size_t)options->d_ff,
        .heads = (size_t)options->heads, .key_value_heads = (size_t)options->key_value_heads,
        .head_width = (size_t)(options->d_model / options->heads), .vocabulary = (size_t)options->vocabulary,
        .position_offset = 2, .embed_scale = 1, .norm_epsilon = 1e-5f, .clusters = 1,
        .gated = options->gated, .norm = options->gated ? NORM_RMS : NORM_LAYER,
        .activation = options->gated ? ACTIVATION_SILU : ACTIVATION_RELU,
        .position = options->gated ? POSITION_ROTARY : POSITION_SINUSOIDAL,
        .experts = (size_t)options->experts, .chosen_experts = (size_t)options->chosen,
        .expert_width = (size_t)(options->experts ? options->d_ff / options->experts : 0),
        .experts_normalized = true,
    };
    if (config->position == POSITION_ROTARY)
        set_rotary(config);
    set_attention(config);
    bench->model.cluster = new_array(1, sizeof *bench->model.cluster);
    bench->model.cluster[0] = (struct model_cluster){
        .size = config->vocabulary,
        .width = config->d_model,
        .input = random_matrix(config->vocabulary, config->d_model, 1),
        .input_projection =
            config->gated ? (struct matrix){0} : random_matrix(config->d_model, config->d_model, 2),
    };
    bench->model.layer = new_array(config->layers, sizeof *bench->model.layer);
    for (size_t i = 0; i < config->layers; i++)
        bench->model.layer[i] = random_layer(config, 10000 * (i + 1));
}

/* A full batch of sentences of equal length, the last one shorter where they do not fit. */
static void make_batch(struct bench *bench)
{
    const struct options *options = bench->options;
    struct batch *batch = &bench->batch;
    batch->tokens = (size_t)options->batch;
    batch->sentences = (batch->tokens + (size_t)options->sentence - 1) / (size_t)options->sentence;
    batch->length = new_array(batch->sentences, sizeof *batch->length);
    batch->token = new_array(batch->tokens, sizeof *batch->token);
    size_t left = batch->tokens;
    for (size_t i = 0; i < batch->sentences; i++) {
        batch->length[i] = (uint32_t)(left < options->sentence ? left : options->sentence);
        left -= batch->length[i];
    }
    for (size_t i = 0; i < batch->tokens; i++)
        batch->token[i] = (uint32_t)(hash_random(3, i, 0) % options->vocabulary);
}

/* Cells of a layer that are computed at a position. */
static size_t computed_cells(const struct model_config *config)
{
    return config->experts ? config->chosen_experts * config->expert_width : config->d_ff;
}

/* Multiplications and additions of one batch's products. */
static double operations(const struct bench *bench)
{
    const struct model_config *config = &bench->model.config;
    double d_model = (double)config->d_model, keys = (double)(config->key_value_heads * config->head_width);
    double layer = 2 * d_model + 2 * keys + (double)config->experts
                 + (config->gated ? 3 : 2) * (double)computed_cells(config);
    return 2.0 * (double)bench->batch.tokens * d_model
           * ((double)config->layers * layer
              + (matrix_exists(&bench->model.cluster[0].input_projection) ? d_model : 0));
}

/* A block's products; of experts, each with its part of the rows. */
static void run_block(const struct model_config *config, const struct model_layer *layer, size_t rows,
                      float *narrow, float *wide)
{
    if (!config->experts) {
        matrix_multiply(&layer->keys, rows, narrow, 0, wide, config->d_ff);
        if (matrix_exists(&layer->gates))
            matrix_multiply(&layer->gates, rows, narrow, 0, wide, config->d_ff);
        matrix_multiply(&layer->values, rows, wide, 0, narrow, config->d_model);
        return;
    }
    size_t part = rows * config->chosen_experts / config->experts;
    matrix_multiply(&layer->router, rows, narrow, 0, wide, config->experts);
    for (size_t e = 0; e < config->experts; e++) {
        matrix_multiply(&layer->experts[e].keys, part, narrow, 0, wide, config->expert_width);
        matrix_multiply(&layer->experts[e].gates, part, narrow, 0, wide, config->expert_width);
        matrix_multiply(&layer->experts[e].values, part, wide, 0, narrow, config->d_model);
    }
}

static void run_products(const struct bench *bench)
{
    const struct model_config *config = &bench->model.config;
    size_t rows = bench->batch.tokens, d_model = config->d_model, d_ff = config->d_ff;
    size_t keys = config->key_value_heads * config->head_width;
    float *narrow = new_floats(rows * d_model), *wide = new_floats(rows * (d_ff > d_model ? d_ff : d_model));
    const struct matrix *projection = &bench->model.cluster[0].input_projection;
    for (size_t r = 0; r < bench->repetitions; r++) {
        if (matrix_exists(projection))
            matrix_multiply(projection, rows, wide, 0, narrow, d_model);
        for (size_t l = 0; l < config->layers; l++) {
            const struct model_layer *layer = &bench->model.layer[l];
            matrix_multiply(&layer->query, rows, narrow, 0, wide, d_model);
            matrix_multiply(&layer->key, rows, narrow, 0, wide, keys);
            matrix_multiply(&layer->value, rows, narrow, 0, wide, keys);
            matrix_multiply(&layer->attention_output, rows, wide, 0, narrow, d_model);
            run_block(config, layer, rows, narrow, wide);
        }
    }
    free(narrow);
    free(wide);
}

static void run_forward(const struct bench *bench)
{
    struct forward *forward = forward_new(&bench->model, bench->batch.tokens);
    for (size_t r = 0; r < bench->repetitions; r++) {
        forward_begin(forward, &bench->batch);
        for (size_t l = 0; l < bench->model.config.layers; l++) {
            forward_attention(forward, l);
            forward_coefficients(forward, l);
            forward_values(forward, l);
        }
    }
    forward_free(forward);
}

static void work(void *shared)
{
    const struct bench *bench = shared;
    if (bench->products_only)
        run_products(bench);
    else
        run_forward(bench);
}

/* Rate of one round in 10^9 operations a second, all threads together. */
static double measure(struct bench *bench, bool products_only)
{
    bench->products_only = products_only;
    double start = now();
    run_threads((size_t)bench->options->threads, work, bench);
    return 1e-9 * operations(bench) * (double)bench->repetitions * (double)bench->options->threads
         / (now() - start);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
    struct options options = {4, 1024, 4096, 8, 0, 10000, 512, 25, 5, cli_threads(), 0, 2,
                              PRODUCTS_AUTO, false};
    const struct option_spec specs[] = {
        {0, "layers", "N", "layers (default 4)", OPTION_NUMBER, &options.layers, 1, 4096, NULL},
        {0, "d-model", "N", "width (default 1024, the paper's)", OPTION_NUMBER, &options.d_model, 2, 1 << 16,
         NULL},
        {0, "d-ff", "N", "memory cells of a layer (default 4096, the paper's)", OPTION_NUMBER, &options.d_ff,
         1, 1 << 18, NULL},
        {0, "experts", "N", "experts that the cells are divided among, gated (default: none)", OPTION_NUMBER,
         &options.experts, 1, 1 << 10, NULL},
        {0, "chosen", "N", "of which a position has so many (default 2)", OPTION_NUMBER, &options.chosen, 1,
         1 << 10, NULL},
        {0, "heads", "N", "attention heads (default 8)", OPTION_NUMBER, &options.heads, 1, 1 << 16, NULL},
        {0, "key-value-heads", "N", "heads of keys and values (default: as many)", OPTION_NUMBER,
         &options.key_value_heads, 1, 1 << 16, NULL},
        {0, "gated", NULL, "gated layers, rotary positions, RMSNorm, no biases, as Llama", OPTION_FLAG,
         &options.gated, 0, 0, NULL},
        {0, "vocabulary", "N", "words (default 10000)", OPTION_NUMBER, &options.vocabulary, 2, 1 << 20, NULL},
        {0, "batch", "N", "positions in a batch (default 512)", OPTION_NUMBER, &options.batch, 1, 1 << 16,
         NULL},
        {0, "sentence", "N", "tokens in a sentence (default 25)", OPTION_NUMBER, &options.sentence, 1,
         1 << 16, NULL},
        {0, "rounds", "N", "rounds of both (default 5)", OPTION_NUMBER, &options.rounds, 1, 1000, NULL},
        OPTION_PRODUCTS(&options.products),
        OPTION_THREADS(&options.threads),
        OPTION_END,
    };
    const struct tool tool = {"bench-forward", "Compares the forward pass with plain matrix products.", "",
                              specs, 0};
    cli_parse(&tool, argc, argv);
    if (!options.key_value_heads)
        options.key_value_heads = options.heads;
    if (options.heads % options.key_value_heads)
        die_usage("--heads %llu is not a multiple of --key-value-heads %llu",
                  (unsigned long long)options.heads, (unsigned long long)options.key_value_heads);
    if (options.d_model % options.heads)
        die_usage("--d-model %llu is not a multiple of --heads %llu", (unsigned long long)options.d_model,
                  (unsigned long long)options.heads);

    options.gated |= options.experts > 0;
    if (options.experts && (options.chosen > options.experts || options.d_ff % options.experts))
        die_usage("--experts %llu must divide --d-ff, and be no fewer than --chosen %llu",
                  (unsigned long long)options.experts, (unsigned long long)options.chosen);

    struct bench bench = {.options = &options, .repetitions = 1};
    double *ratios = new_array((size_t)options.rounds, sizeof *ratios);
    matrix_start((size_t)options.threads, (enum product_kind)options.products);
    matrix_settle(true);
    make_model(&bench);
    make_batch(&bench);
    /* The first round, which is not counted, also tells how many batches take about a second. */
    double rate = measure(&bench, true);
    bench.repetitions = 1 + (size_t)(1e9 * rate / operations(&bench) / (double)options.threads);
    if (options.experts)
        printf("%llu experts, %llu of them at a position; ", (unsigned long long)options.experts,
               (unsigned long long)options.chosen);
    bool floats = matrix_products() == PRODUCTS_FLOAT32;
    printf("%s%s%s, %s, %llu threads, %llu %slayers, d_model %llu, d_ff %llu, heads %llu, of keys %llu, "
           "batches of %llu positions\n",
           matrix_arithmetic(), floats ? "" : ", ", floats ? "" : matrix_arithmetic_of_bfloats(),
           product_kind_words[matrix_products()], (unsigned long long)options.threads,
           (unsigned long long)options.layers,
           options.gated ? "gated " : "", (unsigned long long)options.d_model,
           (unsigned long long)options.d_ff, (unsigned long long)options.heads,
           (unsigned long long)options.key_value_heads, (unsigned long long)options.batch);
    for (size_t i = 0; i < options.rounds; i++) {
        double products = measure(&bench, true), forward = measure(&bench, false);
        ratios[i] = forward / products;
        printf("round %zu: products %.1f GFLOP/s, forward pass %.1f GFLOP/s: %.0f %%\n", i + 1, products,
               forward, 100 * ratios[i]);
    }
    qsort(ratios, (size_t)options.rounds, sizeof *ratios, by_size);
    printf("median: the forward pass runs at %.0f %% of its products alone\n",
           100 * ratios[options.rounds / 2]);
    return fflush(stdout) == 0 ? STATUS_DONE : STATUS_FAILED;
}
