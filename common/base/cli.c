#define _GNU_SOURCE /* getopt_long, sched_getaffinity */
#include "base/cli.h"

#include "base/layer_number.h"
#include "base/messages.h"
#include "base/output.h"
#include "base/version.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 32, LETTERLESS = 256, SHOW_HELP = 1000, SHOW_VERSION };

static void print_help(const struct tool *tool)
{
    printf("usage: %s [options] %s\n%s\n\n", program_name(), tool->operands, tool->summary);
    for (const struct option_spec *option = tool->options; option->name; option++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ', option->letter ? "," : " ", option->name,
                 option->argument ? " " : "", option->argument ? option->argument : "");
        printf("  %-24s %s\n", left, option->help);
    }
    printf("  %-24s %s\n", "-h, --help", "show this help");
    printf("  %-24s %s\n", "    --version", "show the versions of the program and of its libraries");
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage. Manual: %s(1), overview: ffkv(7).\n",
           program_name());
}

/* Help and version are output like any other: a full disk is a failure. */
static _Noreturn void exit_after_printing(void)
{
    if (fflush(stdout) != 0 || ferror(stdout) || fclose(stdout) != 0)
        die("standard output: %s", strerror(errno));
    exit(STATUS_DONE);
}

static uint64_t parse_number(const struct option_spec *option, const char *text)
{
    uint64_t most = option->most ? option->most : OPTION_NO_LIMIT;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number < option->least || number > most)
        die_usage("--%s takes a whole number from %llu to %llu, not '%s'", option->name,
                  (unsigned long long)option->least, (unsigned long long)most, text);
    return number;
}

static uint64_t parse_size(const struct option_spec *option, const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    int bits = unit ? 10 * (int)(unit - units + 1) : 0;
    if (text[0] < '0' || text[0] > '9' || errno || !number || (*end && (!unit || end[1]))
        || number > UINT64_MAX >> bits)
        die_usage("--%s takes bytes, such as 600M or 4G, not '%s'", option->name, text);
    return (uint64_t)number << bits;
}

static double parse_real(const struct option_spec *option, const char *text)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number) || number < 0)
        die_usage("--%s takes a number, 0 or more, not '%s'", option->name, text);
    return number;
}

static int choice_index(const struct option_spec *option, const char *word, size_t length)
{
    for (int i = 0; option->choices[i]; i++)
        if (strlen(option->choices[i]) == length && !strncmp(option->choices[i], word, length))
            return i;
    char known[256] = "";
    for (int i = 0; option->choices[i]; i++) {
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, option->choices[i], sizeof known - strlen(known) - 1);
    }
    die_usage("--%s does not know '%.*s'; it takes: %s", option->name, (int)length, word, known);
}

static unsigned parse_choices(const struct option_spec *option, const char *text)
{
    enum { MAX_CHOICES = 32 }; /* bits */
    unsigned bits = 0;
    for (const char *word = text;; word++) {
        size_t length = strcspn(word, ",");
        int index = choice_index(option, word, length);
        if (index >= MAX_CHOICES)
            die("--%s has more than %d choices", option->name, MAX_CHOICES);
        bits |= 1u << index;
        word += length;
        if (!*word)
            return bits;
    }
}

static void add_text(struct option_texts *texts, const char *text)
{
    texts->text = reserve_array(texts->text, &texts->capacity, texts->count + 1, sizeof *texts->text);
    texts->text[texts->count++] = text;
}

static void set_option(const struct option_spec *option, const char *text)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->value = true;
        break;
    case OPTION_NUMBER:
        *(uint64_t *)option->value = parse_number(option, text);
        break;
    case OPTION_SIZE:
        *(uint64_t *)option->value = parse_size(option, text);
        break;
    case OPTION_REAL:
        *(double *)option->value = parse_real(option, text);
        break;
    case OPTION_TEXT:
    case OPTION_IN:
    case OPTION_OUT:
    case OPTION_OUT_TOO:
        *(const char **)option->value = text;
        break;
    case OPTION_TEXTS:
        add_text(option->value, text);
        break;
    case OPTION_CHOICE:
        *(int *)option->value = choice_index(option, text, strlen(text));
        break;
    case OPTION_CHOICES:
        *(unsigned *)option->value = parse_choices(option, text);
        break;
    }
}

