#include "formats/pickle.h"

#include "base/messages.h"

#include <stdlib.h>
#include <string.h>

/* Bounds that no checkpoint reaches. */
enum {
    MAX_PICKLE_BYTES = 64 << 20,
    MAX_VALUES = 2 << 20,
    MAX_MARKS = 1000, /* containers that are open at a time */
    BLOCK_VALUES = 1024,
    SHOWN_CHARACTERS = 80, /* of a name, in messages */
    MAX_PROTOCOL = 4
};

struct pickle {
    struct pickle_value **blocks; /* of BLOCK_VALUES each, all but the last one full */
    size_t count;
    struct pickle_value *root;
};

struct reader {
    const char *name;
    const unsigned char *bytes;
    size_t size, next;  /* next: of the bytes, the first that is not read */
    size_t at;          /* of bytes in what name names */
    size_t opcode;      /* where the current opcode is */
    const struct pickle_global *globals;
    struct pickle *pickle;
    struct pickle_value **stack;
    size_t held, stack_room;
    size_t marks[MAX_MARKS]; /* heights of the stack */
    size_t mark_count;
    struct pickle_value **memo;
    size_t memo_count, memo_room;
    bool done;
};

/*
 * One opcode: the bytes of the little-endian number behind it, or the constant
 * that run gets in its place. No run: known, and refused.
 */
struct opcode {
    const char *name;
    void (*run)(struct reader *reader, uint64_t number);
    unsigned char number_bytes, constant;
};

static const struct opcode opcodes[256];

/* The byte at which the current opcode is, and what it is called, for messages. */
static size_t place(const struct reader *reader)
{
    return reader->at + reader->opcode;
}

static const char *opcode_name(const struct reader *reader)
{
    return opcodes[reader->bytes[reader->opcode]].name;
}

/* ---- values ---- */

static struct pickle_value *new_value(struct reader *reader, enum pickle_kind kind)
{
    struct pickle *pickle = reader->pickle;
    if (pickle->count == MAX_VALUES)
        die("%s: byte %zu: more than %d values, which no checkpoint has", reader->name, place(reader),
            MAX_VALUES);
    size_t block = pickle->count / BLOCK_VALUES;
    if (pickle->count % BLOCK_VALUES == 0) {
        pickle->blocks = grow_array(pickle->blocks, block + 1, sizeof *pickle->blocks);
        pickle->blocks[block] = new_array(BLOCK_VALUES, sizeof **pickle->blocks);
    }
    struct pickle_value *value = &pickle->blocks[block][pickle->count++ % BLOCK_VALUES];
    value->kind = kind;
    return value;
}

/* Appends to a growing array. */
static void append(struct pickle_value ***items, size_t *count, size_t *room, struct pickle_value *value)
{
    *items = reserve_array(*items, room, *count + 1, sizeof **items);
    (*items)[(*count)++] = value;
}

static void push(struct reader *reader, struct pickle_value *value)
{
    append(&reader->stack, &reader->held, &reader->stack_room, value);
}

static struct pickle_value *push_new(struct reader *reader, enum pickle_kind kind)
{
    struct pickle_value *value = new_value(reader, kind);
    push(reader, value);
    return value;
}

/* Ends the program unless count values are above the last mark. */
static void need(const struct reader *reader, size_t count)
{
    size_t floor = reader->mark_count ? reader->marks[reader->mark_count - 1] : 0;
    if (reader->held - floor < count)
        die("%s: byte %zu: opcode %s takes more values than there are: the pickle is damaged", reader->name,
            place(reader), opcode_name(reader));
}

static struct pickle_value *pop(struct reader *reader)
{
    need(reader, 1);
    return reader->stack[--reader->held];
}

static struct pickle_value *top(const struct reader *reader)
{
    need(reader, 1);
    return reader->stack[reader->held - 1];
}

/* Removes the last mark; the height of the stack that it held. */
static size_t pop_mark(struct reader *reader)
{
    if (!reader->mark_count)
        die("%s: byte %zu: opcode %s without a MARK: the pickle is damaged", reader->name, place(reader),
            opcode_name(reader));
    return reader->marks[--reader->mark_count];
}

