#include "analysis/cost.h"

#include "analysis/topk.h"
#include "analysis/window_memory.h"
#include "base/json.h"
#include "base/messages.h"
#include "model/forward.h"
#include "model/projection.h"
#include "numeric/bfloats.h"
#include "numeric/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

/* The default batch of tokenize, and a usual length of sentences. */
enum { POSITIONS = 512, SENTENCE = 20 };

/* Measured: what a distribution takes beside its product, for each token. */
static const double TOKEN_SECONDS = 5e-9;

/* ---- memory ---- */

/* A batch's largest coefficients and their positions, of a layer: as arrays, and packed. */
static double record_bytes(const struct model_config *config)
{
    return memory_of_maxima(POSITIONS, (double)config->d_ff);
}

/* Of forward-dump. */
static struct memory_case forward_case(const struct cost_case *cost)
{
    struct memory_case memory = cost->memory;
    memory.config = cost->config;
    memory.positions = POSITIONS;
    memory.threads = (size_t)cost->threads;
    memory.thread = record_bytes(cost->config);
    return memory;
}

static double topk_keys_bytes(const struct cost_case *cost)
{
    size_t keys = cost->config->layers * cost->config->d_ff;
    double sentences = ceil((double)cost->tokens / SENTENCE), triggers = (double)keys * (double)cost->top;
    size_t top = (double)cost->top < sentences ? (size_t)cost->top : (size_t)sentences;
    return PROGRAM_BYTES + record_bytes(cost->config)
         + topk_bytes(keys, top, triggers < sentences ? triggers : sentences, SENTENCE);
}

/* Values that stay in memory, be they copied or mapped. */
static double values_bytes(const struct cost_case *cost)
{
    const struct memory_case *memory = &cost->memory;
    return fmin((double)memory->layers.values, fmax(LAYERS_ROOM, (double)memory->layer.values));
}

/* Words of the input that are not the output's are not asked for. */
static double project_values_bytes(const struct cost_case *cost)
{
    const struct matrix_bytes *outer = &cost->memory.outer, *output = &cost->memory.output;
    double words = (double)output->copied + (double)output->mapped + (double)output->scratch
                 + (double)outer->copied + (cost->config->tied ? (double)outer->mapped : 0);
    return memory_of_program(cost->config) + words + values_bytes(cost)
         + (double)cost->threads * (projection_bytes(cost->config) + (double)outer->widened);
}

/* Of files that forward-dump and project-values both have mapped. */
static double shared_bytes(const struct cost_case *cost)
{
    const struct memory_case *memory = &cost->memory;
    bool mapped = memory->layers.mapped > memory->layers.copied;
    return (cost->config->tied ? (double)memory->outer.mapped : 0) + (mapped ? values_bytes(cost) : 0);
}

/* ---- time ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Numbers between 0 and 1, none of which is so small that it is slow. */
static float *some_floats(size_t count)
{
    float *values = new_floats(count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(1 + i % 97) / 97;
    return values;
}

/* The matrix of these weights as a model has it whose files have bfloats, or which has 32-bit floats. */
static struct matrix matrix_in_use(float *weights, uint16_t *bfloats, size_t rows, size_t columns)
{
    if (!bfloats)
        return matrix_of(weights, rows, columns);
    bfloats_round(weights, rows * columns, 1);
    if (matrix_products() != PRODUCTS_FLOAT32)
        return matrix_of(weights, rows, columns);
    bfloats_split(weights, rows * columns, 1, bfloats);
    return matrix_of_stored((struct stored_floats){(const void *)bfloats, FLOATS_BFLOAT}, rows, columns);
}

double cost_measure_rate(const struct model_config *config, bool bfloats)
{
    enum { MAX_SIDE = 1024 };
    const double seconds = 0.5;
    size_t rows = config->d_ff < MAX_SIDE ? config->d_ff : MAX_SIDE;
    size_t columns = config->d_model < MAX_SIDE ? config->d_model : MAX_SIDE;
    float *weights = some_floats(rows * columns), *x = some_floats(POSITIONS * columns);
    float *y = new_floats(POSITIONS * rows);
    uint16_t *halves = bfloats ? new_array(rows * columns, sizeof *halves) : NULL;
    struct matrix matrix = matrix_in_use(weights, halves, rows, columns);
    double operations = 2.0 * POSITIONS * (double)rows * (double)columns, best = 0;
    for (double begin = now(), start = begin; start - begin < seconds;) {
        matrix_multiply(&matrix, POSITIONS, x, 0, y, rows);
        double end = now(), rate = operations / fmax(end - start, 1e-9);
        best = fmax(best, rate);
        start = end;
    }
    matrix_free(&matrix);
    free(halves);
    free(weights);
    free(x);
    free(y);
    return best;
}

/* ---- all ---- */

static json_t *whole(double number)
{
    return json_integer((json_int_t)llround(fmin(number, 9e18)));
}

json_t *cost_estimate(const struct cost_case *cost)
{
    const struct model_config *config = cost->config;
    const struct memory_case memory = forward_case(cost);
    double forward = memory_with_all(&memory), topk = topk_keys_bytes(cost);
    double project = project_values_bytes(cost), speed = cost->rate * (double)cost->threads;
    double position = forward_operations(config), value = projection_operations(config);
    double values = (double)config->layers * (double)config->d_ff;
    double beside = TOKEN_SECONDS * (double)config->vocabulary / (double)cost->threads;
    json_t *json = json_make("{}");
    json_put(json, "tokens", whole((double)cost->tokens));
    json_put(json, "top", whole((double)cost->top));
    json_put(json, "threads", whole((double)cost->threads));
    json_put(json, "products", json_string(product_kind_words[matrix_products()]));
    json_put(json, "forward_dump_bytes", whole(forward));
    json_put(json, "forward_dump_least_bytes", whole(memory_with_one(&memory)));
    json_put(json, "topk_keys_bytes", whole(topk));
    json_put(json, "project_values_bytes", whole(project));
    json_put(json, "pipeline_bytes", whole(forward + topk + project - shared_bytes(cost)));
    json_put(json, "operations_a_token", whole(position));
    json_put(json, "operations_a_value", whole(value));
    json_put(json, "operations_a_second", whole(speed));
    json_put(json, "forward_dump_seconds", json_real((double)cost->tokens * position / speed));
    json_put(json, "project_values_seconds", json_real(values * (value / speed + beside)));
    return json;
}