/* A long option that is not known or takes no argument, or an unknown letter, perhaps among others. */
static _Noreturn void unknown_option(const char *letters, const char *word)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    bool is_letter = optopt > 0 && optopt < LETTERLESS && !strchr(letters, optopt);
    die_usage("unknown option '%s'; try '%s --help'", is_letter ? letter : word, program_name());
}

/* Operands are inputs; without one it is standard input. */
static void declare_files(const struct tool *tool, const char *const *operands, size_t count)
{
    const char **inputs = new_array(count + MAX_OPTIONS + 1, sizeof *inputs), *outputs[MAX_OPTIONS];
    size_t input_count = 0, output_count = 0;
    for (size_t i = 0; i < count; i++)
        inputs[input_count++] = operands[i];
    if (!count)
        inputs[input_count++] = NULL;
    for (const struct option_spec *option = tool->options; option->name; option++) {
        const char *path = option->kind >= OPTION_IN && option->kind <= OPTION_OUT_TOO
                               ? *(const char **)option->value
                               : NULL;
        if (option->kind == OPTION_IN && path)
            inputs[input_count++] = path;
        if (option->kind == OPTION_OUT || (option->kind == OPTION_OUT_TOO && path))
            outputs[output_count++] = path;
    }
    outputs_declare(outputs, output_count, inputs, input_count);
    free(inputs);
}

/*
 * The main thread's stack grows as it is used; where a limit on memory forbids that, the program
 * ends by a signal. So it grows at once, as far as it ever will, after as much was asked for where
 * a refusal has words. It calls nothing: a call would use the stack before it has grown.
 */
enum { STACK_BYTES = 1 << 18 };
static __attribute__((noinline)) void grow_stack(void)
{
    enum { PAGE_BYTES = 1 << 12 };
    char stack[STACK_BYTES];
    volatile char *end = stack + STACK_BYTES;
    for (size_t i = 1; i <= STACK_BYTES; i += PAGE_BYTES)
        end[-(ptrdiff_t)i] = 0; /* downwards, as it grows */
}

/* What the tool was started as, where that is its name with a prefix that it was installed with. */
static const char *started_as(const struct tool *tool, const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
    return name && ends_with(name, tool->name) ? name : tool->name;
}

/* What getopt_long takes: MAX_OPTIONS + 3 entries, and 2 * MAX_OPTIONS + 4 characters. */
static void list_options(const struct tool *tool, struct option *parsed, char *letters)
{
    size_t count = 0;
    strcpy(letters, ":h");
    for (const struct option_spec *option = tool->options; option->name; option++, count++) {
        if (count == MAX_OPTIONS)
            die("%s has more than %d options", tool->name, MAX_OPTIONS);
        int code = option->letter ? option->letter : LETTERLESS + (int)count;
        parsed[count] = (struct option){option->name,
            option->argument ? required_argument : no_argument, NULL, code};
        if (option->letter) {
            char letter[3] = {option->letter, option->argument ? ':' : '\0', '\0'};
            strcat(letters, letter);
        }
    }
    parsed[count] = (struct option){"help", no_argument, NULL, 'h'};
    parsed[count + 1] = (struct option){"version", no_argument, NULL, SHOW_VERSION};
    parsed[count + 2] = (struct option){NULL, 0, NULL, 0};
}