/* Moves the values from this height of the stack on into value. */
static void take_items(struct reader *reader, struct pickle_value *value, size_t from)
{
    if (!value->count && reader->held > from) { /* most never grow again */
        value->room = reader->held - from;
        value->items = grow_array(NULL, value->room, sizeof *value->items);
    }
    for (size_t i = from; i < reader->held; i++)
        append(&value->items, &value->count, &value->room, reader->stack[i]);
    reader->held = from;
}

/* ---- bytes ---- */

/* The next count bytes, which the current opcode has with it. */
static const unsigned char *take_bytes(struct reader *reader, uint64_t count)
{
    if (count > reader->size - reader->next)
        die("%s: byte %zu: opcode %s claims %llu bytes, %zu are left: the file was cut, or is damaged",
            reader->name, place(reader), opcode_name(reader), (unsigned long long)count,
            reader->size - reader->next);
    const unsigned char *bytes = reader->bytes + reader->next;
    reader->next += (size_t)count;
    return bytes;
}

static uint64_t little_endian(const unsigned char *bytes, size_t count)
{
    uint64_t number = 0;
    for (size_t i = count; i-- > 0;)
        number = number << 8 | bytes[i];
    return number;
}

static struct pickle_text take_text(struct reader *reader, uint64_t length)
{
    struct pickle_text text = {(const char *)take_bytes(reader, length), (size_t)length};
    return text;
}

/* Up to the end of the line, as GLOBAL has its names. */
static struct pickle_text take_line(struct reader *reader)
{
    const unsigned char *start = reader->bytes + reader->next;
    const unsigned char *end = memchr(start, '\n', reader->size - reader->next);
    if (!end)
        die("%s: byte %zu: opcode %s without the end of its line: the file was cut, or is damaged",
            reader->name, place(reader), opcode_name(reader));
    struct pickle_text text = take_text(reader, (uint64_t)(end - start));
    reader->next++;
    return text;
}

/* ---- opcodes, in the order of the table ---- */

static void run_protocol(struct reader *reader, uint64_t version)
{
    if (version < 2 || version > MAX_PROTOCOL)
        die("%s: byte %zu: pickle protocol %llu; 2 to %d are known", reader->name, place(reader),
            (unsigned long long)version, MAX_PROTOCOL);
}

static void run_frame(struct reader *reader, uint64_t size)
{
    size_t inside = reader->next;
    take_bytes(reader, size); /* only whether they are there */
    reader->next = inside;
}

static void run_stop(struct reader *reader, uint64_t number)
{
    (void)number;
    reader->pickle->root = pop(reader);
    if (reader->held || reader->mark_count)
        die("%s: byte %zu: values are left over behind the pickle's end: it is damaged", reader->name,
            place(reader));
    reader->done = true;
}

static void run_mark(struct reader *reader, uint64_t number)
{
    (void)number;
    if (reader->mark_count == MAX_MARKS)
        die("%s: byte %zu: nested deeper than %d", reader->name, place(reader), MAX_MARKS);
    reader->marks[reader->mark_count++] = reader->held;
}

static void run_pop(struct reader *reader, uint64_t number)
{
    (void)number;
    pop(reader);
}

static void run_pop_mark(struct reader *reader, uint64_t number)
{
    (void)number;
    reader->held = pop_mark(reader);
}

static void run_none(struct reader *reader, uint64_t number)
{
    (void)number;
    push_new(reader, PICKLE_NONE);
}

static void run_truth(struct reader *reader, uint64_t truth)
{
    push_new(reader, PICKLE_BOOL)->truth = truth;
}

static void run_integer(struct reader *reader, uint64_t number)
{
    push_new(reader, PICKLE_INTEGER)->integer = (int64_t)number;
}

static void run_signed(struct reader *reader, uint64_t number)
{
    push_new(reader, PICKLE_INTEGER)->integer = (int64_t)(number ^ 0x80000000u) - 0x80000000ll;
}

