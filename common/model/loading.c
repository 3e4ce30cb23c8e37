#include "model/loading.h"

#include "base/messages.h"
#include "model/weights.h"
#include "numeric/activation.h"

#include <stdlib.h>

/* ---- one tensor ---- */

static size_t size_called(const struct model_config *config, enum size_name name)
{
    switch (name) {
    case SIZE_ONE:
        return 1;
    case SIZE_D_MODEL:
        return config->d_model;
    case SIZE_D_FF:
        return config->d_ff;
    case SIZE_QUERY:
        return config->heads * config->head_width;
    case SIZE_KEY_VALUE:
        return config->key_value_heads * config->head_width;
    case SIZE_HEAD:
        return config->head_width;
    case SIZE_HEADS:
        return config->heads;
    case SIZE_SHARED:
        return config->shared_width;
    }
    return 0;
}

/* Whether the file must have a tensor of layer index, and else may not. */
static bool is_expected(const struct loading *loading, const struct tensor_row *tensor, const char *name,
                        size_t index)
{
    const struct model_config *config = &loading->model->config;
    bool experts = config->experts && config->has_experts[index];
    switch (tensor->presence) {
    case PRESENCE_ALWAYS:
        return true;
    case PRESENCE_OPTIONAL:
        return weights_has(loading->model->weights, name);
    case PRESENCE_QKV_BIAS:
        return config->query_key_value_bias;
    case PRESENCE_OUTPUT_BIAS:
        return config->output_bias;
    case PRESENCE_FFN_BIAS:
        return config->ffn_bias;
    case PRESENCE_HEAD_NORMS:
        return config->head_norm != HEAD_NORM_NONE;
    case PRESENCE_EXPERTS:
        return experts;
    case PRESENCE_NO_EXPERTS:
        return !experts;
    case PRESENCE_SEQUENTIAL:
        return config->block_norm == BLOCK_NORM_SEQUENTIAL;
    case PRESENCE_PARALLEL:
        return config->block_norm == BLOCK_NORM_PARALLEL;
    case PRESENCE_NOT_PARALLEL:
        return config->block_norm != BLOCK_NORM_PARALLEL;
    case PRESENCE_SHARED:
        return config->block_norm == BLOCK_NORM_SHARED;
    case PRESENCE_NORMED_INPUTS:
        return !config->normed_sums;
    case PRESENCE_NORMED_SUMS:
        return config->normed_sums;
    }
    return true;
}

float *new_tensor(struct loading *loading, size_t count)
{
    return tensors_new(loading->to, loading->spare, count);
}

static size_t float_bytes(size_t rows, size_t columns)
{
    return matrix_count(matrix_count(rows, columns), sizeof(float));
}

/* While a tensor is copied there is more in memory than the copy. */
static void note_scratch(struct loading *loading, size_t bytes)
{
    loading->bytes.scratch = bytes > loading->bytes.scratch ? bytes : loading->bytes.scratch;
}

const float *plain_tensor(struct loading *loading, const char *name, struct tensor_shape shape)
{
    struct weights *weights = loading->model->weights;
    bool described = loading->described && shape.columns;
    size_t rows = matrix_count(shape.stack ? shape.stack : 1, shape.rows);
    size_t columns = shape.columns ? shape.columns : 1, bytes = float_bytes(rows, columns);
    struct stored_floats stored = weights_check(weights, name, shape);
    loading->format = stored.format;
    if (stored_as_floats(stored)) {
        loading->bytes.mapped += bytes;
        return described ? NULL : stored_as_floats(weights_map(weights, name, shape));
    }
    loading->bytes.copied += bytes;
    note_scratch(loading, bytes / 2); /* the file's pages; numbers have 16 bits there, or fewer */
    if (described)
        return NULL;
    float *values = new_tensor(loading, matrix_count(rows, columns));
    weights_read(weights, name, shape, values);
    weights_drop_pages(weights);
    return values;
}

/* Whether matrices have a form of their own. */
static bool have_forms(void)
{
    return matrix_products() != PRODUCTS_FLOAT32;
}

struct matrix new_matrix(struct loading *loading, const float *values, size_t rows, size_t columns)
{
    if (have_forms())
        loading->form_bytes += matrix_count(matrix_count(rows, columns), matrix_form_bytes(loading->format));
    return tensors_keep(loading->to, matrix_of(values, rows, columns));
}