int cli_parse(const struct tool *tool, int argc, char **argv)
{
    struct option parsed[MAX_OPTIONS + 3];
    char letters[2 * MAX_OPTIONS + 4];

    set_program_name(started_as(tool, argv[0]));
    free(new_array(2 * STACK_BYTES, 1));
    grow_stack();
    /* A closed pipe is then an error of write(), and unfinished files are removed. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* so is a file that is larger than it may be */

    list_options(tool, parsed, letters);
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, letters, parsed, NULL)) != -1;) {
        if (code == 'h') {
            print_help(tool);
            exit_after_printing();
        }
        if (code == SHOW_VERSION) {
            print_version(program_name());
            exit_after_printing();
        }
        if (code == ':')
            die_usage("option '%s' needs an argument; try '%s --help'", argv[optind - 1], program_name());
        if (code == '?')
            unknown_option(letters, argv[optind - 1]);
        const struct option_spec *option = tool->options;
        while (code >= LETTERLESS ? option - tool->options != code - LETTERLESS : option->letter != code)
            option++;
        set_option(option, optarg);
    }
    if ((size_t)(argc - optind) > tool->most_operands)
        die_usage("too many operands, from '%s' on; try '%s --help'",
                  argv[optind + (int)tool->most_operands], program_name());
    declare_files(tool, (const char *const *)argv + optind, (size_t)(argc - optind));
    return optind;
}

void cli_check_partial(bool partial, bool merge)
{
    if (partial && !merge)
        die_usage("--partial goes with --merge");
}

void cli_check_sums(const struct sums_options *options, size_t operands)
{
    if (!options->merge && operands > 1)
        die_usage("more than one input; --merge joins the sums of several runs");
    cli_check_partial(options->partial, options->merge);
    if (options->gzip && !options->sums)
        die_usage("--gzip goes with --sums; tables are not compressed");
}

const char *cli_input(int argc, char **argv, int first)
{
    return first < argc && strcmp(argv[first], "-") ? argv[first] : NULL;
}

uint64_t cli_threads(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : (uint64_t)count;
}

/* Ranges as other programs have them, 10..20 or 10:20: says how they are written here. */
static void check_ranges(const char *what, const char *text)
{
    bool is_list = text[strspn(text, "0123456789,-.:")] == '\0';
    if (!is_list || !(strstr(text, "..") || strchr(text, ':')))
        return;
    char *right = copy_string(text), *end = right;
    for (const char *next = text; *next; next++)
        if (*next != '.' && *next != ':')
            *end++ = *next;
        else if (next == text || next[-1] != *next)
            *end++ = '-';
    *end = '\0';
    die_usage("--%s: write %s, not '%s'; the last number of a range belongs to it", what, right, text);
}

/* A list as it was given, and what may be in it. */
struct list {
    const char *what, *text;
    size_t least, bound;
    const char *note; /* behind the message of a wrong one */
};

static _Noreturn void bad_list(const struct list *list)
{
    check_ranges(list->what, list->text);
    die_usage("--%s takes a list such as %zu-3,7 of numbers from %zu to %zu, not '%s'%s", list->what,
              list->least, list->least, list->bound ? list->bound - 1 : 0, list->text, list->note);
}

/* One number of it; moves *text behind it. */
static size_t list_number(const struct list *list, const char **text)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(*text, &end, 10);
    if (**text < '0' || **text > '9' || errno || number < list->least || number >= list->bound)
        bad_list(list);
    *text = end;
    return (size_t)number;
}

static size_t *list_numbers(const struct list *list, size_t *count)
{
    bool *chosen = new_array(list->bound, sizeof *chosen);
    for (const char *next = list->text; next; next = *next ? next + 1 : NULL) {
        size_t from = list_number(list, &next);
        size_t to = from;
        if (*next == '-') {
            next++;
            to = list_number(list, &next);
        }
        if (to < from || (*next && *next != ','))
            bad_list(list);
        for (size_t i = from; i <= to; i++)
            chosen[i] = true;
    }
    size_t *numbers = new_array(list->bound, sizeof *numbers);
    *count = 0;
    for (size_t i = list->least; i < list->bound; i++)
        if (!list->text || chosen[i])
            numbers[(*count)++] = i;
    free(chosen);
    return numbers;
}

size_t *cli_list(const char *text, size_t bound, const char *what, size_t *count)
{
    return list_numbers(&(struct list){what, text, 0, bound, ""}, count);
}

size_t *cli_layers(const char *text, size_t layers, size_t *count)
{
    const struct list list = {"layers", text, layer_shown(0), layer_shown(layers), ": layers count from 1"};
    size_t *numbers = list_numbers(&list, count);
    for (size_t i = 0; i < *count; i++)
        numbers[i] = layer_of_shown(numbers[i]);
    return numbers;
}