/* An integer of any length, two's complement. */
static void run_long(struct reader *reader, uint64_t length)
{
    struct pickle_text text = take_text(reader, length);
    if (length > 8) {
        push_new(reader, PICKLE_HUGE)->text = text;
        return;
    }
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    uint64_t number = little_endian(bytes, (size_t)length);
    if (length && length < 8 && bytes[length - 1] & 0x80)
        number |= UINT64_MAX << 8 * length;
    int64_t integer;
    memcpy(&integer, &number, sizeof integer);
    push_new(reader, PICKLE_INTEGER)->integer = integer;
}

/* The one number that pickles have in big-endian order. */
static void run_real(struct reader *reader, uint64_t number)
{
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | (number >> 8 * i & 0xff);
    memcpy(&push_new(reader, PICKLE_REAL)->real, &bits, sizeof bits);
}

static void run_text(struct reader *reader, uint64_t length)
{
    struct pickle_text text = take_text(reader, length);
    push_new(reader, PICKLE_TEXT)->text = text;
}

static void run_bytes(struct reader *reader, uint64_t length)
{
    struct pickle_text text = take_text(reader, length);
    push_new(reader, PICKLE_BYTES)->text = text;
}

/* An empty list, dictionary or set. */
static void run_empty(struct reader *reader, uint64_t kind)
{
    push_new(reader, (enum pickle_kind)kind);
}

static void run_tuple(struct reader *reader, uint64_t count)
{
    need(reader, (size_t)count);
    struct pickle_value *tuple = new_value(reader, PICKLE_TUPLE);
    take_items(reader, tuple, reader->held - (size_t)count);
    push(reader, tuple);
}

/* A tuple or a frozen set of all above the mark. */
static void run_collect(struct reader *reader, uint64_t kind)
{
    size_t from = pop_mark(reader);
    struct pickle_value *value = new_value(reader, (enum pickle_kind)kind);
    take_items(reader, value, from);
    push(reader, value);
}

/* Adds what lies from this height on to the container below it. */
static void add_items(struct reader *reader, size_t from, bool pairs)
{
    struct pickle_value *container = from ? reader->stack[from - 1] : NULL;
    bool fits = container && (pairs ? container->kind == PICKLE_DICT
                                    : container->kind == PICKLE_LIST || container->kind == PICKLE_SET);
    if (!fits || (pairs && (reader->held - from) % 2))
        die("%s: byte %zu: opcode %s adds to %s what it cannot hold", reader->name, place(reader),
            opcode_name(reader), container ? pickle_describe(container) : "nothing");
    take_items(reader, container, from);
}

static void run_add(struct reader *reader, uint64_t count)
{
    need(reader, (size_t)count + 1);
    add_items(reader, reader->held - (size_t)count, count == 2);
}

static void run_add_marked(struct reader *reader, uint64_t pairs)
{
    size_t from = pop_mark(reader);
    if (reader->mark_count && reader->marks[reader->mark_count - 1] == from)
        from = 0; /* the container is not within the mark before */
    add_items(reader, from, pairs);
}

static bool same_text(struct pickle_text text, const char *string)
{
    return strlen(string) == text.length && !memcmp(text.bytes, string, text.length);
}

static int shown(struct pickle_text text)
{
    return text.length < SHOWN_CHARACTERS ? (int)text.length : SHOWN_CHARACTERS;
}

/* Nothing is looked up but in the table. */
static void push_global(struct reader *reader, struct pickle_text module, struct pickle_text name)
{
    const struct pickle_global *global = reader->globals;
    while (global->module && !(same_text(module, global->module) && same_text(name, global->name)))
        global++;
    if (!global->module)
        die("%s: byte %zu: opcode %s asks for '%.*s.%.*s', which no checkpoint needs: nothing of it is "
            "executed",
            reader->name, place(reader), opcode_name(reader), shown(module), module.bytes, shown(name),
            name.bytes);
    push_new(reader, PICKLE_GLOBAL)->global = global;
}

static void run_global(struct reader *reader, uint64_t number)
{
    (void)number;
    struct pickle_text module = take_line(reader);
    push_global(reader, module, take_line(reader));
}