struct mark mark_tensors(const struct loading *loading)
{
    return (struct mark){loading->to->count, loading->bytes.copied};
}

void drop_tensors(struct loading *loading, struct mark mark)
{
    if (!have_forms())
        return;
    note_scratch(loading, loading->bytes.copied - mark.copied);
    loading->bytes.copied = mark.copied + loading->form_bytes;
    loading->bytes.packed += loading->form_bytes / 2;
    loading->form_bytes = 0;
    if (!loading->described)
        tensors_drop(loading->to, mark.tensors);
}

/* A matrix of 16-bit numbers that is used where the file has it. */
static struct matrix mapped_matrix(struct loading *loading, const char *name, size_t rows, size_t columns)
{
    struct matrix_bytes *bytes = &loading->bytes;
    size_t floats = float_bytes(rows, columns);
    if (have_forms()) { /* in the library's arrangement, while its pages are dropped; or these are read */
        bytes->copied += floats / 2;
        note_scratch(loading, floats / 2);
    } else {
        bytes->mapped += floats / 2;
        bytes->widened = floats > bytes->widened ? floats : bytes->widened;
    }
    if (loading->described)
        return (struct matrix){0};
    struct stored_floats stored = weights_map(loading->model->weights, name,
                                              (struct tensor_shape){.rows = rows, .columns = columns});
    if (!have_forms())
        return matrix_of_stored(stored, rows, columns);
    return tensors_keep(loading->to, matrix_of_bfloats(stored_as_bfloats(stored), rows, columns));
}

/* Whether numbers that a file has so are used where they are. */
static bool is_mapped_16(struct stored_floats stored)
{
    return have_forms() ? stored_as_bfloats(stored) != NULL
                        : stored.format == FLOATS_HALF || stored.format == FLOATS_BFLOAT;
}

struct matrix plain_matrix(struct loading *loading, const char *name, size_t rows, size_t columns)
{
    struct tensor_shape shape = {.rows = rows, .columns = columns};
    if (is_mapped_16(weights_check(loading->model->weights, name, shape)))
        return mapped_matrix(loading, name, rows, columns);
    struct mark mark = mark_tensors(loading);
    struct matrix matrix = new_matrix(loading, plain_tensor(loading, name, shape), rows, columns);
    drop_tensors(loading, mark);
    return matrix;
}

/* Counts what words take that are stored so: of their rows, and of products with them. */
static void count_words(struct loading *loading, struct stored_floats stored, size_t count, enum words words)
{
    bool formed = have_forms(), is_form = formed && stored_as_bfloats(stored), copied = formed && !is_form;
    size_t packed = count * sizeof(uint16_t), floats = count * sizeof(float);
    struct matrix_bytes *rows = words == WORDS_OUT ? &loading->output : &loading->bytes;
    rows->mapped += count * stored_width(stored.format);
    if (words == WORDS_IN)
        return;
    size_t rounded = count * matrix_form_bytes(stored.format);
    loading->output.copied += is_form                  ? packed
                            : copied                   ? rounded
                            : stored_as_floats(stored) ? 0
                                                       : floats;
    if (copied && floats > rounded / 2 + loading->output.scratch)
        loading->output.scratch = floats - rounded / 2;
}

struct matrix word_matrix(struct loading *loading, const char *name, size_t rows, size_t columns,
                          enum words words)
{
    struct weights *weights = loading->model->weights;
    struct tensor_shape shape = {.rows = rows, .columns = columns};
    struct stored_floats stored = weights_check(weights, name, shape);
    if (stored.format == FLOATS_OTHER)
        return plain_matrix(loading, name, rows, columns);
    count_words(loading, stored, matrix_count(rows, columns), words);
    if (loading->described)
        return (struct matrix){0};
    weights_map(weights, name, shape); /* refuses what is damaged; rows are read when they are asked for */
    weights_drop_pages(weights);
    if (have_forms() && stored_as_bfloats(stored))
        return tensors_keep(loading->to, matrix_of_bfloats(stored_as_bfloats(stored), rows, columns));
    if (!have_forms() && stored_as_floats(stored))
        return matrix_of(stored_as_floats(stored), rows, columns);
    return tensors_keep(loading->to, matrix_of_words(stored, rows, columns));
}

/* Rows of a file's matrix that is a stack of ours, and how many come before the part. */
struct stack {
    size_t rows, before;
};

