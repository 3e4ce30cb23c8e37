/*
 * matrix-multiply: matrix.h by itself, for the tests. Reads, in 32-bit floats, a matrix (rows x columns),
 * vectors (count x columns), vectors (count x rows) and what is there before (count x rows), and writes
 * their products: with each vector, the first added to what was there and with a gap behind each row; with
 * the first vector, by a team; with each of the other vectors; then the matrix by rows, and by columns.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/messages.h"
#include "numeric/bfloats.h"
#include "numeric/matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 3, TEAM = 2 };

struct options {
    uint64_t rows, columns, count;
    int products;
    bool split;
};

static float *read_floats(struct input *input, size_t count)
{
    float *values = new_floats(count);
    if (input_read(input, values, count * sizeof *values) < count * sizeof *values)
        die("the input is too short");
    return values;
}

static void print(const float *values, size_t count)
{
    if (fwrite(values, sizeof *values, count, stdout) < count)
        die("the output cannot be written");
}

/* The terms of each number: MAX_TERMS x count, as floats. */
static void print_terms(const float *values, size_t count)
{
    uint16_t *terms = new_array(MAX_TERMS * count, sizeof *terms);
    float *floats = new_floats(MAX_TERMS * count);
    bfloats_split(values, count, MAX_TERMS, terms);
    for (size_t i = 0; i < MAX_TERMS * count; i++)
        floats[i] = from_bfloat(terms[i]);
    print(floats, MAX_TERMS * count);
    free(floats);
    free(terms);
}

static void multiply(const struct options *options, struct input *input)
{
    size_t rows = options->rows, columns = options->columns, count = options->count, step = rows + GAP;
    float *values = read_floats(input, rows * columns), *x = read_floats(input, count * columns);
    float *wide = read_floats(input, count * rows), *before = read_floats(input, count * rows);
    float *y = new_floats(count * step), *narrow = new_floats(count * columns);
    float *line = new_floats(rows + columns);
    struct matrix matrix = matrix_of(values, rows, columns);
    struct team *team = team_new(TEAM);
    for (size_t i = 0; i < count; i++)
        memcpy(y + i * step, before + i * rows, rows * sizeof *y);
    matrix_multiply(&matrix, count, x, 1, y, step);
    print(y, count * step);
    matrix_multiply_vector(&matrix, team, x, 0, line);
    print(line, rows);
    matrix_multiply_transposed(&matrix, count, wide, narrow);
    print(narrow, count * columns);
    for (size_t row = 0; row < rows; row++, print(line, columns))
        matrix_row(&matrix, row, line);
    for (size_t column = 0; column < columns; column++, print(line, rows))
        matrix_column(&matrix, column, line);
    matrix_free(&matrix);
    team_free(team);
    float *const arrays[] = {values, x, wide, before, y, narrow, line};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

int main(int argc, char **argv)
{
    struct options options = {.rows = 1, .columns = 1, .count = 1};
    const struct option_spec specs[] = {
        {0, "rows", "N", "of the matrix", OPTION_NUMBER, &options.rows, 1, 1 << 20, NULL},
        {0, "columns", "N", "of the matrix", OPTION_NUMBER, &options.columns, 1, 1 << 20, NULL},
        {0, "count", "N", "vectors", OPTION_NUMBER, &options.count, 1, 1 << 20, NULL},
        {0, "split", NULL, "write the terms of rows x columns numbers instead", OPTION_FLAG, &options.split,
         0, 0, NULL},
        OPTION_PRODUCTS(&options.products),
        OPTION_END,
    };
    const struct tool tool = {"matrix-multiply", "Multiplies matrices.", "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    matrix_start(1, (enum product_kind)options.products);
    matrix_settle(true);
    struct input *input = input_open(cli_input(argc, argv, first));
    if (options.split) {
        float *values = read_floats(input, options.rows * options.columns);
        print_terms(values, options.rows * options.columns);
        free(values);
    } else {
        multiply(&options, input);
    }
    input_close(input);
    return STATUS_DONE;
}