static void run_stack_global(struct reader *reader, uint64_t number)
{
    (void)number;
    need(reader, 2);
    const struct pickle_value *name = pop(reader), *module = pop(reader);
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        die("%s: byte %zu: opcode %s names a global by %s and %s", reader->name, place(reader),
            opcode_name(reader), pickle_describe(module), pickle_describe(name));
    push_global(reader, module->text, name->text);
}

/* A call, or an object of a class: recorded as an object, not done. */
static void run_call(struct reader *reader, uint64_t number)
{
    (void)number;
    need(reader, 2);
    struct pickle_value *arguments = pop(reader), *called = pop(reader);
    if (called->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        die("%s: byte %zu: opcode %s calls %s with %s", reader->name, place(reader), opcode_name(reader),
            pickle_describe(called), pickle_describe(arguments));
    if (called->global->role == PICKLE_MAPPING) {
        if (arguments->count)
            die("%s: byte %zu: opcode %s gives arguments to '%s'", reader->name, place(reader),
                opcode_name(reader), called->global->name);
        push_new(reader, PICKLE_DICT);
        return;
    }
    struct pickle_value *object = push_new(reader, PICKLE_OBJECT);
    object->type = called->global;
    object->arguments = arguments;
}

/* State of an object. A mapping's, which are attributes beside its items, is not kept. */
static void run_build(struct reader *reader, uint64_t number)
{
    (void)number;
    need(reader, 2);
    struct pickle_value *state = pop(reader), *object = top(reader);
    if (object->kind == PICKLE_DICT)
        return;
    if (object->kind != PICKLE_OBJECT || object->state)
        die("%s: byte %zu: opcode %s gives %s to %s%s", reader->name, place(reader), opcode_name(reader),
            pickle_describe(state), pickle_describe(object),
            object->kind == PICKLE_OBJECT ? ", which has a state" : "");
    object->state = state;
}

static void run_persistent(struct reader *reader, uint64_t number)
{
    (void)number;
    need(reader, 1);
    struct pickle_value *value = new_value(reader, PICKLE_PERSISTENT);
    take_items(reader, value, reader->held - 1);
    push(reader, value);
}

/* Picklers number from 0 on, so that a number never exceeds the pickle's size. */
static void run_put(struct reader *reader, uint64_t index)
{
    struct pickle_value *value = top(reader);
    if (index > reader->next)
        die("%s: byte %zu: opcode %s: %llu is too large for a place in the memo", reader->name, place(reader),
            opcode_name(reader), (unsigned long long)index);
    while (reader->memo_count <= index)
        append(&reader->memo, &reader->memo_count, &reader->memo_room, NULL);
    reader->memo[index] = value;
}

static void run_memoize(struct reader *reader, uint64_t number)
{
    (void)number;
    struct pickle_value *value = top(reader);
    append(&reader->memo, &reader->memo_count, &reader->memo_room, value);
}

static void run_get(struct reader *reader, uint64_t index)
{
    if (index >= reader->memo_count || !reader->memo[index])
        die("%s: byte %zu: opcode %s: nothing was put into place %llu of the memo", reader->name,
            place(reader), opcode_name(reader), (unsigned long long)index);
    push(reader, reader->memo[index]);
}

static const struct opcode opcodes[256] = {
    [0x80] = {"PROTO", run_protocol, 1, 0},
    [0x95] = {"FRAME", run_frame, 8, 0},
    ['.'] = {"STOP", run_stop, 0, 0},
    ['('] = {"MARK", run_mark, 0, 0},
    ['0'] = {"POP", run_pop, 0, 0},
    ['1'] = {"POP_MARK", run_pop_mark, 0, 0},
    ['N'] = {"NONE", run_none, 0, 0},
    [0x88] = {"NEWTRUE", run_truth, 0, 1},
    [0x89] = {"NEWFALSE", run_truth, 0, 0},
    ['K'] = {"BININT1", run_integer, 1, 0},
    ['M'] = {"BININT2", run_integer, 2, 0},
    ['J'] = {"BININT", run_signed, 4, 0},
    [0x8a] = {"LONG1", run_long, 1, 0},
    [0x8b] = {"LONG4", run_long, 4, 0},
    ['G'] = {"BINFLOAT", run_real, 8, 0},
    [0x8c] = {"SHORT_BINUNICODE", run_text, 1, 0},
    ['X'] = {"BINUNICODE", run_text, 4, 0},
    [0x8d] = {"BINUNICODE8", run_text, 8, 0},
    ['U'] = {"SHORT_BINSTRING", run_text, 1, 0},
    ['T'] = {"BINSTRING", run_text, 4, 0},
    ['C'] = {"SHORT_BINBYTES", run_bytes, 1, 0},
    ['B'] = {"BINBYTES", run_bytes, 4, 0},
    [0x8e] = {"BINBYTES8", run_bytes, 8, 0},
    [']'] = {"EMPTY_LIST", run_empty, 0, PICKLE_LIST},
    ['}'] = {"EMPTY_DICT", run_empty, 0, PICKLE_DICT},
    [0x8f] = {"EMPTY_SET", run_empty, 0, PICKLE_SET},
    [')'] = {"EMPTY_TUPLE", run_tuple, 0, 0},
    [0x85] = {"TUPLE1", run_tuple, 0, 1},
    [0x86] = {"TUPLE2", run_tuple, 0, 2},
    [0x87] = {"TUPLE3", run_tuple, 0, 3},
    ['t'] = {"TUPLE", run_collect, 0, PICKLE_TUPLE},
    [0x91] = {"FROZENSET", run_collect, 0, PICKLE_SET},
    ['a'] = {"APPEND", run_add, 0, 1},
    ['s'] = {"SETITEM", run_add, 0, 2},
    ['e'] = {"APPENDS", run_add_marked, 0, false},
    [0x90] = {"ADDITEMS", run_add_marked, 0, false},
    ['u'] = {"SETITEMS", run_add_marked, 0, true},
    ['c'] = {"GLOBAL", run_global, 0, 0},
    [0x93] = {"STACK_GLOBAL", run_stack_global, 0, 0},
    ['R'] = {"REDUCE", run_call, 0, 0},
    [0x81] = {"NEWOBJ", run_call, 0, 0},
    ['b'] = {"BUILD", run_build, 0, 0},
    ['Q'] = {"BINPERSID", run_persistent, 0, 0},
    ['q'] = {"BINPUT", run_put, 1, 0},
    ['r'] = {"LONG_BINPUT", run_put, 4, 0},
    [0x94] = {"MEMOIZE", run_memoize, 0, 0},
    ['h'] = {"BINGET", run_get, 1, 0},
    ['j'] = {"LONG_BINGET", run_get, 4, 0},
    /* What torch does not write: the forms of protocols 0, 1 and 5, and further ways to make objects. */
    ['2'] = {"DUP", NULL, 0, 0},
    ['F'] = {"FLOAT", NULL, 0, 0},
    ['I'] = {"INT", NULL, 0, 0},
    ['L'] = {"LONG", NULL, 0, 0},
    ['S'] = {"STRING", NULL, 0, 0},
    ['V'] = {"UNICODE", NULL, 0, 0},
    ['P'] = {"PERSID", NULL, 0, 0},
    ['d'] = {"DICT", NULL, 0, 0},
    ['l'] = {"LIST", NULL, 0, 0},
    ['g'] = {"GET", NULL, 0, 0},
    ['p'] = {"PUT", NULL, 0, 0},
    ['i'] = {"INST", NULL, 0, 0},
    ['o'] = {"OBJ", NULL, 0, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0, 0},
    [0x82] = {"EXT1", NULL, 0, 0},
    [0x83] = {"EXT2", NULL, 0, 0},
    [0x84] = {"EXT4", NULL, 0, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0, 0},
};

/* ---- the whole ---- */

static void read_opcode(struct reader *reader)
{
    if (reader->next == reader->size)
        die("%s: byte %zu: the pickle has no end%s", reader->name, reader->at + reader->next,
            reader->size == MAX_PICKLE_BYTES ? " within the 64 MB that one may have"
                                              : ": the file was cut, or is damaged");
    reader->opcode = reader->next++;
    const struct opcode *opcode = &opcodes[reader->bytes[reader->opcode]];
    if (!opcode->name)
        die("%s: byte %zu: 0x%02x is not an opcode: not a pickle, or damaged", reader->name, place(reader),
            reader->bytes[reader->opcode]);
    if (!opcode->run)
        die("%s: byte %zu: opcode %s, which no checkpoint needs: nothing of it is executed", reader->name,
            place(reader), opcode->name);
    uint64_t number = opcode->constant;
    if (opcode->number_bytes)
        number = little_endian(take_bytes(reader, opcode->number_bytes), opcode->number_bytes);
    opcode->run(reader, number);
}

struct pickle *pickle_read(const char *name, const void *bytes, size_t size, size_t at,
                           const struct pickle_global *globals, size_t *end)
{
    struct reader *reader = new_array(1, sizeof *reader);
    struct pickle *pickle = new_array(1, sizeof *pickle);
    reader->name = name;
    reader->bytes = bytes;
    reader->size = size < MAX_PICKLE_BYTES ? size : MAX_PICKLE_BYTES;
    reader->at = at;
    reader->globals = globals;
    reader->pickle = pickle;
    while (!reader->done)
        read_opcode(reader);
    *end = reader->next;
    free(reader->stack);
    free(reader->memo);
    free(reader);
    return pickle;
}

static bool has_items(const struct pickle_value *value)
{
    return value->kind == PICKLE_LIST || value->kind == PICKLE_TUPLE || value->kind == PICKLE_SET
        || value->kind == PICKLE_DICT || value->kind == PICKLE_PERSISTENT;
}

void pickle_free(struct pickle *pickle)
{
    for (size_t i = 0; i < pickle->count; i++) {
        struct pickle_value *value = &pickle->blocks[i / BLOCK_VALUES][i % BLOCK_VALUES];
        if (has_items(value))
            free(value->items);
    }
    for (size_t i = 0; i < pickle->count; i += BLOCK_VALUES)
        free(pickle->blocks[i / BLOCK_VALUES]);
    free(pickle->blocks);
    free(pickle);
}

const struct pickle_value *pickle_root(const struct pickle *pickle)
{
    return pickle->root;
}

const struct pickle_value *pickle_value(const struct pickle *pickle, size_t index)
{
    return index < pickle->count ? &pickle->blocks[index / BLOCK_VALUES][index % BLOCK_VALUES] : NULL;
}

const struct pickle_value *pickle_find(const struct pickle_value *value, const char *name)
{
    if (value->kind == PICKLE_OBJECT && value->type->role == PICKLE_RECORD)
        value = value->state;
    if (!value || value->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = value->count; i >= 2; i -= 2)
        if (pickle_is_text(value->items[i - 2], name))
            return value->items[i - 1];
    return NULL;
}

bool pickle_is_text(const struct pickle_value *value, const char *text)
{
    return value && value->kind == PICKLE_TEXT && same_text(value->text, text);
}

const char *pickle_describe(const struct pickle_value *value)
{
    static const char *const kinds[] = {
        [PICKLE_NONE] = "None",          [PICKLE_BOOL] = "a truth value",
        [PICKLE_INTEGER] = "an integer", [PICKLE_HUGE] = "a huge integer",
        [PICKLE_REAL] = "a real number", [PICKLE_TEXT] = "a text",
        [PICKLE_BYTES] = "bytes",        [PICKLE_LIST] = "a list",
        [PICKLE_TUPLE] = "a tuple",      [PICKLE_SET] = "a set",
        [PICKLE_DICT] = "a dictionary",  [PICKLE_PERSISTENT] = "a persistent id",
    };
    return value->kind == PICKLE_OBJECT ? value->type->name
         : value->kind == PICKLE_GLOBAL ? value->global->name : kinds[value->kind];
}