static struct stack stack_of(const struct tensor_row *tensor, const struct model_config *config)
{
    size_t query = size_called(config, SIZE_QUERY), key_value = size_called(config, SIZE_KEY_VALUE);
    if (tensor->rows == SIZE_D_FF)
        return (struct stack){2 * config->d_ff, tensor->part * config->d_ff};
    return (struct stack){query + 2 * key_value, tensor->part ? query + (tensor->part - 1) * key_value : 0};
}

/* Row of the file in which a head's dimensions that are rotated together are next to each other. */
static size_t paired_row(const struct model_config *config, size_t row)
{
    size_t width = config->head_width, half = config->rotary[0].width / 2;
    size_t head = row / width * width, k = row % width;
    return k < 2 * half ? head + k % half * 2 + k / half : row;
}

/* Row of the file in which each key-value head has its queries, its key and its value. */
static size_t interleaved_row(const struct tensor_row *tensor, const struct model_config *config, size_t row)
{
    size_t width = config->head_width, group = config->heads / config->key_value_heads;
    size_t head = row / width, k = row % width, groups = group + 2;
    return tensor->part ? (head * groups + group + tensor->part - 1) * width + k
                        : (head / group * groups + head % group) * width + k;
}

/* The index in the file's matrix of element (row, column) of ours, rows x columns. */
static size_t index_in_file(const struct tensor_row *tensor, const struct model_config *config,
                            struct stack stack, size_t rows, size_t columns, size_t row, size_t column)
{
    switch (tensor->layout) {
    case LAYOUT_PLAIN:
    case LAYOUT_GAIN:
    case LAYOUT_GAIN_ROWS:
    case LAYOUT_GAIN_TENSORS:
        break;
    case LAYOUT_TRANSPOSED:
        return column * rows + row;
    case LAYOUT_STACKED:
        return (stack.before + row) * columns + column;
    case LAYOUT_STACKED_TRANSPOSED:
        return column * stack.rows + stack.before + row;
    case LAYOUT_PAIRED:
    case LAYOUT_GAIN_PAIRED:
        return paired_row(config, row) * columns + column;
    case LAYOUT_INTERLEAVED:
        return interleaved_row(tensor, config, row) * columns + column;
    }
    return row * columns + column;
}

/* The gains of all heads, each in a tensor of its own. */
static void read_of_heads(struct model *model, const char *name, size_t width, size_t heads, float *from)
{
    char of_head[MAX_TENSOR_NAME];
    for (size_t head = 0; head < heads; head++) {
        tensor_name(of_head, "", name, head, 0);
        weights_read(model->weights, of_head, (struct tensor_shape){.rows = width}, from + head * width);
    }
}

/* The shape in the file of a tensor whose matrix has file_rows there. */
static struct tensor_shape stored_shape(const struct model *model, const struct tensor_row *tensor,
                                        size_t file_rows, size_t columns)
{
    bool transposed = tensor->layout == LAYOUT_TRANSPOSED || tensor->layout == LAYOUT_STACKED_TRANSPOSED;
    size_t width = model->config.head_width;
    if (tensor->layout == LAYOUT_GAIN_PAIRED || tensor->layout == LAYOUT_GAIN_ROWS)
        return (struct tensor_shape){.rows = file_rows / width, .columns = width};
    if (!is_matrix(tensor))
        return (struct tensor_shape){.rows = file_rows};
    return transposed ? (struct tensor_shape){.rows = columns, .columns = file_rows}
                      : (struct tensor_shape){.rows = file_rows, .columns = columns};
}

static float *arranged_tensor(struct loading *loading, const struct tensor_row *tensor, const char *name)
{
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    size_t rows = size_called(config, tensor->rows), columns = size_called(config, tensor->columns);
    bool stacked = tensor->layout == LAYOUT_STACKED || tensor->layout == LAYOUT_STACKED_TRANSPOSED
                || tensor->layout == LAYOUT_INTERLEAVED;
    struct stack stack = stack_of(tensor, config);
    size_t file_rows = stacked ? stack.rows : rows, stored = float_bytes(file_rows, columns);
    struct tensor_shape shape = stored_shape(model, tensor, file_rows, columns);
    loading->bytes.copied += float_bytes(rows, columns);
    note_scratch(loading, stored + stored / 2);
    if (is_matrix(tensor))
        loading->format = weights_check(model->weights, name, shape).format;
    if (loading->described && is_matrix(tensor))
        return NULL;
    float *from = new_floats(matrix_count(file_rows, columns));
    float *to = new_tensor(loading, matrix_count(rows, columns));
    if (tensor->layout == LAYOUT_GAIN_TENSORS)
        read_of_heads(model, name, config->head_width, file_rows / config->head_width, from);
    else
        weights_read(model->weights, name, shape, from);
    weights_drop_pages(model->weights);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            to[r * columns + c] = from[index_in_file(tensor, config, stack, rows, columns, r, c)];
    free(from);
    return to;
}

/* Whether what the tensor computes is added to the residual as it is, without a norm behind it. */
static bool is_added(const struct tensor_row *tensor)
{
    return tensor->offset == offsetof(struct model_layer, attention_output)
        || tensor->offset == offsetof(struct model_layer, attention_output_bias)
        || tensor->offset == offsetof(struct model_layer, values)
        || tensor->offset == offsetof(struct model_layer, values_bias);
}

bool is_matrix(const struct tensor_row *tensor)
{
    return tensor->columns != SIZE_ONE;
}

struct matrix *matrix_at(struct model_layer *layer, const struct tensor_row *tensor)
{
    return (struct matrix *)(void *)((char *)layer + tensor->offset);
}

/* Whether a matrix is values, of a layer or of its shared expert. */
static bool is_values(const struct tensor_row *tensor)
{
    return tensor->offset == offsetof(struct model_layer, values)
        || tensor->offset == offsetof(struct model_layer, shared.values);
}

/* Whether a layer's tensor is used as it is in the file. */
static bool is_plain(const struct loading *loading, const struct tensor_row *tensor)
{
    float scale = is_added(tensor) ? loading->model->config.residual_scale : 1;
    if (scale < 1 || scale > 1)
        return false;
    return tensor->layout == LAYOUT_PLAIN
        || (tensor->layout == LAYOUT_GAIN && !(loading->names->gain_offset > 0))
        || (tensor->layout == LAYOUT_TRANSPOSED && !is_matrix(tensor));
}

/* A layer's tensor in our arrangement, with what is added to it or what multiplies it. */
static const float *layer_tensor(struct loading *loading, const struct tensor_row *tensor, const char *name)
{
    struct model *model = loading->model;
    bool vector = !is_matrix(tensor);
    size_t rows = size_called(&model->config, tensor->rows);
    size_t columns = size_called(&model->config, tensor->columns);
    float scale = is_added(tensor) ? model->config.residual_scale : 1;
    bool gain = tensor->layout == LAYOUT_GAIN && loading->names->gain_offset > 0;
    if (is_plain(loading, tensor))
        return plain_tensor(loading, name,
                            (struct tensor_shape){.rows = rows, .columns = vector ? 0 : columns});
    float *values = arranged_tensor(loading, tensor, name);
    if (!values)
        return NULL;
    scale_floats(values, rows * columns, scale);
    for (size_t i = 0; gain && i < rows; i++)
        values[i] += loading->names->gain_offset;
    return values;
}

void read_layer_tensor(struct loading *loading, const struct tensor_row *tensor, size_t index,
                       enum layer_part part)
{
    struct model *model = loading->model;
    struct model_layer *layer = &model->layer[index];
    size_t rows = size_called(&model->config, tensor->rows);
    size_t columns = size_called(&model->config, tensor->columns);
    char name[MAX_TENSOR_NAME];
    if (!loading->described
        && (!is_matrix(tensor) || matrix_exists(matrix_at(layer, tensor))
            || (part == LAYER_VALUES && !is_values(tensor))))
        return;
    tensor_name(name, loading->prefix, tensor->name, index, 0);
    if (!is_expected(loading, tensor, name, index))
        return;
    struct mark mark = mark_tensors(loading);
    size_t before = bytes_unpacked(loading);
    if (!is_matrix(tensor)) {
        *(const float **)(void *)((char *)layer + tensor->offset) = layer_tensor(loading, tensor, name);
    } else if (is_plain(loading, tensor)) {
        *matrix_at(layer, tensor) = plain_matrix(loading, name, rows, columns);
    } else {
        *matrix_at(layer, tensor) = new_matrix(loading, layer_tensor(loading, tensor, name), rows, columns);
        drop_tensors(loading, mark);
    }
    if (is_values(tensor))
        loading->bytes.values += bytes_unpacked(loading) - before;
}
